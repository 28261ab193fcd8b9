// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The address filter of a network card, for a veth, which has none: on the other end of the pair it drops
 * what the port's filter does not admit. The maps are kept in step with the port by the program that
 * loads this.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
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

/* Whether every group address is admitted. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} all_groups SEC(".maps");

/* Frames dropped: to other machines, to groups. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} dropped SEC(".maps");

SEC("classifier")
int port_filter(struct __sk_buff *skb)
{
	struct address to = {};
	__u32 first = 0, group;
	__u32 *all;
	__u64 *count;

	if (bpf_skb_load_bytes(skb, 0, to.bytes, 6))
		return TC_ACT_SHOT;
	group = to.bytes[0] & 1;
	if (bpf_map_lookup_elem(&admitted, &to))
		return TC_ACT_OK;
	all = bpf_map_lookup_elem(&all_groups, &first);
	if (group && all && *all)
		return TC_ACT_OK;
	count = bpf_map_lookup_elem(&dropped, &group);
	if (count)
		__sync_fetch_and_add(count, 1);
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
