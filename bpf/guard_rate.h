/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Limits of rates: a token bucket each, kept as the time until which everything is paid for. */
#ifndef GUARD_RATE_H
#define GUARD_RATE_H

#define NS_PER_SECOND 1000000000ULL

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

/* Bytes on the wire. The segments of a super-frame have headers of their own: Ethernet, IPv4 and TCP at least. */
static __always_inline __u64 wire_bytes(struct __sk_buff *skb)
{
	__u64 segments = skb->gso_segs;

	return skb->len + (segments > 1 ? (segments - 1) * 54 : 0);
}

static __always_inline bool afford_frame(struct __sk_buff *skb, const struct guard_settings *set, __u64 *until)
{
	return afford(until, wire_bytes(skb) * set->price >> GUARD_PRICE_SHIFT, set->burst_ns);
}

static __always_inline bool afford_sent(struct __sk_buff *skb, const struct guard_settings *set)
{
	struct guard_buckets *bucket = only(&buckets);

	return bucket && afford_frame(skb, set, &bucket->sent);
}

static __always_inline bool afford_received(struct __sk_buff *skb, const struct guard_settings *set)
{
	struct guard_buckets *bucket = only(&buckets);

	return bucket && afford_frame(skb, set, &bucket->received);
}

static __always_inline bool afford_report(void)
{
	struct guard_buckets *bucket = only(&buckets);

	return bucket && afford(&bucket->reported, NS_PER_SECOND / GUARD_REPORTS, NS_PER_SECOND);
}

#endif
