/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* SipHash-2-4 (Aumasson, Bernstein 2012) of a message of whole 64-bit words. */
#ifndef DLMP_SIPHASH_H
#define DLMP_SIPHASH_H

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define le64(word) (word)
#else
#define le64(word) __builtin_bswap64(word)
#endif

#define ROTATE(word, by) (((word) << (by)) | ((word) >> (64 - (by))))

struct sip {
	__u64 v0, v1, v2, v3;
};

static __always_inline void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v1 = ROTATE(s->v1, 13) ^ s->v0;
	s->v0 = ROTATE(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = ROTATE(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = ROTATE(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = ROTATE(s->v1, 17) ^ s->v2;
	s->v2 = ROTATE(s->v2, 32);
}

static __always_inline void sip_word(struct sip *s, __u64 word)
{
	s->v3 ^= word;
	sip_round(s);
	sip_round(s);
	s->v0 ^= word;
}

/* `words` as they are in memory; `count` is a constant. */
static __always_inline __u64 siphash(const __u64 key[2], const __u64 *words, __u32 count)
{
	__u64 k0 = le64(key[0]), k1 = le64(key[1]);
	struct sip s = {
		.v0 = 0x736f6d6570736575ULL ^ k0,
		.v1 = 0x646f72616e646f6dULL ^ k1,
		.v2 = 0x6c7967656e657261ULL ^ k0,
		.v3 = 0x7465646279746573ULL ^ k1,
	};

#pragma unroll
	for (__u32 i = 0; i < count; i++)
		sip_word(&s, le64(words[i]));
	sip_word(&s, (__u64)(count * 8) << 56);
	s.v2 ^= 0xff;
	sip_round(&s);
	sip_round(&s);
	sip_round(&s);
	sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

#endif
