/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The maps. Each aggregation loads its own set; all are bounded. */
#ifndef DLMP_MAPS_H
#define DLMP_MAPS_H

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dlmp_aggregation);
} aggregation SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DLMP_MAX_PORTS);
	__type(key, __u32);
	__type(value, struct dlmp_port);
} ports SEC(".maps");

/* Port index by the ifindex that a frame came in on. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, DLMP_MAX_PORTS);
	__type(key, __u32);
	__type(value, __u32);
} port_by_ifindex SEC(".maps");

/* Not preallocated: most aggregations have a handful of addresses. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, DLMP_MAX_ADDRESSES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct dlmp_address);
	__type(value, struct dlmp_client);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct dlmp_own);
} own SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct dlmp_groups);
} groups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct dlmp_reporting);
} reporting SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct dlmp_vnics);
} vnics SEC(".maps");

/* VNIC index by the ifindex of its lower end. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, DLMP_MAX_VNICS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
} vnic_by_ifindex SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DLMP_MAX_SLOTS);
	__type(key, __u32);
	__type(value, struct dlmp_slot);
} slots SEC(".maps");

/* Slots of learned clients that are gone, given out again. */
struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, DLMP_MAX_LEARNED);
	__type(value, __u32);
} free_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct dlmp_seating);
} seating SEC(".maps");

/* By slot: whether a learned client has sent since the daemon last looked, for ageing. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DLMP_MAX_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} used SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DLMP_COUNTER_ROWS);
	__type(key, __u32);
	__type(value, struct dlmp_counters);
} counters SEC(".maps");

/* Counts of earlier loads of the programs, added up by the daemon when it replaces them. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DLMP_COUNTER_ROWS);
	__type(key, __u32);
	__type(value, struct dlmp_counters);
} carried SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DLMP_MAX_PORTS * DLMP_MAX_PORTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct dlmp_pair);
} pairs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, DLMP_EVENTS_BYTES);
} events SEC(".maps");

static __always_inline void *at(void *map, __u32 index)
{
	return bpf_map_lookup_elem(map, &index);
}

#endif
