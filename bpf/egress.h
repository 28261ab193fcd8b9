/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Egress of the aggregation's link: client -> slot -> port. */
#ifndef DLMP_EGRESS_H
#define DLMP_EGRESS_H

static __always_inline int refuse(enum dlmp_counter why)
{
	count(counters_of(DLMP_ROW_AGGREGATION), why);
	return TC_ACT_SHOT;
}

static __always_inline int send_through(struct __sk_buff *skb, __u32 index,
					struct dlmp_counters *row)
{
	struct dlmp_port *port = at(&ports, index);

	if (!port || !port->ifindex)
		return refuse(DLMP_TX_NO_PORT);
	/* wire_len: the headers of all segments included. */
	count_traffic(row, DLMP_TX_PACKETS, skb->gso_segs, skb->wire_len);
	return bpf_redirect(port->ifindex, 0);
}

/*
 * Reports of every client leave through the multicast port, or a snooping switch would send the
 * groups to a port that drops them (rule 2), and with that port's own address: the client's would
 * move the client in the switches.
 */
static __always_inline int send_report(struct __sk_buff *skb, __u32 index)
{
	struct dlmp_counters *row = counters_of(index);
	struct dlmp_port *port = at(&ports, index);

	if (!port)
		return refuse(DLMP_TX_NO_PORT);
	if (bpf_skb_store_bytes(skb, offsetof(struct ethernet, source), port->mac,
				sizeof(port->mac), 0))
		return refuse(DLMP_TX_SHORT);
	count(row, DLMP_TX_REPORT);
	return send_through(skb, index, row);
}

SEC("classifier")
int dlmp_egress(struct __sk_buff *skb)
{
	struct ethernet *eth = ethernet_of(skb);
	struct dlmp_aggregation *aggr = at(&aggregation, 0);
	struct dlmp_address source = {};
	struct dlmp_counters *row;
	struct dlmp_slot *slot;
	bool backup;
	__u32 index;

	if (!eth || !aggr)
		return refuse(DLMP_TX_SHORT);
	__builtin_memcpy(source.mac, eth->source, sizeof(source.mac));
	source.vlan = vlan_of(skb, eth);

	slot = slot_with(aggr, &source);
	if (!slot)
		return refuse(DLMP_TX_UNKNOWN_SOURCE);

	if (is_group(eth->destination) && aggr->multicast_port != DLMP_NO_PORT && is_membership_report(skb, eth))
		return send_report(skb, aggr->multicast_port);

	index = port_of(slot, &backup);
	row = counters_of(index);
	if (backup)
		count(row, DLMP_TX_BACKUP);
	return send_through(skb, index, row);
}

#endif
