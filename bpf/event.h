/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Telling the daemon. */
#ifndef DLMP_EVENT_H
#define DLMP_EVENT_H

/* A lost event is counted; the daemon looks at the maps then. */
static __always_inline void tell(const struct dlmp_event *event)
{
	if (bpf_ringbuf_output(&events, (void *)event, sizeof(*event), 0))
		count(counters_of(DLMP_ROW_AGGREGATION), DLMP_EVENT_LOST);
}

/* Asks the daemon to announce the slot from its own port, so that a lost announcement heals. */
static __always_inline void ask_to_announce(struct dlmp_aggregation *aggr, struct dlmp_slot *slot,
					    __u32 slot_index, __u32 port, __u64 now)
{
	struct dlmp_event event = { .kind = DLMP_EVENT_STRAY, .slot = slot_index, .port = port };

	if (now - slot->announce_ns < aggr->announce_ns)
		return;
	slot->announce_ns = now;
	tell(&event);
}

#endif
