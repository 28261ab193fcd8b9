/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Groups: which of them somebody above wants (the group rule), and what clients' reports say about that. */
#ifndef DLMP_GROUP_H
#define DLMP_GROUP_H

#define BROADCAST 0xffffffffffffULL
#define IPV4_GROUPS 0x01005e000000ULL /* with the last 23 bits of the group (RFC 1112, section 6.4) */
#define IPV6_GROUPS 0x333300000000ULL /* with the last 32 bits (RFC 2464, section 7) */

/* Types of records (RFC 3376, section 4.2.12; RFC 3810, section 5.2.12). */
#define IS_INCLUDE 1
#define IS_EXCLUDE 2
#define TO_INCLUDE 3
#define TO_EXCLUDE 4
#define ALLOW_SOURCES 5

/* A MAC address as a number. */
static __always_inline __u64 group_of(const struct dlmp_address *address)
{
	return bpf_be64_to_cpu(*(const __u64 *)address) >> 16;
}

/* The same hash is in crates/datapath/src/group.rs. */
static __always_inline __u32 group_hash(__u64 group)
{
	return group * DLMP_GROUP_HASH >> (64 - __builtin_ctz(DLMP_GROUP_BITS));
}

static __always_inline bool is_wanted(const struct dlmp_groups *wanted, __u64 group)
{
	__u32 hash = group_hash(group);

	return wanted->all || wanted->bits[hash / 64] >> (hash % 64) & 1;
}

/* Group: whether a group-addressed frame that arrived on port `here` is taken. It is counted either way. */
static __always_inline bool takes_group(const struct dlmp_aggregation *aggr, const struct dlmp_address *destination,
					__u32 here, struct dlmp_counters *row)
{
	const struct dlmp_groups *state = at(&groups, 0);
	__u64 group = group_of(destination);

	if (!state)
		return false;
	if (aggr->multicast_port != here) {
		if (state->filter_short && group != BROADCAST && is_wanted(state, group))
			count(row, DLMP_RX_GROUP_NO_FILTER);
		else
			count(row, DLMP_RX_GROUP_OTHER_PORT);
		return false;
	}
	if (group != BROADCAST && !is_wanted(state, group)) {
		count(row, DLMP_RX_GROUP_UNWANTED);
		return false;
	}
	count(row, DLMP_RX_GROUP);
	return true;
}

/* Whether the daemon has given a sign of life lately. One that it gives just now may be the later of the two. */
static __always_inline bool is_daemon_alive(void)
{
	const struct dlmp_groups *state = at(&groups, 0);

	return state && (__s64)(bpf_ktime_get_ns() - state->alive_ns) < (__s64)DLMP_ALIVE_NS;
}

/*
 * Whether the daemon has the time to read a report that came through `from`, a VNIC's lower end or 0: each link may
 * have it read so much, and all links together twice as much. The time is taken.
 */
static __noinline int may_be_read(struct __sk_buff *skb, __u32 at_message, __u32 from)
{
	struct dlmp_reporting *state = at(&reporting, 0);
	__u32 index = DLMP_REPORTER_LINK;
	__u32 *vnic;
	__u64 cost;

	if (!state || !skb)
		return 0;
	vnic = bpf_map_lookup_elem(&vnic_by_ifindex, &from);
	if (vnic)
		index = *vnic;
	if (index >= DLMP_REPORTERS)
		return 0;
	cost = skb->len > at_message ? skb->len - at_message : 0;
	cost = DLMP_REPORT_NS + cost * DLMP_REPORT_BYTE_NS;
	return afford(&state->paid_ns[index], cost, DLMP_REPORT_BURST_NS) &&
	       afford(&state->paid_ns[DLMP_REPORTER_ALL], cost / 2, DLMP_REPORT_BURST_NS);
}

/* A record of an IGMPv3 or MLDv2 report, up to its group. */
struct record {
	__u8 type;
	__u8 extra; /* length of additional data at its end, in words of 32 bits */
	__be16 sources;
};

struct record4 {
	struct record head;
	__be32 group;
};

struct record6 {
	struct record head;
	__be32 group[4];
};

/*
 * 1 if the sender of a record wants some of the group, else 0. Without a branch, as all that is done with
 * a record, for the reason given in learn.h.
 */
static __always_inline __u32 joins(const struct record *record)
{
	__u32 includes = same(record->type, IS_INCLUDE) | same(record->type, TO_INCLUDE);

	return same(record->type, IS_EXCLUDE) | same(record->type, TO_EXCLUDE) | same(record->type, ALLOW_SOURCES) |
	       (includes & (same(record->sources, 0) ^ 1));
}

/* 1 if a number is above another one, both below 2^31, without a branch. */
static __always_inline __u32 exceeds(__u32 number, __u32 other)
{
	__u32 rest = other - number;

	asm volatile("" : "+r"(rest));
	return rest >> 31;
}

/* Makes a group wanted if `joined` is 1. */
static __always_inline void admit(struct dlmp_groups *state, __u64 group, __u64 joined)
{
	__u32 hash = group_hash(group);

	__sync_fetch_and_or(&state->bits[hash / 64], joined << (hash % 64));
}

/* The same by IP address; one that is no group makes nothing wanted. */
static __always_inline void admit4(struct dlmp_groups *state, __be32 group, __u32 joined)
{
	__u32 address = bpf_ntohl(group);

	admit(state, IPV4_GROUPS | (address & 0x7fffff), joined & same(address >> 28, 0xe));
}

static __always_inline void admit6(struct dlmp_groups *state, const __be32 group[4], __u32 joined)
{
	admit(state, IPV6_GROUPS | bpf_ntohl(group[3]), joined & same(bpf_ntohl(group[0]) >> 24, 0xff));
}

/* Admits what the records of an IGMPv3 report join, which are from `at` to `end`: the first so many that are whole. */
static __always_inline void admit_records4(struct __sk_buff *skb, struct dlmp_groups *state, __u32 at,
					   __u32 end, __u32 count)
{
	struct record4 record;
	__u32 next;

	for (__u32 index = 0; index < DLMP_MAX_RECORDS && index < count; index++) {
		if (bpf_skb_load_bytes(skb, at, &record, sizeof(record)))
			return;
		next = at + sizeof(record) + bpf_ntohs(record.head.sources) * 4 + record.head.extra * 4;
		if (next > end || next > skb->len)
			return;
		admit4(state, record.group, joins(&record.head));
		at = next;
	}
}

/* The same for MLDv2. */
static __always_inline void admit_records6(struct __sk_buff *skb, struct dlmp_groups *state, __u32 at,
					   __u32 end, __u32 count)
{
	struct record6 record;
	__u32 next;

	for (__u32 index = 0; index < DLMP_MAX_RECORDS && index < count; index++) {
		if (bpf_skb_load_bytes(skb, at, &record, sizeof(record)))
			return;
		next = at + sizeof(record) + bpf_ntohs(record.head.sources) * 16 + record.head.extra * 4;
		if (next > end || next > skb->len)
			return;
		admit6(state, record.group, joins(&record.head));
		at = next;
	}
}

static __always_inline void admit_old(struct __sk_buff *skb, struct dlmp_groups *state, __u32 at, __u32 end,
				      __u32 type)
{
	__be32 group[4];

	if (type == MLD_V1_REPORT) {
		if (at + 24 <= end && !bpf_skb_load_bytes(skb, at + 8, group, sizeof(group)))
			admit6(state, group, 1);
	} else if (at + 8 <= end && !bpf_skb_load_bytes(skb, at + 4, group, sizeof(group[0]))) {
		admit4(state, group[0], 1);
	}
}

/*
 * Makes the groups wanted that a report joins, before it leaves: their first packets can come at once. A group
 * that it leaves stays, since others may want it: that is for the daemon to judge.
 */
static __noinline int admit_reported(struct __sk_buff *skb, __u32 at_message, __u32 end, __u32 type)
{
	struct dlmp_groups *state = at(&groups, 0);
	__u32 first = at_message + 8;
	__be16 count;

	if (!state || !skb)
		return 0;
	if (type == IGMP_V1_REPORT || type == IGMP_V2_REPORT || type == MLD_V1_REPORT)
		admit_old(skb, state, at_message, end, type);
	if (type != IGMP_V3_REPORT && type != MLD_V2_REPORT)
		return 0;
	if (first > end || bpf_skb_load_bytes(skb, at_message + 6, &count, sizeof(count)))
		return 0;
	__sync_fetch_and_or(&state->all, exceeds(bpf_ntohs(count), DLMP_MAX_RECORDS));
	if (type == IGMP_V3_REPORT)
		admit_records4(skb, state, first, end, bpf_ntohs(count));
	else
		admit_records6(skb, state, first, end, bpf_ntohs(count));
	return 0;
}

#endif
