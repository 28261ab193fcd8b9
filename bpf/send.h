/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Sending for a client: to the others of the aggregation, or client -> slot -> port. */
#ifndef DLMP_SEND_H
#define DLMP_SEND_H

static __always_inline int refuse(enum dlmp_counter why)
{
	count(counters_of(DLMP_ROW_AGGREGATION), why);
	return TC_ACT_SHOT;
}

static __always_inline int send_through(struct __sk_buff *skb, const struct seat *seat,
					struct dlmp_counters *row)
{
	if (!seat->port || !seat->port->ifindex)
		return refuse(DLMP_TX_NO_PORT);
	/* wire_len: the headers of all segments included. */
	count_traffic(row, DLMP_TX_PACKETS, skb->gso_segs, skb->wire_len);
	return bpf_redirect(seat->port->ifindex, 0);
}

/*
 * A report waits at the aggregation's lower end for the daemon, which sends it when the ports' filters are ready. The
 * mark is what the daemon's socket there takes it by, and what the sending program there lets go of it by.
 */
static __always_inline int hold(struct __sk_buff *skb, const struct dlmp_aggregation *aggr)
{
	count(counters_of(DLMP_ROW_AGGREGATION), DLMP_TX_REPORT_HELD);
	skb->mark = DLMP_HELD_MARK;
	return bpf_redirect(aggr->lower, BPF_F_INGRESS);
}

/*
 * Reports of every client leave through the multicast port, or a snooping switch would send the
 * groups to a port that drops them (the group rule), and with that port's own address: the client's would
 * move the client in the switches.
 */
static __always_inline int send_report(struct __sk_buff *skb, const struct dlmp_aggregation *aggr,
				       const struct report *report, __u32 from)
{
	__u32 index = aggr->multicast_port;
	struct seat seat = { .port = at(&ports, index), .index = index };
	struct dlmp_counters *row = counters_of(index);

	if (aggr->lower && is_daemon_alive()) {
		if (may_be_read(skb, report->at, from))
			return hold(skb, aggr);
		count(counters_of(DLMP_ROW_AGGREGATION), DLMP_TX_REPORT_UNREAD);
	}
	if (!seat.port)
		return refuse(DLMP_TX_NO_PORT);
	if (bpf_skb_store_bytes(skb, offsetof(struct ethernet, source), seat.port->mac,
				sizeof(seat.port->mac), 0))
		return refuse(DLMP_TX_SHORT);
	count(row, DLMP_TX_REPORT);
	return send_through(skb, &seat, row);
}

/* Whether a unicast frame is for a client here, and what becomes of it then. */
static __always_inline bool send_locally(struct __sk_buff *skb, const struct dlmp_aggregation *aggr,
					 const struct dlmp_address *destination, __u32 from,
					 int *verdict)
{
	struct dlmp_client *client;
	__u32 link;

	if (!may_be_own(destination))
		return false;
	client = bpf_map_lookup_elem(&addresses, destination);
	if (!client || client->owner == DLMP_OWNER_PORT)
		return false;
	link = client->link;
	if (link == from) {
		/* Behind the same bridge or VNIC: that delivers it. */
		*verdict = refuse(DLMP_TX_SAME_LINK);
		return true;
	}
	count(counters_of(DLMP_ROW_AGGREGATION), DLMP_TX_LOCAL);
	*verdict = deliver(skb, aggr, link, destination->vlan && client->owner != DLMP_OWNER_LEARNED);
	return true;
}

/* A frame of the client at `slot`, with its tag, that came through `from`: a VNIC's lower end, or 0. */
static __always_inline int send(struct __sk_buff *skb, const struct dlmp_aggregation *aggr,
				const struct dlmp_slot *slot, const struct dlmp_address *destination,
				__u32 from)
{
	struct dlmp_counters *row;
	struct report report = {};
	struct ethernet *eth;
	struct seat seat;
	int verdict;

	if (is_group(destination->mac)) {
		if (!is_link_local(destination->mac)) {
			if (from)
				bpf_clone_redirect(skb, aggr->ifindex, BPF_F_INGRESS);
			if (aggr->vnics)
				copy_to_vnics(skb, aggr, from, destination->vlan);
		}
		eth = ethernet_of(skb);
		if (!eth)
			return refuse(DLMP_TX_SHORT);
		if (find_report(skb, eth, &report)) {
			admit_reported(skb, report.at, report.end, report.type);
			if (aggr->multicast_port != DLMP_NO_PORT)
				return send_report(skb, aggr, &report, from);
		}
	} else if ((aggr->vnics || aggr->bridged) &&
		   send_locally(skb, aggr, destination, from, &verdict)) {
		return verdict;
	}

	seat = seat_of(slot);
	row = counters_of(seat.index);
	if (seat.backup)
		count(row, DLMP_TX_BACKUP);
	return send_through(skb, &seat, row);
}

/* Notes that a learned client is still there. Written only when it changes: readers share the line. */
static __always_inline void note_use(__u32 slot)
{
	__u64 *seen = at(&used, slot);

	if (seen && !*seen)
		*seen = 1;
}

#endif
