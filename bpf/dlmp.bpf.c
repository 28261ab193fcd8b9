// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The datapath of one aggregation: three tc programs that share one set of maps.
 * One object, so that the loader creates the maps once; each role has its own file.
 */
#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "dlmp.h"
#include "maps.h"
#include "count.h"
#include "frame.h"
#include "switch_protocol.h"
#include "bucket.h"
#include "place.h"
#include "event.h"
#include "learn.h"
#include "local.h"
#include "group.h"
#include "send.h"
#include "egress.h"
#include "vnic.h"
#include "siphash.h"
#include "probe.h"
#include "ingress.h"

/* Some helpers (bpf_ringbuf_*) are for GPL-compatible programs only. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";
