/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Protection of others from a guest: what it says of itself in ARP, IP, neighbour discovery and DHCP. */
#ifndef GUARD_PROTECT_H
#define GUARD_PROTECT_H

#define IPPROTO_UDP 17
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_DSTOPTS 60
#define IPPROTO_UNREADABLE 256 /* behind more headers than are read */

#define IP_MORE_FRAGMENTS 0x2000
#define IP_OFFSET 0x1fff
#define IPV6_OFFSET 0xfff8

/* Extension headers of IPv6 that are read. */
#define MAX_EXTENSIONS 4

#define DHCP_SERVER_PORT 67
#define DHCP_CLIENT_PORT 68
#define DHCPV6_CLIENT_PORT 546
#define DHCP_REQUEST 1 /* from a client (RFC 2131, section 2) */
#define ETHERNET 1     /* hardware type (RFC 1700) */

/* What an IP packet carries. */
struct transport {
	__u32 protocol; /* IPPROTO_*, or 0 in a later fragment, which carries no header */
	__u32 at;       /* where it begins */
	bool fragment;  /* the first of several */
};

/* The beginning of a DHCP message (RFC 2131, section 2). */
struct dhcp {
	__u8 operation;
	__u8 hardware_type;
	__u8 hardware_length;
	__u8 hops;
	__u32 not_read[6];
	__u8 hardware_address[6];
};

/* An ARP packet of IPv4 on Ethernet (RFC 826). */
struct arp {
	__be16 hardware_type;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 sender_mac[6];
	__u8 sender_ip[4];
};

static __always_inline bool is_zero(const __u8 *bytes, __u32 count)
{
	__u8 any = 0;

	for (__u32 i = 0; i < count; i++)
		any |= bytes[i];
	return !any;
}

static __always_inline bool find_in_ipv4(struct __sk_buff *skb, __u32 at_ip, struct transport *found)
{
	__be16 fragment;
	__u8 first, protocol;

	if (bpf_skb_load_bytes(skb, at_ip, &first, 1) ||
	    bpf_skb_load_bytes(skb, at_ip + 6, &fragment, sizeof(fragment)) ||
	    bpf_skb_load_bytes(skb, at_ip + 9, &protocol, 1))
		return false;
	found->at = at_ip + (first & 0x0f) * 4;
	found->protocol = fragment & bpf_htons(IP_OFFSET) ? 0 : protocol;
	found->fragment = fragment & bpf_htons(IP_MORE_FRAGMENTS);
	return true;
}

static __always_inline bool find_in_ipv6(struct __sk_buff *skb, __u32 at_ip, struct transport *found)
{
	/* Next header, length in units of 8 bytes without the first; of a fragment header the offset and flags. */
	struct {
		__u8 next;
		__u8 length;
		__be16 offset;
	} extension;
	__u8 next;

	if (bpf_skb_load_bytes(skb, at_ip + 6, &next, 1))
		return false;
	found->protocol = next;
	found->at = at_ip + 40;
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		bool fragment = found->protocol == IPPROTO_FRAGMENT;

		if (!fragment && found->protocol != IPPROTO_HOPOPTS && found->protocol != IPPROTO_ROUTING &&
		    found->protocol != IPPROTO_DSTOPTS)
			return true;
		if (bpf_skb_load_bytes(skb, found->at, &extension, sizeof(extension)))
			return false;
		if (fragment && extension.offset & bpf_htons(IPV6_OFFSET)) {
			found->protocol = 0;
			return true;
		}
		found->fragment |= fragment;
		found->protocol = extension.next;
		found->at += fragment ? 8 : (extension.length + 1) * 8;
	}
	if (found->protocol == IPPROTO_FRAGMENT || found->protocol == IPPROTO_HOPOPTS ||
	    found->protocol == IPPROTO_ROUTING || found->protocol == IPPROTO_DSTOPTS)
		found->protocol = IPPROTO_UNREADABLE;
	return true;
}

static __always_inline bool is_allowed_ip(const struct guard_ip *ip)
{
	return bpf_map_lookup_elem(&allowed_ips, ip);
}

/* 0.0.0.0 is nobody's: DHCP (RFC 2131), address probes (RFC 5227) and IGMP (RFC 3376) begin with it. */
static __always_inline bool is_own_ipv4(const __u8 *address)
{
	struct guard_ip ip = { .version = 4 };

	if (is_zero(address, 4))
		return true;
	__builtin_memcpy(ip.bytes, address, 4);
	return is_allowed_ip(&ip);
}

/*
 * :: is nobody's (RFC 4862, section 5.4). The link-local address of the MAC address that the frame comes from
 * is its sender's (RFC 2464, section 5).
 */
static __always_inline bool is_own_ipv6(const struct guard_ip *ip, const __u8 *mac)
{
	const __u8 local[16] = { 0xfe, 0x80, 0, 0, 0, 0, 0, 0,
				 mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5] };
	__u8 differ = 0;

	for (int i = 0; i < 16; i++)
		differ |= ip->bytes[i] ^ local[i];
	return !differ || is_zero(ip->bytes, 16) || is_allowed_ip(ip);
}

static __always_inline bool is_honest_arp(struct __sk_buff *skb, __u32 at)
{
	struct arp arp;

	return !bpf_skb_load_bytes(skb, at, &arp, sizeof(arp)) && arp.hardware_type == bpf_htons(ETHERNET) &&
	       arp.protocol == bpf_htons(ETH_P_IP) && arp.hardware_length == 6 && arp.protocol_length == 4 &&
	       is_own_ipv4(arp.sender_ip);
}

/* A neighbour advertisement says whose an address is, as an ARP reply does. */
static __always_inline bool is_honest_ipv6(struct __sk_buff *skb, __u32 at, const __u8 *mac)
{
	struct transport carried = {};
	struct guard_ip ip = { .version = 6 };
	__u8 type;

	if (bpf_skb_load_bytes(skb, at + 8, ip.bytes, sizeof(ip.bytes)) || !is_own_ipv6(&ip, mac) ||
	    !find_in_ipv6(skb, at, &carried) || carried.protocol == IPPROTO_UNREADABLE)
		return false;
	if (carried.protocol != IPPROTO_ICMPV6)
		return true;
	/* Nobody takes neighbour discovery in fragments (RFC 6980). */
	if (bpf_skb_load_bytes(skb, carried.at, &type, 1))
		return false;
	if (type != NEIGHBOUR_ADVERTISEMENT)
		return true;
	return !bpf_skb_load_bytes(skb, carried.at + 8, ip.bytes, sizeof(ip.bytes)) && is_own_ipv6(&ip, mac);
}

/* ip-nospoof: IP addresses that the guest says are its own. */
static __always_inline bool is_honest_ip(struct __sk_buff *skb, const struct guard_frame *frame, const __u8 *mac)
{
	__u8 source[4];

	if (frame->type == bpf_htons(ETH_P_ARP))
		return is_honest_arp(skb, frame->at);
	if (frame->type == bpf_htons(ETH_P_IP))
		return !bpf_skb_load_bytes(skb, frame->at + 12, source, sizeof(source)) && is_own_ipv4(source);
	if (frame->type == bpf_htons(ETH_P_IPV6))
		return is_honest_ipv6(skb, frame->at, mac);
	return true;
}

/* A message to a server is a client's, and asks for the MAC address that it comes from. */
static __always_inline bool is_honest_request(struct __sk_buff *skb, __u32 at, const __u8 *mac)
{
	struct dhcp dhcp;

	return !bpf_skb_load_bytes(skb, at, &dhcp, offsetof(struct dhcp, hardware_address) + 6) &&
	       dhcp.operation == DHCP_REQUEST && dhcp.hardware_type == ETHERNET && dhcp.hardware_length == 6 &&
	       same_mac(dhcp.hardware_address, mac);
}

/* dhcp-nospoof: the guest is a client, for the MAC address that it sends from, and no server. */
static __always_inline bool is_honest_dhcp(struct __sk_buff *skb, const struct guard_frame *frame,
					   const __u8 *mac)
{
	struct transport carried = {};
	__be16 port;

	if (frame->type == bpf_htons(ETH_P_IP)) {
		if (!find_in_ipv4(skb, frame->at, &carried))
			return false;
	} else if (frame->type == bpf_htons(ETH_P_IPV6)) {
		if (!find_in_ipv6(skb, frame->at, &carried) || carried.protocol == IPPROTO_UNREADABLE)
			return false;
	}
	if (carried.protocol != IPPROTO_UDP)
		return true;
	if (bpf_skb_load_bytes(skb, carried.at + 2, &port, sizeof(port)))
		return false;
	if (frame->type == bpf_htons(ETH_P_IPV6))
		return port != bpf_htons(DHCPV6_CLIENT_PORT);
	if (port == bpf_htons(DHCP_CLIENT_PORT))
		return false;
	if (port != bpf_htons(DHCP_SERVER_PORT))
		return true;
	return !carried.fragment && is_honest_request(skb, carried.at + 8, mac);
}

/* restricted. */
static __always_inline bool is_internet(__be16 type)
{
	return type == bpf_htons(ETH_P_IP) || type == bpf_htons(ETH_P_IPV6) || type == bpf_htons(ETH_P_ARP);
}

#endif
