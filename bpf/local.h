/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Rule 5: what clients of one aggregation send to each other stays here. */
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

/* What copying a frame to the VNICs needs to know, and finds out. */
struct copying {
	struct __sk_buff *skb;
	__u32 from;     /* the link that it came from has it */
	__u16 vlan;     /* of the frame */
	bool untagged;  /* its tag is off now */
	bool configured; /* a VNIC is configured with its VLAN */
};

/* A step of copy_to_vnics; returns 0 to go on. */
static long copy_to_vnic(__u32 index, struct copying *copying)
{
	struct dlmp_address address = { .vlan = copying->vlan };
	struct dlmp_vnic *vnic = at(&vnics, index);
	bool wanted;

	if (!vnic || !vnic->ifindex || vnic->ifindex == copying->from)
		return 0;
	if (vnic->vlan) {
		wanted = copying->untagged && vnic->vlan == copying->vlan;
		copying->configured |= vnic->vlan == copying->vlan;
	} else if (copying->untagged) {
		wanted = false;
	} else {
		/* Tagged frames are for a VLAN device on the VNIC, known by what it sends. */
		__builtin_memcpy(address.mac, vnic->mac, sizeof(address.mac));
		wanted = !copying->vlan || bpf_map_lookup_elem(&addresses, &address);
	}
	if (wanted)
		bpf_clone_redirect(copying->skb, vnic->ifindex, 0);
	return 0;
}

/*
 * Copies a group-addressed frame to the VNICs that are in its VLAN, but not to the one that it came
 * from. The tag is off for those that are configured with the VLAN, and back on afterwards.
 */
static __always_inline void copy_to_vnics(struct __sk_buff *skb, const struct dlmp_aggregation *aggr,
					  __u32 from, __u16 vlan)
{
	struct copying copying = { .skb = skb, .from = from, .vlan = vlan };
	__be16 protocol = skb->vlan_present ? skb->vlan_proto : bpf_htons(ETH_P_8021Q);
	__u16 tci = skb->vlan_present ? skb->vlan_tci : vlan;

	bpf_loop(aggr->vnics, copy_to_vnic, &copying, 0);
	if (!copying.configured || bpf_skb_vlan_pop(skb))
		return;
	copying.untagged = true;
	bpf_loop(aggr->vnics, copy_to_vnic, &copying, 0);
	bpf_skb_vlan_push(skb, protocol, tci);
}

#endif
