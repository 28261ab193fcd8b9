// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Programs as others hang on links beside ours: one that ends the chain on its hook, as most tc programs do, and one
 * that sends what a link receives through another link, past tc.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

/* Index of the link that `onward` sends through. */
const volatile __u32 through = 0;

SEC("classifier")
int passes(struct __sk_buff *skb)
{
	(void)skb;
	return TC_ACT_OK;
}

SEC("xdp")
int onward(struct xdp_md *frame)
{
	(void)frame;
	return bpf_redirect(through, 0);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
