/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The maps of a guard. Each vnet has its own set; all are bounded. */
#ifndef GUARD_MAPS_H
#define GUARD_MAPS_H

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guard_settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guard_state);
} state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guard_buckets);
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guard_ledger);
} ledger SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guard_counters);
} counters SEC(".maps");

/* The alternate MAC addresses; the value says nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, GUARD_MAX_ALTERNATES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u32);
} alternates SEC(".maps");

/* The IP addresses that the guest may use; the value says nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, GUARD_MAX_ALLOWED_IPS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct guard_ip);
	__type(value, __u32);
} allowed_ips SEC(".maps");

/* What was heard from the guest. Not preallocated: most guests have a handful. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, GUARD_MAX_MACS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct guard_heard);
} macs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, GUARD_MAX_VLANS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct guard_heard);
} vlans SEC(".maps");

/* The one entry of a map that has one. */
static __always_inline void *only(void *map)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(map, &first);
}

static __always_inline int drop(enum guard_counter why)
{
	struct guard_counters *row = only(&counters);

	if (row)
		row->count[why]++;
	return TC_ACT_SHOT;
}

#endif
