/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Transitive probes: checked, answered and noted here, so that an answer depends on nobody who may
 * be asleep. The frame is that of docs/protocol.md.
 */
#ifndef DLMP_PROBE_H
#define DLMP_PROBE_H

#define ETH_P_EXPERIMENTAL 0x88b5
#define PROBE_MAGIC 0x444c4d50 /* "DLMP" */
#define PROBE_VERSION 1
#define PROBE_WINDOW_NS 1000000000ULL /* an older probe is played again */

enum probe_kind {
	PROBE_REQUEST,
	PROBE_RESPONSE,
};

struct probe {
	__be32 magic;
	__u8 version;
	__u8 kind;
	__be16 vlan;
	__be32 sequence;
	__u32 zero;
	__be64 sent;
	__u8 asked[6];
	__u8 asking[6];
	__u32 zeroes;
	__be64 tag;
};

/* What the tag covers, in 64-bit words. */
#define PROBE_WORDS 5

static __always_inline __be64 probe_tag(const struct dlmp_aggregation *aggr, const struct probe *probe)
{
	return bpf_cpu_to_be64(siphash(aggr->probe_key, (const __u64 *)probe, PROBE_WORDS));
}

/* Whether a sequence number comes after another one (RFC 1982). */
static __always_inline bool is_newer(__u32 sequence, __u32 than)
{
	return (__s32)(sequence - than) > 0;
}

static __always_inline int answer(struct __sk_buff *skb, struct dlmp_aggregation *aggr,
				  struct probe *probe, struct dlmp_counters *row)
{
	struct {
		__u8 destination[6];
		__u8 source[6];
	} ends;

	__builtin_memcpy(ends.destination, probe->asking, sizeof(ends.destination));
	__builtin_memcpy(ends.source, probe->asked, sizeof(ends.source));
	probe->kind = PROBE_RESPONSE;
	probe->tag = probe_tag(aggr, probe);
	if (bpf_skb_store_bytes(skb, 0, &ends, sizeof(ends), 0) ||
	    bpf_skb_store_bytes(skb, sizeof(struct ethernet), probe, sizeof(*probe), 0))
		return drop(row, DLMP_RX_PROBE_MALFORMED);
	count(row, DLMP_RX_PROBE_REQUEST);
	/* Out of the port that it came in by; a VLAN tag is in the metadata and goes along. */
	return bpf_redirect(skb->ifindex, 0);
}

/*
 * A frame of our type that arrived on port `here`. Returns false when it is not ours, which is for a port's own address:
 * the rules decide about it then. A guest behind us may have an aggregation that probes, with its own addresses.
 */
static __always_inline bool take_probe(struct __sk_buff *skb, struct ethernet *eth,
				       struct dlmp_aggregation *aggr, __u32 here,
				       struct dlmp_counters *row, int *verdict)
{
	__u8 destination[6], source[6];
	__u32 other, last, sequence;
	struct dlmp_pair *pair;
	struct probe probe;
	__u64 now, sent;
	__be32 magic;
	__u16 vlan;

	/* The pointer into the frame does not outlive the helpers below. */
	__builtin_memcpy(destination, eth->destination, sizeof(destination));
	__builtin_memcpy(source, eth->source, sizeof(source));
	vlan = vlan_of(skb, eth);
	if (!aggr->probing || port_with(destination) == DLMP_NO_PORT || bpf_skb_load_bytes(skb, sizeof(*eth), &magic, sizeof(magic)) ||
	    magic != bpf_htonl(PROBE_MAGIC))
		return false;

	*verdict = TC_ACT_SHOT;
	if (bpf_skb_load_bytes(skb, sizeof(*eth), &probe, sizeof(probe)) ||
	    probe.version != PROBE_VERSION || probe.kind > PROBE_RESPONSE || probe.zero || probe.zeroes) {
		count(row, DLMP_RX_PROBE_MALFORMED);
		return true;
	}
	if (probe_tag(aggr, &probe) != probe.tag) {
		count(row, DLMP_RX_PROBE_FORGED);
		return true;
	}
	/* Made by us; now whether it is on its way: between these two ports, in this VLAN. */
	if (probe.kind == PROBE_REQUEST) {
		other = port_with(probe.asking);
		if (!same_mac(destination, probe.asked) || !same_mac(source, probe.asking) ||
		    port_with(probe.asked) != here)
			other = DLMP_NO_PORT;
	} else {
		other = port_with(probe.asked);
		if (!same_mac(destination, probe.asking) || !same_mac(source, probe.asked) ||
		    port_with(probe.asking) != here)
			other = DLMP_NO_PORT;
	}
	if (other >= DLMP_MAX_PORTS || other == here || vlan != aggr->probe_vlan ||
	    bpf_ntohs(probe.vlan) != vlan) {
		count(row, DLMP_RX_PROBE_STRAY);
		return true;
	}
	pair = at(&pairs, here * DLMP_MAX_PORTS + other);
	if (!pair)
		return true;
	now = bpf_ktime_get_ns();
	sent = bpf_be64_to_cpu(probe.sent);
	sequence = bpf_ntohl(probe.sequence);
	last = probe.kind == PROBE_REQUEST ? pair->asked : pair->answered;
	if (sent > now || now - sent > PROBE_WINDOW_NS || !is_newer(sequence, last)) {
		count(row, DLMP_RX_PROBE_STALE);
		return true;
	}
	if (probe.kind == PROBE_REQUEST) {
		pair->asked = sequence;
		pair->asked_ns = now;
		*verdict = answer(skb, aggr, &probe, row);
		return true;
	}
	/* Readers take the sequence number for a sign that the rest is there. */
	pair->answered_sent_ns = sent;
	pair->answered_ns = now;
	barrier();
	pair->answered = sequence;
	count(row, DLMP_RX_PROBE_RESPONSE);
	return true;
}

/* The answer to an ARP probe (RFC 5227: it names no address of the asker). */
static __always_inline bool is_arp_answer(struct __sk_buff *skb)
{
	__be16 operation;
	__be32 target;

	return !bpf_skb_load_bytes(skb, sizeof(struct ethernet) + 6, &operation, sizeof(operation)) &&
	       operation == bpf_htons(ARP_REPLY) &&
	       !bpf_skb_load_bytes(skb, sizeof(struct ethernet) + 24, &target, sizeof(target)) && !target;
}

static __always_inline bool is_neighbour_advertisement(struct __sk_buff *skb)
{
	__u8 next, type;

	return !bpf_skb_load_bytes(skb, sizeof(struct ethernet) + 6, &next, sizeof(next)) &&
	       next == IPPROTO_ICMPV6 &&
	       !bpf_skb_load_bytes(skb, sizeof(struct ethernet) + 40, &type, sizeof(type)) &&
	       type == NEIGHBOUR_ADVERTISEMENT;
}

/* Whether a frame for a port's own address answers a question that the daemon sent from it. */
static __always_inline bool is_probe_answer(struct __sk_buff *skb, __be16 type)
{
	if (type == bpf_htons(ETH_P_ARP))
		return is_arp_answer(skb);
	if (type == bpf_htons(ETH_P_IPV6))
		return is_neighbour_advertisement(skb);
	return false;
}

#endif
