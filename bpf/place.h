/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Where a slot's clients sit now. */
#ifndef DLMP_PLACE_H
#define DLMP_PLACE_H

static __always_inline bool same_address(const struct dlmp_address *one, const struct dlmp_address *other)
{
	__u64 first = *(const __u64 *)one;

	return first && first == *(const __u64 *)other;
}

/* The slot of a client with this address, or NULL. Most frames are the primary interface's own: its
 * address is compared before the map is asked. */
static __always_inline struct dlmp_slot *slot_with(const struct dlmp_aggregation *aggr,
						   const struct dlmp_address *address)
{
	struct dlmp_client *client;

	if (same_address(&aggr->primary, address))
		return at(&slots, 0);
	client = bpf_map_lookup_elem(&addresses, address);
	if (!client || client->owner == DLMP_OWNER_PORT)
		return NULL;
	return at(&slots, client->place);
}

/* An unusable port counts as none at all only when there is a usable backup: with every port
 * failed the traffic goes on where it went. */
static __always_inline __u32 port_of(const struct dlmp_slot *slot, bool *backup)
{
	struct dlmp_port *port = at(&ports, slot->port);
	struct dlmp_port *other;

	*backup = false;
	if (port && port->flags & DLMP_PORT_USABLE)
		return slot->port;
	other = at(&ports, slot->backup);
	if (other && other->flags & DLMP_PORT_USABLE) {
		*backup = true;
		return slot->backup;
	}
	return slot->port;
}

#endif
