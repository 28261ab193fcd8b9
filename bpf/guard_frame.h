/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Reading what a guest sent: its addresses as words, its tag, and what is behind. */
#ifndef GUARD_FRAME_H
#define GUARD_FRAME_H

#define VLAN_PRIO_SHIFT 13
#define VLAN_RESERVED 4095 /* IEEE 802.1Q, table 9-2 */

struct guard_frame {
	__u64 source;
	__u32 at;    /* where the payload begins */
	__be16 type; /* EtherType of the payload */
	__u16 tci;   /* of the tag, 0 for none */
	__u16 vlan;  /* 0 for none and for a priority tag */
	bool tagged;
	bool stacked;
};

/* A MAC address as one word: its three 16-bit words, the first one lowest. */
static __always_inline __u64 mac_word(const __u8 *mac)
{
	/* An address in a frame is aligned to two bytes for the verifier of every machine, not to more. */
	typedef __u16 __attribute__((may_alias)) part;
	const part *parts = (const part *)mac;

	return parts[0] | (__u64)parts[1] << 16 | (__u64)parts[2] << 32;
}

/*
 * Reads the tag and what is behind it; false when the frame ends before. The kernel has moved the tag to the
 * metadata before any program of a link's ingress runs; in the bytes is at most a second one. A test run has
 * the first one there.
 */
static __always_inline bool read_tag(struct __sk_buff *skb, const struct ethernet *eth,
				     struct guard_frame *frame)
{
	struct {
		__be16 tci;
		__be16 type;
	} tag;

	frame->type = eth->type;
	frame->at = sizeof(*eth);
	if (skb->vlan_present) {
		frame->tagged = true;
		frame->tci = skb->vlan_tci;
		frame->stacked = skb->vlan_proto != bpf_htons(ETH_P_8021Q);
	} else if (is_tag(frame->type)) {
		frame->tagged = true;
		frame->stacked = frame->type != bpf_htons(ETH_P_8021Q);
		if (bpf_skb_load_bytes(skb, sizeof(*eth), &tag, sizeof(tag)))
			return false;
		frame->tci = bpf_ntohs(tag.tci);
		frame->type = tag.type;
		frame->at += sizeof(tag);
	}
	frame->stacked |= is_tag(frame->type);
	frame->vlan = frame->tci & VLAN_VID_MASK;
	return true;
}

#endif
