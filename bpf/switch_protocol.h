/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The addresses that switches speak to each other by: spanning trees, discovery, trunks, registration of VLANs. A switch
 * shuts a port, or believes what is said, when a guest speaks there. The same table is in crates/wire/src/switch_protocol.rs.
 */
#ifndef SWITCH_PROTOCOL_H
#define SWITCH_PROTOCOL_H

/* The first three bytes of an address, and the last three, as numbers. */
#define THREE_BYTES(bytes) ((__u32)(bytes)[0] << 16 | (__u32)(bytes)[1] << 8 | (bytes)[2])

/*
 * Sources: IEEE 802.1Q (reserved addresses, MRP and CFM groups), IEEE 802.1D-2004 (all LANs bridge management), RFC 6325, 7.2
 * (TRILL); those of vendors are in the list of well-known addresses of Wireshark (wka).
 */
static __always_inline bool is_switch_protocol(const __u8 *mac)
{
	__u32 rest = THREE_BYTES(mac + 3);

	switch (THREE_BYTES(mac)) {
	case 0x0180c2:
		return rest < 0x10 ||                 /* STP, LACP, 802.1X, LLDP: never forwarded by a bridge */
		       rest == 0x10 ||                /* bridge management */
		       (rest >= 0x20 && rest < 0x50); /* GVRP, MVRP, MMRP; CFM from :30; TRILL from :40 */
	case 0x01000c:                                /* Cisco */
		return rest >> 8 == 0xcccc || /* CDP, VTP, DTP, PAgP, UDLD; PVST+ */
		       rest >> 8 == 0xcdcd || /* UplinkFast, VLAN bridge, tunnelled protocols */
		       rest == 0xdddddd ||    /* CGMP */
		       rest >> 8 == 0;        /* ISL */
	case 0x03000c:
	case 0x0c000c:
		return rest >> 8 == 0; /* ISL */
	case 0x00e02b:
		return rest <= 8; /* Extreme: EDP, EEP, ESRP, EAPS */
	case 0x01e052:
		return rest == 0xcccccc; /* Foundry: FDP */
	case 0x010081:
		return rest == 0x000100 || rest == 0x000101; /* Nortel: SONMP */
	case 0x01001d:
		return rest == 0x000005 || rest == 0x000006; /* Cabletron: spanning trees */
	default:
		return false;
	}
}

/* Where bridges send what their spanning trees say, but for a group of the administrator's choice. */
static __always_inline bool is_spanning_tree(const __u8 *mac)
{
	__u32 rest = THREE_BYTES(mac + 3);

	switch (THREE_BYTES(mac)) {
	case 0x0180c2:
		return rest == 0x00 || rest == 0x08; /* bridges; provider bridges */
	case 0x01000c:
		return rest == 0xcccccd || rest == 0xcdcdcd || rest == 0xcdcdce;
	case 0x01001d:
		return rest == 0x000005 || rest == 0x000006;
	default:
		return false;
	}
}

#endif
