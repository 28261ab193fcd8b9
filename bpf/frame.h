/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Reading frames: addresses, VLAN, announcements, and where a report of group membership is. */
#ifndef DLMP_FRAME_H
#define DLMP_FRAME_H

#define ETH_P_IP 0x0800
#define ETH_P_ARP 0x0806
#define ETH_P_RARP 0x8035
#define ETH_P_IPV6 0x86dd
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88a8
#define VLAN_VID_MASK 0x0fff
#define ETH_P_802_3_MIN 0x0600 /* a type; what is less is a length */
#define LLC_SPANNING_TREE 0x42

#define IPPROTO_HOPOPTS 0
#define IPPROTO_IGMP 2
#define IPPROTO_ICMPV6 58

/* IGMPv1, v2, v3 reports and the v2 leave (RFC 1112, 2236, 3376). */
#define IGMP_V1_REPORT 0x12
#define IGMP_V2_REPORT 0x16
#define IGMP_V2_LEAVE 0x17
#define IGMP_V3_REPORT 0x22
#define ARP_REPLY 2
#define NEIGHBOUR_ADVERTISEMENT 136
#define ADVERTISEMENT_SOLICITED 0x40

/* MLDv1 report and done, MLDv2 report (RFC 2710, 3810). */
#define MLD_V1_REPORT 131
#define MLD_V1_DONE 132
#define MLD_V2_REPORT 143

struct ethernet {
	__u8 destination[6];
	__u8 source[6];
	__be16 type;
};

/* The Ethernet header, or NULL when the frame is too short to have one. */
static __always_inline struct ethernet *ethernet_of(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	struct ethernet *eth = data;

	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return NULL;
	return eth;
}

/*
 * Whether the outermost tag of a frame is of another kind than 802.1Q. The kernel moves an 802.1ad tag to the metadata
 * as well, but it is no VLAN of the link: to switches it is payload in the sender's own VLAN (IEEE 802.1Q, 5.5).
 */
static __always_inline bool has_foreign_tag(const struct __sk_buff *skb)
{
	return skb->vlan_present && skb->vlan_proto != bpf_htons(ETH_P_8021Q);
}

/* The EtherType of a frame as the rules read it: none of theirs behind a foreign tag. */
static __always_inline __be16 type_of(const struct __sk_buff *skb, const struct ethernet *eth)
{
	return has_foreign_tag(skb) ? (__be16)skb->vlan_proto : eth->type;
}

/* The VLAN of a frame, 0 when it has none (or only a priority tag, or a foreign one). The tag is in the
 * metadata, except for a frame that was sent with the tag in its bytes. */
static __always_inline __u16 vlan_of(struct __sk_buff *skb, const struct ethernet *eth)
{
	__be16 tci;

	if (skb->vlan_present)
		return has_foreign_tag(skb) ? 0 : skb->vlan_tci & VLAN_VID_MASK;
	if (eth->type != bpf_htons(ETH_P_8021Q))
		return 0;
	if (bpf_skb_load_bytes(skb, sizeof(*eth), &tci, sizeof(tci)))
		return 0;
	return bpf_ntohs(tci) & VLAN_VID_MASK;
}

static __always_inline bool is_tag(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/*
 * Whether a tag without a VLAN (a priority tag) is before another tag. Kernels take such a tag off and go by the one
 * behind it (check_vlan_id in net/core/dev.c): who receives the frame takes it for one of that VLAN.
 */
static __always_inline bool hides_vlan(struct __sk_buff *skb, const struct ethernet *eth)
{
	struct {
		__be16 tci;
		__be16 type;
	} tag;

	if (skb->vlan_present)
		return !(skb->vlan_tci & VLAN_VID_MASK) && is_tag(eth->type);
	return is_tag(eth->type) && !bpf_skb_load_bytes(skb, sizeof(*eth), &tag, sizeof(tag)) &&
	       !(bpf_ntohs(tag.tci) & VLAN_VID_MASK) && is_tag(tag.type);
}

static __always_inline bool same_mac(const __u8 *one, const __u8 *other)
{
	__u8 differ = 0;

#pragma unroll
	for (int i = 0; i < 6; i++)
		differ |= one[i] ^ other[i];
	return !differ;
}

static __always_inline bool is_group(const __u8 *mac)
{
	return mac[0] & 1;
}

/* 01:80:c2:00:00:0x: never forwarded by a bridge (IEEE 802.1Q, table 8-1). */
static __always_inline bool is_link_local(const __u8 *mac)
{
	return mac[0] == 0x01 && mac[1] == 0x80 && mac[2] == 0xc2 && mac[3] == 0 && mac[4] == 0 &&
	       (mac[5] & 0xf0) == 0;
}

/* A report of group membership in a frame. */
struct report {
	__u32 at;   /* where the message begins */
	__u32 end;  /* and ends, as the IP header says */
	__u32 type; /* of the message: those of IGMP and of MLD are all different */
};

static __always_inline bool find_igmp_report(struct __sk_buff *skb, __u32 at_ip, struct report *report)
{
	__u8 first, protocol, type;
	__be16 length;

	if (bpf_skb_load_bytes(skb, at_ip, &first, 1) ||
	    bpf_skb_load_bytes(skb, at_ip + 9, &protocol, 1))
		return false;
	if (protocol != IPPROTO_IGMP)
		return false;
	report->at = at_ip + (first & 0x0f) * 4;
	if (bpf_skb_load_bytes(skb, report->at, &type, 1) ||
	    bpf_skb_load_bytes(skb, at_ip + 2, &length, sizeof(length)))
		return false;
	report->end = at_ip + bpf_ntohs(length);
	report->type = type;
	return type == IGMP_V1_REPORT || type == IGMP_V2_REPORT || type == IGMP_V2_LEAVE ||
	       type == IGMP_V3_REPORT;
}

/* MLD always has a hop-by-hop header with the router alert (RFC 2710, section 3). */
static __always_inline bool find_mld_report(struct __sk_buff *skb, __u32 at_ip, struct report *report)
{
	__u8 next, hop[2], type;
	__be16 length;

	if (bpf_skb_load_bytes(skb, at_ip + 6, &next, 1) || next != IPPROTO_HOPOPTS)
		return false;
	if (bpf_skb_load_bytes(skb, at_ip + 40, hop, 2) || hop[0] != IPPROTO_ICMPV6)
		return false;
	report->at = at_ip + 40 + (hop[1] + 1) * 8;
	if (bpf_skb_load_bytes(skb, report->at, &type, 1) ||
	    bpf_skb_load_bytes(skb, at_ip + 4, &length, sizeof(length)))
		return false;
	report->end = at_ip + 40 + bpf_ntohs(length);
	report->type = type;
	return type == MLD_V1_REPORT || type == MLD_V1_DONE || type == MLD_V2_REPORT;
}

/*
 * What a frame carries, and where, behind its 802.1Q tag, in the metadata or in the bytes: what is behind a second one is
 * nobody's here. False when the frame ends before.
 */
static __always_inline bool find_payload(struct __sk_buff *skb, const struct ethernet *eth, __be16 *type, __u32 *at)
{
	*type = type_of(skb, eth);
	*at = sizeof(*eth);
	if (skb->vlan_present || *type != bpf_htons(ETH_P_8021Q))
		return true;
	*at += 4;
	return !bpf_skb_load_bytes(skb, *at - 2, type, sizeof(*type));
}

/* Whether a group-addressed frame tells switches which groups its sender wants, and where. */
static __always_inline bool find_report(struct __sk_buff *skb, const struct ethernet *eth, struct report *report)
{
	__be16 type;
	__u32 at_ip;

	if (!find_payload(skb, eth, &type, &at_ip))
		return false;
	if (type == bpf_htons(ETH_P_IP))
		return find_igmp_report(skb, at_ip, report);
	if (type == bpf_htons(ETH_P_IPV6))
		return find_mld_report(skb, at_ip, report);
	return false;
}

/* What a bridge's spanning tree says, in LLC (IEEE 802.1Q, 14.1.2): 802.3 has a length where the type is. */
static __always_inline bool is_bpdu(struct __sk_buff *skb, const struct ethernet *eth)
{
	__u8 llc[2];
	__be16 type;
	__u32 at;

	return find_payload(skb, eth, &type, &at) && bpf_ntohs(type) < ETH_P_802_3_MIN &&
	       !bpf_skb_load_bytes(skb, at, llc, sizeof(llc)) && llc[0] == LLC_SPANNING_TREE &&
	       llc[1] == LLC_SPANNING_TREE;
}

/* An ARP packet whose sender asks for, or answers with, its own address (RFC 5227, section 3). */
static __always_inline bool is_gratuitous_arp(struct __sk_buff *skb, __u32 at_arp)
{
	__be32 sender, target;

	return !bpf_skb_load_bytes(skb, at_arp + 14, &sender, sizeof(sender)) &&
	       !bpf_skb_load_bytes(skb, at_arp + 24, &target, sizeof(target)) && sender && sender == target;
}

/* A neighbour advertisement that nobody asked for (RFC 4861, section 4.4). */
static __always_inline bool is_unsolicited_advertisement(struct __sk_buff *skb, __u32 at_ip)
{
	__u8 next, type, flags;

	return !bpf_skb_load_bytes(skb, at_ip + 6, &next, sizeof(next)) && next == IPPROTO_ICMPV6 &&
	       !bpf_skb_load_bytes(skb, at_ip + 40, &type, sizeof(type)) &&
	       type == NEIGHBOUR_ADVERTISEMENT &&
	       !bpf_skb_load_bytes(skb, at_ip + 44, &flags, sizeof(flags)) && !(flags & ADVERTISEMENT_SOLICITED);
}

/* Whether a frame says where its sender is now: what a hypervisor sends after a migration. */
static __always_inline bool is_announcement(struct __sk_buff *skb, const struct ethernet *eth)
{
	__be16 type;
	__u32 at_payload;

	if (!find_payload(skb, eth, &type, &at_payload))
		return false;
	if (type == bpf_htons(ETH_P_RARP))
		return true;
	if (type == bpf_htons(ETH_P_ARP))
		return is_gratuitous_arp(skb, at_payload);
	if (type == bpf_htons(ETH_P_IPV6))
		return is_unsolicited_advertisement(skb, at_payload);
	return false;
}

#endif
