/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Protection of others from a guest: what it says of itself in ARP, IP, neighbour discovery and DHCP. */
#ifndef GUARD_PROTECT_H
#define GUARD_PROTECT_H

#define IPPROTO_UDP 17
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_DSTOPTS 60
#define IPPROTO_LATER 256 /* in a later fragment, which has no header */

#define IP_MORE_FRAGMENTS 0x2000
#define IP_OFFSET 0x1fff
#define IPV6_OFFSET 0xfff8

/* Extension headers of IPv6 that are read, and bytes of a packet: enough for DHCP behind the longest IPv4 header. */
#define MAX_EXTENSIONS 4
#define PACKET_BYTES 188

#define DHCP_SERVER_PORT 67
#define DHCP_CLIENT_PORT 68
#define DHCPV6_CLIENT_PORT 546
#define DHCP_REQUEST 1 /* from a client (RFC 2131, section 2) */
#define ETHERNET 1     /* hardware type (RFC 1700) */

/*
 * The beginning of a packet.
 *
 * What is protected is judged by it in global functions: the verifier takes each of them by itself, not for every way
 * that leads to it, which would be most of the time that a vnet takes to make. They cannot have the frame
 * itself: on Linux 6.1 that takes a kernel with BTF.
 */
struct guard_packet {
	__u32 length; /* of what is there of `bytes` */
	__u8 bytes[PACKET_BYTES];
};

/* What an IP packet carries. */
struct transport {
	__u32 protocol; /* IPPROTO_*, or IPPROTO_LATER */
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

#define DHCP_BYTES (offsetof(struct dhcp, hardware_address) + 6)

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

/* So many bytes at this offset, or NULL when they are not there. */
static __always_inline const void *bytes_at(const struct guard_packet *packet, __u32 at, __u32 count)
{
	/* The first test is the verifier's: an offset that it knows the range of, and that no other test shares. */
	barrier_var(at);
	if (at > PACKET_BYTES - count || at + count > packet->length)
		return NULL;
	return packet->bytes + at;
}

static __always_inline bool find_in_ipv4(const struct guard_packet *packet, struct transport *found)
{
	const __u8 *header = bytes_at(packet, 0, 20);
	__u32 fragment;

	if (!header)
		return false;
	fragment = header[6] << 8 | header[7];
	found->at = (header[0] & 0x0f) * 4;
	found->protocol = fragment & IP_OFFSET ? IPPROTO_LATER : header[9];
	found->fragment = fragment & IP_MORE_FRAGMENTS;
	return true;
}

static __always_inline bool is_extension(__u32 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING || protocol == IPPROTO_FRAGMENT ||
	       protocol == IPPROTO_DSTOPTS;
}

static __always_inline bool find_in_ipv6(const struct guard_packet *packet, struct transport *found)
{
	const __u8 *header = bytes_at(packet, 0, 40);

	if (!header)
		return false;
	found->protocol = header[6];
	found->at = 40;
	for (int i = 0; i < MAX_EXTENSIONS && is_extension(found->protocol); i++) {
		bool fragment = found->protocol == IPPROTO_FRAGMENT;

		/* Next header, length in units of 8 bytes without the first; of a fragment header its offset. */
		header = bytes_at(packet, found->at, 4);
		if (!header)
			return false;
		if (fragment && (header[2] << 8 | header[3]) & IPV6_OFFSET) {
			found->protocol = IPPROTO_LATER;
			return true;
		}
		found->fragment |= fragment;
		found->protocol = header[0];
		found->at += fragment ? 8 : (header[1] + 1) * 8;
	}
	return !is_extension(found->protocol);
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
static __always_inline bool is_own_ipv6(const __u8 *address, const __u8 *mac)
{
	const __u8 local[16] = { 0xfe, 0x80, 0, 0, 0, 0, 0, 0,
				 mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5] };
	struct guard_ip ip = { .version = 6 };
	__u8 differ = 0;

	for (int i = 0; i < 16; i++)
		differ |= address[i] ^ local[i];
	__builtin_memcpy(ip.bytes, address, 16);
	return !differ || is_zero(address, 16) || is_allowed_ip(&ip);
}

static __always_inline bool is_honest_arp(const struct guard_packet *packet)
{
	const struct arp *arp = bytes_at(packet, 0, sizeof(*arp));

	return arp && arp->hardware_type == bpf_htons(ETHERNET) && arp->protocol == bpf_htons(ETH_P_IP) &&
	       arp->hardware_length == 6 && arp->protocol_length == 4 && is_own_ipv4(arp->sender_ip);
}

static __always_inline bool is_honest_ipv4(const struct guard_packet *packet)
{
	const __u8 *source = bytes_at(packet, 12, 4);

	return source && is_own_ipv4(source);
}

/* A neighbour advertisement says whose an address is, as an ARP reply does. */
static __always_inline bool is_honest_ipv6(const struct guard_packet *packet, const __u8 *mac)
{
	const __u8 *source = bytes_at(packet, 8, 16), *message;
	struct transport carried = {};

	if (!source || !is_own_ipv6(source, mac) || !find_in_ipv6(packet, &carried))
		return false;
	if (carried.protocol != IPPROTO_ICMPV6)
		return true;
	message = bytes_at(packet, carried.at, 1);
	if (!message)
		return false;
	/* Nobody takes neighbour discovery in fragments (RFC 6980). */
	if (*message != NEIGHBOUR_ADVERTISEMENT)
		return true;
	message = bytes_at(packet, carried.at, 24);
	return message && is_own_ipv6(message + 8, mac);
}

/* ip-nospoof: IP addresses that the guest says are its own. `type` is the packet's EtherType, `mac` a word. */
__noinline int guard_honest_ip(const struct guard_packet *packet, __u32 type, __u64 mac)
{
	if (!packet)
		return false;
	if (type == bpf_htons(ETH_P_ARP))
		return is_honest_arp(packet);
	if (type == bpf_htons(ETH_P_IP))
		return is_honest_ipv4(packet);
	if (type == bpf_htons(ETH_P_IPV6))
		return is_honest_ipv6(packet, (const __u8 *)&mac);
	return true;
}

/* A message to a server is a client's, and asks for the MAC address that it comes from. */
static __always_inline bool is_honest_request(const struct dhcp *dhcp, const __u8 *mac)
{
	return dhcp && dhcp->operation == DHCP_REQUEST && dhcp->hardware_type == ETHERNET &&
	       dhcp->hardware_length == 6 && same_mac(dhcp->hardware_address, mac);
}

/* dhcp-nospoof: the guest is a client, for the MAC address that it sends from, and no server. */
__noinline int guard_honest_dhcp(const struct guard_packet *packet, __u32 type, __u64 mac)
{
	struct transport carried = {};
	const __be16 *ports;
	__be16 to;

	if (!packet)
		return false;
	if (type == bpf_htons(ETH_P_IP) ? !find_in_ipv4(packet, &carried) :
	    type == bpf_htons(ETH_P_IPV6) && !find_in_ipv6(packet, &carried))
		return false;
	if (carried.protocol != IPPROTO_UDP)
		return true;
	ports = bytes_at(packet, carried.at, 4);
	if (!ports)
		return false;
	to = ports[1];
	if (type == bpf_htons(ETH_P_IPV6))
		return to != bpf_htons(DHCPV6_CLIENT_PORT);
	if (to == bpf_htons(DHCP_CLIENT_PORT))
		return false;
	if (to != bpf_htons(DHCP_SERVER_PORT))
		return true;
	return !carried.fragment &&
	       is_honest_request(bytes_at(packet, carried.at + 8, DHCP_BYTES), (const __u8 *)&mac);
}

/* Whether what is at `at` says nothing of the guest that is not so: the reason to drop it, or GUARD_COUNTERS. */
static __always_inline enum guard_counter judge_protected(struct __sk_buff *skb, const struct guard_frame *frame,
							  __u32 flags)
{
	struct guard_packet packet = {};
	__u64 mac = 0;
	__u32 last;

	packet.length = skb->len - frame->at;
	if (packet.length > PACKET_BYTES)
		packet.length = PACKET_BYTES;
	/* Written so that the verifier of Linux 6.1 sees that it is never nothing that is loaded. */
	last = packet.length - 1;
	barrier_var(last);
	if (last < PACKET_BYTES && bpf_skb_load_bytes(skb, frame->at, packet.bytes, last + 1))
		return GUARD_SHORT;
	bpf_skb_load_bytes(skb, offsetof(struct ethernet, source), &mac, 6);
	if (flags & GUARD_IP_NOSPOOF && !guard_honest_ip(&packet, frame->type, mac))
		return GUARD_IP_SPOOFED;
	if (flags & GUARD_DHCP_NOSPOOF && !guard_honest_dhcp(&packet, frame->type, mac))
		return GUARD_DHCP_SPOOFED;
	return GUARD_COUNTERS;
}

/* restricted. */
static __always_inline bool is_internet(__be16 type)
{
	return type == bpf_htons(ETH_P_IP) || type == bpf_htons(ETH_P_IPV6) || type == bpf_htons(ETH_P_ARP);
}

#endif
