// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The guard of one vnet: two programs on its switch end. What that receives is what the guest sends.
 * The rules are those of docs/datapath.md, "The guard", in the same order.
 */
#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "guard.h"
#include "guard_maps.h"
#include "frame.h"
#include "switch_protocol.h"
#include "bucket.h"
#include "guard_frame.h"
#include "guard_learn.h"
#include "guard_rate.h"
#include "guard_protect.h"

/* The next program of the hook goes on: others may have theirs on the link. */
#define PASS TC_ACT_UNSPEC

#define ETH_P_CONTROL 0x88b6 /* what the switch tells a guest of its link (docs/protocol.md) */

/*
 * Whether what is said in IP and DHCP can be judged. Known when the programs are loaded: where nothing of it is asked for, the
 * verifier leaves it out, which would take most of the time of making a vnet.
 */
const volatile __u32 guard_judges = 1;

/* Whether a frame to a group is a report of group membership. */
static __always_inline bool is_report(struct __sk_buff *skb, const struct guard_frame *frame)
{
	struct report report = {};

	if (frame->type == bpf_htons(ETH_P_IP))
		return find_igmp_report(skb, frame->at, &report);
	if (frame->type == bpf_htons(ETH_P_IPV6))
		return find_mld_report(skb, frame->at, &report);
	return false;
}

static __always_inline bool has_vlan(const struct guard_settings *set, __u32 vlan)
{
	/* What the compiler knows of the range the verifier may not. */
	barrier_var(vlan);
	return set->vlans[vlan / 64 % 64] >> (vlan % 64) & 1;
}

/* Writes the class of service into the tag; false when the kernel has no memory for it. */
static __always_inline bool set_class(struct __sk_buff *skb, const struct guard_frame *frame, __u32 cos)
{
	__u16 tci = (frame->tci & ~(7 << VLAN_PRIO_SHIFT)) | cos << VLAN_PRIO_SHIFT;

	if (tci == frame->tci)
		return true;
	return !bpf_skb_vlan_pop(skb) && !bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), tci);
}

SEC("classifier")
int guard_sent(struct __sk_buff *skb)
{
	struct guard_settings *set = only(&settings);
	struct ethernet *eth = ethernet_of(skb);
	struct guard_frame frame = {};
	bool to_group, learn_mac = false;
	enum guard_counter why;
	__u32 flags;

	if (!eth || !set)
		return drop(GUARD_SHORT);
	flags = set->flags;

	to_group = is_group(eth->destination);
	if (to_group && is_link_local(eth->destination))
		return drop(eth->type == bpf_htons(ETH_P_CONTROL) ? GUARD_CONTROL : GUARD_LINK_LOCAL);
	if (is_switch_protocol(eth->destination))
		return drop(GUARD_SWITCH_PROTOCOL);
	frame.source = mac_word(eth->source);
	if (is_group(eth->source) || !frame.source)
		return drop(GUARD_SOURCE_INVALID);

	if (!read_tag(skb, eth, &frame))
		return drop(GUARD_SHORT);
	if (frame.stacked)
		return drop(GUARD_VLAN_STACKED);
	if (frame.vlan == VLAN_RESERVED)
		return drop(GUARD_VLAN_INVALID);

	if (frame.source != set->mac &&
	    !(flags & GUARD_ALTERNATES && bpf_map_lookup_elem(&alternates, &frame.source))) {
		if (!(flags & GUARD_CUSTOM) || flags & GUARD_MAC_NOSPOOF)
			return drop(GUARD_MAC_FOREIGN);
		learn_mac = true;
	}
	if (frame.vlan && !(flags & GUARD_CUSTOM) && !has_vlan(set, frame.vlan))
		return drop(GUARD_VLAN_FOREIGN);

	if (flags & GUARD_RESTRICTED && !is_internet(frame.type))
		return drop(GUARD_PROTOCOL);
	if (guard_judges && flags & (GUARD_IP_NOSPOOF | GUARD_DHCP_NOSPOOF)) {
		why = judge_protected(skb, &frame, flags);
		if (why != GUARD_COUNTERS)
			return drop(why);
	}

	/* What is dropped up to here takes none of the guest's places. */
	if (learn_mac && !admit_mac(set, frame.source))
		return drop(GUARD_MAC_OVERFLOW);
	if (frame.vlan && flags & GUARD_CUSTOM && !admit_vlan(set, frame.vlan))
		return drop(GUARD_VLAN_OVERFLOW);

	if (to_group && is_report(skb, &frame) && !afford_report())
		return drop(GUARD_REPORT_RATE);
	if (flags & GUARD_MAXBW && !afford_sent(skb, set))
		return drop(GUARD_MAXBW_SENT);

	if (flags & GUARD_PRIORITY)
		skb->priority = set->priority;
	if (flags & GUARD_COS && frame.tagged && !set_class(skb, &frame, set->cos))
		return drop(GUARD_SHORT);
	return PASS;
}

/* Hangs where the bandwidth is limited, since that is all it does. */
SEC("classifier")
int guard_received(struct __sk_buff *skb)
{
	struct guard_settings *set = only(&settings);

	if (set && set->flags & GUARD_MAXBW && !afford_received(skb, set))
		return drop(GUARD_MAXBW_RECEIVED);
	return PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
