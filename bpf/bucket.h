/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Limits of rates: a token bucket each, kept as the time until which everything is paid for. */
#ifndef DLMP_BUCKET_H
#define DLMP_BUCKET_H

/*
 * Takes `cost_ns` from a bucket that fills by a nanosecond each nanosecond, up to `burst_ns`; false when it is
 * overdrawn. What begins before that passes as a whole, however large, and is paid for later: so no frame is too large
 * for any rate, and the mean is exact.
 */
static __always_inline bool afford(__u64 *until, __u64 cost_ns, __u64 burst_ns)
{
	__u64 now = bpf_ktime_get_ns();
	__u64 paid = *until;
	__s64 saved = now - paid;

	if (saved < 0)
		return false;
	/* A new bucket is full. Of several CPUs one gives what was saved up; the others add to its value. */
	if (!paid || saved > (__s64)burst_ns)
		__sync_val_compare_and_swap(until, paid, now - burst_ns);
	__sync_fetch_and_add(until, cost_ns);
	return true;
}

#endif
