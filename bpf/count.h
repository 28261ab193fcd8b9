/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Counting: one row of per-CPU counters a port. */
#ifndef DLMP_COUNT_H
#define DLMP_COUNT_H

static __always_inline struct dlmp_counters *counters_of(__u32 row)
{
	return at(&counters, row);
}

static __always_inline void count(struct dlmp_counters *row, enum dlmp_counter which)
{
	if (row)
		row->count[which]++;
}

/* Packets as they are on the wire: a GSO or GRO frame counts as its segments. */
static __always_inline void count_traffic(struct dlmp_counters *row, enum dlmp_counter packets,
					  __u32 segments, __u32 bytes)
{
	if (!row)
		return;
	row->count[packets] += segments ? segments : 1;
	row->count[packets + 1] += bytes;
}

static __always_inline int drop(struct dlmp_counters *row, enum dlmp_counter why)
{
	count(row, why);
	return TC_ACT_SHOT;
}

#endif
