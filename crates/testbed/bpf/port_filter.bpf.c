// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The filters of a network card, of addresses and perhaps of VLANs, for a veth, which has none: on the other end of the pair
 * it drops what the port's filters do not admit. The maps are kept in step with the port by the program that
 * loads this.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Two bytes of padding, zero. */
struct address {
	__u8 bytes[8];
};

/* Group addresses and others alike. Preallocated: Linux 6.1 has no memory for many entries in a row (ENOMEM). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 17);
	__type(key, struct address);
	__type(value, __u8);
} admitted SEC(".maps");

/* What the card is told: to admit every group address, to admit everything, to drop VLANs that are not registered. */
enum mode {
	ALL_GROUPS,
	EVERYTHING,
	FILTER_VLANS,
	MODES,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MODES);
	__type(key, __u32);
	__type(value, __u32);
} modes SEC(".maps");

/* By VLAN, whether it is registered. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u32);
} vlans SEC(".maps");

enum reason {
	OTHER_MACHINE,
	GROUP,
	VLAN,
	REASONS,
};

/* Frames dropped. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, __u64);
} dropped SEC(".maps");

static __always_inline int is_told(__u32 mode)
{
	__u32 *told = bpf_map_lookup_elem(&modes, &mode);

	return told && *told;
}

static __always_inline int drop(__u32 reason)
{
	__u64 *count = bpf_map_lookup_elem(&dropped, &reason);

	if (count)
		__sync_fetch_and_add(count, 1);
	return TC_ACT_SHOT;
}

/* Whether it has a tag, which may be in its bytes, of a VLAN that is not registered. */
static __always_inline int is_in_foreign_vlan(struct __sk_buff *skb)
{
	__u32 *registered, vlan;
	__u16 tag[2];

	if (skb->vlan_present) {
		vlan = skb->vlan_tci & 0x0fff;
	} else {
		if (bpf_skb_load_bytes(skb, 12, tag, 4) || tag[0] != bpf_htons(0x8100))
			return 0;
		vlan = bpf_ntohs(tag[1]) & 0x0fff;
	}
	registered = bpf_map_lookup_elem(&vlans, &vlan);
	return !registered || !*registered;
}

SEC("classifier")
int port_filter(struct __sk_buff *skb)
{
	struct address to = {};
	__u32 group;

	if (bpf_skb_load_bytes(skb, 0, to.bytes, 6))
		return TC_ACT_SHOT;
	if (is_told(EVERYTHING))
		return TC_ACT_OK;
	if (is_told(FILTER_VLANS) && is_in_foreign_vlan(skb))
		return drop(VLAN);
	group = to.bytes[0] & 1;
	if (bpf_map_lookup_elem(&admitted, &to) || (group && is_told(ALL_GROUPS)))
		return TC_ACT_OK;
	return drop(group ? GROUP : OTHER_MACHINE);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
