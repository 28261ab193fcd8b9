/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the aggregation's link sends: its own client, and those that a bridge or a VLAN device brings. The program hangs
 * on the link's egress, and on the ingress of its lower end for what misses that: another program there ended the
 * chain, or the sender goes past tc (PACKET_QDISC_BYPASS, AF_XDP, XDP_REDIRECT, netconsole).
 */
#ifndef DLMP_EGRESS_H
#define DLMP_EGRESS_H

/* The slot of a source that sends through the aggregation's link. */
static __always_inline struct dlmp_slot *sender(const struct dlmp_aggregation *aggr,
						const struct dlmp_address *source)
{
	struct dlmp_client *client;

	/* Most frames are the primary interface's own: its address is compared before the map is asked. */
	if (same_address(&aggr->primary, source))
		return at(&slots, 0);
	client = bpf_map_lookup_elem(&addresses, source);
	if (!client) {
		if (!is_group(source->mac) && port_with(source->mac) == DLMP_NO_PORT)
			return learn(aggr, source, 0);
		count(counters_of(DLMP_ROW_AGGREGATION), DLMP_TX_UNKNOWN_SOURCE);
		return NULL;
	}
	if (client->owner == DLMP_OWNER_PORT || client->link) {
		count(counters_of(DLMP_ROW_AGGREGATION), DLMP_TX_UNKNOWN_SOURCE);
		return NULL;
	}
	note_use(client->place);
	return at(&slots, client->place);
}

/*
 * Whether a frame at the lower end is a report that was held: the daemon's socket, which sees frames before any program
 * of the link's ingress, has it. Others may use the mark for what is no report.
 */
static __always_inline bool was_held(struct __sk_buff *skb, const struct ethernet *eth)
{
	struct report report = {};

	return skb->mark == DLMP_HELD_MARK && is_group(eth->destination) && find_report(skb, eth, &report);
}

/*
 * Whether the sender of what switches listen to may send it: the host itself, by the aggregation's own address, but no
 * spanning tree of a bridge above, to which the ports are one. A switch shuts the port of others that do.
 */
static __always_inline bool may_speak_to_switches(struct __sk_buff *skb, const struct ethernet *eth,
						  const struct dlmp_aggregation *aggr)
{
	return same_mac(eth->source, aggr->primary.mac) && !is_spanning_tree(eth->destination) && !is_bpdu(skb, eth);
}

SEC("classifier")
int dlmp_egress(struct __sk_buff *skb)
{
	struct dlmp_address source = {}, destination = {};
	struct dlmp_aggregation *aggr = at(&aggregation, 0);
	struct ethernet *eth = ethernet_of(skb);
	struct dlmp_slot *slot;

	if (!eth || !aggr)
		return refuse(DLMP_TX_SHORT);
	if (skb->ifindex == aggr->lower) {
		if (was_held(skb, eth))
			return TC_ACT_SHOT;
		count(counters_of(DLMP_ROW_AGGREGATION), DLMP_TX_LOWER);
	}
	__builtin_memcpy(source.mac, eth->source, sizeof(source.mac));
	__builtin_memcpy(destination.mac, eth->destination, sizeof(destination.mac));
	source.vlan = destination.vlan = vlan_of(skb, eth);

	if (is_switch_protocol(destination.mac) && !may_speak_to_switches(skb, eth, aggr))
		return refuse(DLMP_TX_SWITCH_PROTOCOL);
	slot = sender(aggr, &source);
	if (!slot)
		return TC_ACT_SHOT;
	return send(skb, aggr, slot, &destination, 0);
}

#endif
