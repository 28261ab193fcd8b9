/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Ingress of each port: the receive rules (docs/datapath.md). */
#ifndef DLMP_INGRESS_H
#define DLMP_INGRESS_H

static __always_inline int take(struct __sk_buff *skb, struct dlmp_counters *row,
				const struct dlmp_aggregation *aggr, __u32 link, bool untag)
{
	count_traffic(row, DLMP_RX_PACKETS, skb->gso_segs, skb->len);
	return deliver(skb, aggr, link, untag);
}

/* Takes a group-addressed frame: the VNICs have copies of it. */
static __always_inline int take_for_all(struct __sk_buff *skb, struct dlmp_counters *row,
					const struct dlmp_aggregation *aggr, __u16 vlan)
{
	count_traffic(row, DLMP_RX_PACKETS, skb->gso_segs, skb->len);
	if (aggr->vnics)
		copy_to_vnics(skb, aggr, 0, vlan);
	return deliver(skb, aggr, 0, false);
}

/*
 * The common case with one look-up at most: unicast of a foreign source for a client that sits on this
 * port. The rules below say the same of it.
 */
static __always_inline bool is_for_client_here(struct __sk_buff *skb,
					       const struct dlmp_aggregation *aggr,
					       const struct dlmp_address *source,
					       const struct dlmp_address *destination,
					       struct seat *seat, __u32 *link, bool *untag)
{
	struct dlmp_client *client;
	struct dlmp_slot *slot;

	if (is_group(destination->mac) || may_be_own(source))
		return false;
	if (same_address(&aggr->primary, destination)) {
		slot = at(&slots, 0);
	} else {
		client = bpf_map_lookup_elem(&addresses, destination);
		if (!client || client->owner == DLMP_OWNER_PORT)
			return false;
		*link = client->link;
		*untag = destination->vlan && client->owner != DLMP_OWNER_LEARNED;
		slot = at(&slots, client->place);
	}
	if (!slot)
		return false;
	*seat = seat_of(slot);
	return seat->port && seat->port->ifindex == skb->ifindex;
}

/*
 * Reflection: what we sent ourselves. A switch never returns a frame to the port that it came from, so on
 * the sender's own port it is somebody else with the same address; a learned client that announces
 * itself there has moved away, and its frames are foreign from now on. Returns false then.
 */
static __always_inline bool is_own(struct __sk_buff *skb, const struct dlmp_aggregation *aggr,
				   const struct dlmp_address *source, const struct dlmp_client *client,
				   __u32 here, enum dlmp_counter *why)
{
	struct dlmp_slot *slot;
	struct ethernet *eth;
	struct seat seat;

	*why = DLMP_RX_REFLECTION;
	if (client->owner == DLMP_OWNER_PORT) {
		if (client->place == here)
			*why = DLMP_RX_OWN_ADDRESS;
		return true;
	}
	slot = at(&slots, client->place);
	if (!slot)
		return true;
	seat = seat_of(slot);
	if (seat.index != here || bpf_ktime_get_ns() - slot->moved_ns < aggr->fresh_ns)
		return true;
	*why = DLMP_RX_OWN_ADDRESS;
	eth = ethernet_of(skb);
	/* On the backup it may be a reflection of what was sent through the port that failed. */
	if (seat.backup || client->owner != DLMP_OWNER_LEARNED || !eth || !is_announcement(skb, eth))
		return true;
	release(source, client->place, here);
	return false;
}

SEC("classifier")
int dlmp_ingress(struct __sk_buff *skb)
{
	struct ethernet *eth = ethernet_of(skb);
	struct dlmp_address source = {}, destination = {};
	struct dlmp_aggregation *aggr = at(&aggregation, 0);
	__u32 ifindex = skb->ifindex, here, other, link = 0;
	struct dlmp_counters *row;
	struct dlmp_client *client;
	bool untag = false, hides = false;
	enum dlmp_counter why;
	struct dlmp_slot *slot;
	struct seat seat;
	__be16 type = 0;
	__u32 *index;
	int verdict;
	__u64 now;

	if (eth && aggr) {
		source.vlan = destination.vlan = vlan_of(skb, eth);
		__builtin_memcpy(source.mac, eth->source, sizeof(source.mac));
		__builtin_memcpy(destination.mac, eth->destination, sizeof(destination.mac));
		type = type_of(skb, eth);
		hides = hides_vlan(skb, eth);
		if (!hides && type != bpf_htons(ETH_P_EXPERIMENTAL) &&
		    is_for_client_here(skb, aggr, &source, &destination, &seat, &link, &untag))
			return take(skb, counters_of(seat.index), aggr, link, untag);
	}

	index = bpf_map_lookup_elem(&port_by_ifindex, &ifindex);
	if (!index || !aggr)
		return TC_ACT_OK; /* not (or no longer) a port */
	here = *index;
	row = counters_of(here);
	if (!eth)
		return drop(row, DLMP_RX_SHORT);

	if (hides)
		return drop(row, DLMP_RX_VLAN_STACKED);

	/* Probes carry the ports' own addresses, so they come before the reflection rule. */
	if (type == bpf_htons(ETH_P_EXPERIMENTAL) && take_probe(skb, eth, aggr, here, row, &verdict))
		return verdict;

	/* Link-local: LLDP, STP and LACP are the port's own. */
	if (is_link_local(destination.mac)) {
		count(row, DLMP_RX_LINK_LOCAL);
		return TC_ACT_OK;
	}

	client = bpf_map_lookup_elem(&addresses, &source);
	if (!client && source.vlan) {
		/* The ports ask in the VLAN of the probes too. */
		other = port_with(source.mac);
		if (other != DLMP_NO_PORT)
			return drop(row, other == here ? DLMP_RX_OWN_ADDRESS : DLMP_RX_REFLECTION);
	}
	if (client) {
		if (is_own(skb, aggr, &source, client, here, &why))
			return drop(row, why);
		count(row, DLMP_RX_RELEASED);
	}

	/* Group: group-addressed frames arrive on every port; one of them is theirs. */
	if (is_group(destination.mac)) {
		if (!takes_group(aggr, &destination, here, row))
			return TC_ACT_SHOT;
		return take_for_all(skb, row, aggr, destination.vlan);
	}

	/* Nobody. An answer to a question of the port's may be in the VLAN of the probes. */
	if (is_probe_answer(skb, type) && port_with(destination.mac) == here) {
		count(row, DLMP_RX_PROBE_ANSWER);
		/* With its tag it would go to the port's device for the VLAN, where nobody reads it. */
		if (skb->vlan_present)
			bpf_skb_vlan_pop(skb);
		return TC_ACT_OK;
	}
	client = bpf_map_lookup_elem(&addresses, &destination);
	/* What switches flood for a silent guest of a bridge arrives on every port too. */
	if (!client && aggr->bridged && aggr->multicast_port == here)
		return take(skb, row, aggr, 0, false);
	if (!client || client->owner == DLMP_OWNER_PORT)
		return drop(row, DLMP_RX_NOBODY);

	/* Own-port. */
	slot = at(&slots, client->place);
	if (!slot || slot->port == DLMP_NO_PORT)
		return drop(row, DLMP_RX_NOBODY);
	link = client->link;
	untag = destination.vlan && client->owner != DLMP_OWNER_LEARNED;
	if (seat_of(slot).index == here)
		return take(skb, row, aggr, link, untag);
	now = bpf_ktime_get_ns();
	if (now - slot->moved_ns < aggr->fresh_ns) {
		count(row, DLMP_RX_FRESH_MOVE);
		return take(skb, row, aggr, link, untag);
	}
	ask_to_announce(aggr, slot, client->place, here, now);
	return drop(row, DLMP_RX_STALE_PORT);
}

#endif
