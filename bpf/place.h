/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Who has an address, and where a client sits now. */
#ifndef DLMP_PLACE_H
#define DLMP_PLACE_H

static __always_inline bool same_address(const struct dlmp_address *one, const struct dlmp_address *other)
{
	__u64 first = *(const __u64 *)one;

	return first && first == *(const __u64 *)other;
}

/* The same hash is in crates/datapath/src/bpf/own.rs. The VLAN is left out: a port is a port in every one. */
static __always_inline __u32 own_hash(const struct dlmp_address *address)
{
	__u32 hash = ((__u32)address->mac[3] << 13) ^ ((__u32)address->mac[4] << 8) ^ address->mac[5];

	/* The bound is to be the last step, where the verifier of Linux 6.1 sees it. */
	asm volatile("" : "+r"(hash));
	return hash % DLMP_OWN_BITS;
}

/* Whether an address may be one of ours. */
static __always_inline bool may_be_own(const struct dlmp_address *address)
{
	struct dlmp_own *filter = at(&own, 0);
	__u32 hash = own_hash(address);

	return !filter || filter->bits[hash / 64] >> (hash % 64) & 1;
}

/* The index of the port with this address, or DLMP_NO_PORT. */
static __always_inline __u32 port_with(const __u8 *mac)
{
	struct dlmp_address address = {};
	struct dlmp_client *client;

	__builtin_memcpy(address.mac, mac, sizeof(address.mac));
	client = bpf_map_lookup_elem(&addresses, &address);
	if (!client || client->owner != DLMP_OWNER_PORT)
		return DLMP_NO_PORT;
	return client->place;
}

/* A port that carries frames now. */
struct seat {
	struct dlmp_port *port; /* NULL: none */
	__u32 index;
	bool backup;
};

/* An unusable port counts as none at all only when there is a usable backup: with every port
 * failed the traffic goes on where it went. */
static __always_inline struct seat seat_of(const struct dlmp_slot *slot)
{
	struct seat seat = { .port = at(&ports, slot->port), .index = slot->port };
	struct dlmp_port *other;

	if (seat.port && seat.port->flags & DLMP_PORT_USABLE)
		return seat;
	other = at(&ports, slot->backup);
	if (other && other->flags & DLMP_PORT_USABLE) {
		seat.port = other;
		seat.index = slot->backup;
		seat.backup = true;
	}
	return seat;
}

#endif
