/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Limits of rates of a guest: what its frames and reports cost. */
#ifndef GUARD_RATE_H
#define GUARD_RATE_H

#define NS_PER_SECOND 1000000000ULL

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
