/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Ingress of each port: the receive rules (docs/datapath.md). */
#ifndef DLMP_INGRESS_H
#define DLMP_INGRESS_H

static __always_inline int take(struct __sk_buff *skb, struct dlmp_counters *row,
				struct dlmp_aggregation *aggr)
{
	count_traffic(row, DLMP_RX_PACKETS, skb->gso_segs, skb->len);
	return bpf_redirect(aggr->ifindex, BPF_F_INGRESS);
}

/* Whether an address may be one of ours. The same hash is in crates/datapath/src/bpf/own.rs. */
static __always_inline bool may_be_own(const struct dlmp_address *address)
{
	struct dlmp_own *filter = at(&own, 0);
	__u32 hash = ((address->mac[3] << 4) ^ (address->mac[4] << 8) ^ address->mac[5] ^ address->vlan) %
		     DLMP_OWN_BITS;

	return !filter || filter->bits[hash / 64] >> (hash % 64) & 1;
}

/*
 * The common case with one look-up: unicast of a foreign source for a client that sits on this port.
 * The rules below say the same of it.
 */
static __always_inline bool is_for_client_here(struct __sk_buff *skb,
					       const struct dlmp_aggregation *aggr,
					       const struct dlmp_address *source,
					       const struct dlmp_address *destination, __u32 *here)
{
	struct dlmp_slot *slot;
	struct dlmp_port *port;
	bool backup;

	if (is_group(destination->mac) || may_be_own(source))
		return false;
	slot = slot_with(aggr, destination);
	if (!slot)
		return false;
	*here = port_of(slot, &backup);
	port = at(&ports, *here);
	return port && port->ifindex == skb->ifindex;
}

/* Asks the daemon to announce the slot from its own port, so that a lost announcement heals. */
static __always_inline void ask_to_announce(struct dlmp_aggregation *aggr, struct dlmp_slot *slot,
					    __u32 slot_index, __u32 port, __u64 now,
					    struct dlmp_counters *row)
{
	struct dlmp_event *event;

	if (now - slot->announce_ns < aggr->announce_ns)
		return;
	slot->announce_ns = now;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		count(row, DLMP_EVENT_LOST);
		return;
	}
	event->slot = slot_index;
	event->port = port;
	bpf_ringbuf_submit(event, 0);
}

SEC("classifier")
int dlmp_ingress(struct __sk_buff *skb)
{
	struct ethernet *eth = ethernet_of(skb);
	struct dlmp_address source = {}, destination = {};
	struct dlmp_aggregation *aggr = at(&aggregation, 0);
	__u32 ifindex = skb->ifindex;
	struct dlmp_counters *row;
	struct dlmp_client *client;
	struct dlmp_slot *slot;
	bool backup;
	int verdict;
	__be16 type = 0;
	__u32 here;
	__u64 now;

	__u32 *index;

	if (eth && aggr) {
		source.vlan = destination.vlan = vlan_of(skb, eth);
		__builtin_memcpy(source.mac, eth->source, sizeof(source.mac));
		__builtin_memcpy(destination.mac, eth->destination, sizeof(destination.mac));
		type = eth->type;
		if (type != bpf_htons(ETH_P_EXPERIMENTAL) && is_for_client_here(skb, aggr, &source, &destination, &here))
			return take(skb, counters_of(here), aggr);
	}

	index = bpf_map_lookup_elem(&port_by_ifindex, &ifindex);
	if (!index || !aggr)
		return TC_ACT_OK; /* not (or no longer) a port */
	here = *index;
	row = counters_of(here);
	if (!eth)
		return drop(row, DLMP_RX_SHORT);

	/* Probes carry the ports' own addresses, so they come before rule 1. */
	if (type == bpf_htons(ETH_P_EXPERIMENTAL) && take_probe(skb, eth, aggr, here, row, &verdict))
		return verdict;

	/* Rule 4, first half: LLDP, STP and LACP are the port's own. */
	if (is_link_local(destination.mac)) {
		count(row, DLMP_RX_LINK_LOCAL);
		return TC_ACT_OK;
	}

	/* Rule 1: what we sent ourselves. A switch never returns a frame to the port that it came
	 * from, so on the sender's own port it is somebody else with the same address. */
	client = bpf_map_lookup_elem(&addresses, &source);
	if (client) {
		if (client->owner == DLMP_OWNER_PORT)
			return drop(row, client->place == here ? DLMP_RX_OWN_ADDRESS
							       : DLMP_RX_REFLECTION);
		slot = at(&slots, client->place);
		if (slot && port_of(slot, &backup) == here &&
		    bpf_ktime_get_ns() - slot->moved_ns >= aggr->fresh_ns)
			return drop(row, DLMP_RX_OWN_ADDRESS);
		return drop(row, DLMP_RX_REFLECTION);
	}

	/* Rule 2: group-addressed frames arrive on every port; one of them is theirs. */
	if (is_group(destination.mac)) {
		if (aggr->multicast_port != here)
			return drop(row, DLMP_RX_GROUP_OTHER_PORT);
		return take(skb, row, aggr);
	}

	/* Rule 4, second half. An answer to a question of the port's may be in the VLAN of the probes. */
	if (is_probe_answer(skb, type) && port_with(destination.mac) == here) {
		count(row, DLMP_RX_PROBE_ANSWER);
		return TC_ACT_OK;
	}
	client = bpf_map_lookup_elem(&addresses, &destination);
	if (!client || client->owner == DLMP_OWNER_PORT)
		return drop(row, DLMP_RX_NOBODY);

	/* Rule 3. */
	slot = at(&slots, client->place);
	if (!slot || slot->port == DLMP_NO_PORT)
		return drop(row, DLMP_RX_NOBODY);
	if (port_of(slot, &backup) == here)
		return take(skb, row, aggr);
	now = bpf_ktime_get_ns();
	if (now - slot->moved_ns < aggr->fresh_ns) {
		count(row, DLMP_RX_FRESH_MOVE);
		return take(skb, row, aggr);
	}
	ask_to_announce(aggr, slot, client->place, here, now, row);
	return drop(row, DLMP_RX_STALE_PORT);
}

#endif
