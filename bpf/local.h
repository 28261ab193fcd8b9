/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Local: what clients of one aggregation send to each other stays here. */
#ifndef DLMP_LOCAL_H
#define DLMP_LOCAL_H

/*
 * Hands a frame to a client, as the last thing that is done with it. A VNIC that is configured with the
 * VLAN has it without the tag.
 */
static __always_inline int deliver(struct __sk_buff *skb, const struct dlmp_aggregation *aggr,
				   __u32 link, bool untag)
{
	if (!link)
		return bpf_redirect(aggr->ifindex, BPF_F_INGRESS);
	if (untag)
		bpf_skb_vlan_pop(skb);
	return bpf_redirect(link, 0);
}

/* 1 if two numbers below 2^31 are the same, without a branch. */
static __always_inline __u32 same(__u32 one, __u32 other)
{
	__u32 differ = one ^ other;

	asm volatile("" : "+r"(differ));
	return ((differ - 1) & ~differ) >> 31;
}

/*
 * Copies a frame to the VNICs that are configured with `vlan`, but not to the one that it came from; of
 * those with none, to all or to `trunks` only. No branch in the loop, for the reason given in learn.h:
 * a copy for the interface 0 is none.
 */
static __always_inline void copy_to(struct __sk_buff *skb, const struct dlmp_vnics *all, __u32 count,
				    __u32 from, __u16 vlan, bool trunks)
{
	for (__u32 index = 0; index < DLMP_MAX_VNICS && index < count; index++) {
		const struct dlmp_vnic *vnic = &all->at[index];
		__u32 wanted = same(vnic->vlan, vlan) & (same(vnic->ifindex, from) ^ 1) &
			       (vnic->trunk | !trunks);

		bpf_clone_redirect(skb, vnic->ifindex * wanted, 0);
	}
}

/*
 * Copies a group-addressed frame to the VNICs in its VLAN, but not to the one that it came from. The tag
 * is off for those that are configured with the VLAN, and back on afterwards. One without a VLAN that has
 * sent tagged frames is a trunk, and has those of every VLAN.
 */
static __always_inline void copy_to_vnics(struct __sk_buff *skb, const struct dlmp_aggregation *aggr,
					  __u32 from, __u16 vlan)
{
	__be16 protocol = skb->vlan_present ? skb->vlan_proto : bpf_htons(ETH_P_8021Q);
	__u16 tci = skb->vlan_present ? skb->vlan_tci : vlan;
	struct dlmp_vnics *all = at(&vnics, 0);

	if (!all)
		return;
	copy_to(skb, all, aggr->vnics, from, 0, vlan);
	if (!vlan || !aggr->vlans || bpf_skb_vlan_pop(skb))
		return;
	copy_to(skb, all, aggr->vnics, from, vlan, false);
	bpf_skb_vlan_push(skb, protocol, tci);
}

#endif
