/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the guard's programs and the daemon agree on: constants and the contents of the maps.
 * Rust sees this file through bindgen (crates/guard/build.rs); everything in it is plain C with
 * fixed-width types and no hidden padding.
 */
#ifndef GUARD_H
#define GUARD_H

/* Changes with every change of a map's layout or of a counter's meaning: a daemon that finds a guard of
 * another layout starts one from its settings instead of reading the maps. */
#define GUARD_ABI 3

#define GUARD_MAX_ALTERNATES 64   /* alternate MAC addresses */
#define GUARD_MAX_ALLOWED_IPS 256 /* IP addresses, with ip-nospoof */
#define GUARD_MAX_MACS 4096       /* MAC addresses of the guest's own choice */
#define GUARD_MAX_VLANS 4094      /* VLANs of the guest's own choice */

/* An entry of what was heard is written at most this often. */
#define GUARD_HEARD_NS 1000000000ULL

/* Reports of group membership: so many a second, and so many at once. */
#define GUARD_REPORTS 1000ULL

/* Shift of the price of a byte in nanoseconds: fine enough for 10 Tb/s, and a frame of 512 KiB at 1 kb/s does
 * not overflow. */
#define GUARD_PRICE_SHIFT 20

#define GUARD_CUSTOM (1U << 0)       /* MAC addresses and VLANs of the guest's own choice, up to the limits */
#define GUARD_MAC_NOSPOOF (1U << 1)  /* but no MAC addresses */
#define GUARD_IP_NOSPOOF (1U << 2)   /* only allowed IP addresses */
#define GUARD_DHCP_NOSPOOF (1U << 3) /* DHCP for its own MAC addresses, and no server */
#define GUARD_RESTRICTED (1U << 4)   /* only IPv4, IPv6 and ARP */
#define GUARD_ALTERNATES (1U << 5)   /* there are alternate MAC addresses */
#define GUARD_COS (1U << 6)          /* tags get the class of service `cos` */
#define GUARD_PRIORITY (1U << 7)     /* frames get the priority `priority` */
#define GUARD_MAXBW (1U << 8)        /* traffic is limited */

/* The one entry of the map `settings`. MAC addresses are words, see mac_word in guard_frame.h. */
struct guard_settings {
	__u64 mac;         /* the vnet's own address */
	__u32 flags;       /* GUARD_CUSTOM and so on */
	__u32 max_macs;    /* with GUARD_CUSTOM */
	__u32 max_vlans;   /* with GUARD_CUSTOM */
	__u32 priority;    /* of sk_buff (linux/pkt_sched.h, TC_PRIO_*) */
	__u32 cos;         /* 0 to 7 */
	__u32 reserved;
	__u64 price;       /* nanoseconds that a byte takes at the limit, times 2^GUARD_PRICE_SHIFT */
	__u64 burst_ns;    /* how long a silent guest saves up */
	__u64 vlans[64];   /* a bit for each VLAN of tagged frames, without GUARD_CUSTOM */
};

/* An IP address, key of the map `allowed_ips`. */
struct guard_ip {
	__u32 version;   /* 4 or 6 */
	__u8 bytes[16];  /* of IPv4 the first 4, the others zero */
};

/* Value of the maps `macs` (by MAC address) and `vlans` (by VLAN): what was heard from the guest. */
struct guard_heard {
	__u64 last_ns; /* CLOCK_MONOTONIC of the last frame, to GUARD_HEARD_NS */
};

/* The one entry of the map `state`. Only the programs write it. */
struct guard_state {
	__u64 macs;  /* entries of `macs` that were ever made */
	__u64 vlans; /* entries of `vlans` that were ever made */
};

/* The one entry of the map `buckets`: until when each is paid for, by CLOCK_MONOTONIC in ns; 0 is a full one. The
 * daemon empties them of what was owed at another price. */
struct guard_buckets {
	__u64 sent;
	__u64 received;
	__u64 reported;
};

/* Per CPU. The order is the ABI; the names are in crates/guard/src/counter.rs. All but the last count what the
 * guest sent. Whatever is counted is dropped. */
enum guard_counter {
	GUARD_SHORT,          /* no whole Ethernet header, or not the rest of a tag */
	GUARD_CONTROL,        /* forges what the switch tells guests */
	GUARD_LINK_LOCAL,     /* for 01:80:c2:00:00:0x: STP, LLDP, PAUSE */
	GUARD_SWITCH_PROTOCOL, /* for another address that switches speak to each other by */
	GUARD_SOURCE_INVALID, /* from a group, or from nobody */
	GUARD_MAC_FOREIGN,    /* from a MAC address that is not the guest's */
	GUARD_MAC_OVERFLOW,   /* from one more MAC address than it may have */
	GUARD_VLAN_INVALID,   /* in VLAN 4095 */
	GUARD_VLAN_STACKED,   /* an 802.1ad tag, or a second tag */
	GUARD_VLAN_FOREIGN,   /* in a VLAN that is not the guest's */
	GUARD_VLAN_OVERFLOW,  /* in one more VLAN than it may have */
	GUARD_PROTOCOL,       /* restricted: neither IPv4 nor IPv6 nor ARP */
	GUARD_IP_SPOOFED,     /* ip-nospoof: from an IP address that is not the guest's */
	GUARD_DHCP_SPOOFED,   /* dhcp-nospoof: for another MAC address, or as a server */
	GUARD_REPORT_RATE,    /* too many reports of group membership */
	GUARD_MAXBW_SENT,     /* beyond the limit of its bandwidth */
	GUARD_MAXBW_RECEIVED, /* for the guest, beyond that limit */
	GUARD_COUNTERS,
};

struct guard_counters {
	__u64 count[GUARD_COUNTERS];
};

/* The one entry of the map `ledger`. Only the daemon writes it. */
struct guard_ledger {
	__u32 abi;
	__u32 judges;          /* whether the programs can judge what IP and DHCP say (guard_judges) */
	__u64 build;           /* which compilation of the programs uses the maps */
	__u64 macs_forgotten;  /* entries of `macs` that were ever deleted */
	__u64 vlans_forgotten; /* entries of `vlans` that were ever deleted */
	struct guard_counters carried; /* counts of earlier programs */
};

#endif
