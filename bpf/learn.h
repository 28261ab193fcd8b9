/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Learning clients from what they send, and letting them go. */
#ifndef DLMP_LEARN_H
#define DLMP_LEARN_H

/*
 * The usable port with the fewest clients, the first of several; else an unusable one. Without a branch in
 * the loop: the verifier looks at every way through it, and callbacks need a compiler in the kernel.
 */
static __always_inline __u32 emptiest_port(const struct dlmp_seating *state)
{
	__u64 best = DLMP_ON_PORT_ABSENT, less;

	for (__u32 index = 0; index < DLMP_MAX_PORTS; index++) {
		less = (state->on_port[index] | index) - best;
		/* All ones if it is negative. */
		best += less & (__u64)((__s64)less >> 63);
	}
	return best >= DLMP_ON_PORT_ABSENT ? DLMP_NO_PORT : best % DLMP_ON_PORT_ONE;
}

/* A slot that nobody has: one that was given back, else the next. */
static __always_inline bool take_slot(struct dlmp_seating *state, __u32 limit, __u32 *slot)
{
	__u64 next;

	if (state->learned >= limit)
		return false;
	if (!bpf_map_pop_elem(&free_slots, slot))
		return true;
	if (state->given_out >= DLMP_MAX_LEARNED)
		return false;
	next = __sync_fetch_and_add(&state->given_out, 1);
	*slot = DLMP_FIRST_LEARNED_SLOT + next;
	return next < DLMP_MAX_LEARNED;
}

/* Gives a source that has sent through `link` a slot on the emptiest port. NULL when there is no room. */
static __noinline struct dlmp_slot *learn(const struct dlmp_aggregation *aggr,
					  const struct dlmp_address *source, __u32 link)
{
	struct dlmp_counters *row = counters_of(DLMP_ROW_AGGREGATION);
	struct dlmp_client client = { .owner = DLMP_OWNER_LEARNED, .link = link };
	struct dlmp_event event = { .kind = DLMP_EVENT_LEARNED, .link = link };
	struct dlmp_seating *state = at(&seating, 0);
	struct dlmp_own *filter = at(&own, 0);
	struct dlmp_client *known;
	struct dlmp_slot *slot;
	__u64 *seen;
	__u32 hash;

	if (!filter || !state || !aggr || !source)
		return NULL;
	if (!take_slot(state, aggr->learn_limit, &event.slot)) {
		count(row, DLMP_TX_CLIENTS_FULL);
		return NULL;
	}
	slot = at(&slots, event.slot);
	seen = at(&used, event.slot);
	if (!slot || !seen)
		return NULL;
	event.port = emptiest_port(state);
	slot->port = event.port;
	slot->backup = DLMP_NO_PORT;
	slot->moved_ns = bpf_ktime_get_ns();
	slot->announce_ns = 0;
	*seen = 1;
	client.place = event.slot;
	if (bpf_map_update_elem(&addresses, source, &client, BPF_NOEXIST)) {
		/* Another processor was first, or there is no memory. */
		bpf_map_push_elem(&free_slots, &event.slot, 0);
		known = bpf_map_lookup_elem(&addresses, source);
		if (known && known->owner == DLMP_OWNER_LEARNED)
			return at(&slots, known->place);
		count(row, DLMP_TX_CLIENTS_FULL);
		return NULL;
	}
	/* After the address is there, so that the daemon can make the filter anew from the addresses. */
	hash = own_hash(source);
	__sync_fetch_and_or(&filter->bits[hash / 64], 1ULL << (hash % 64));
	if (event.port < DLMP_MAX_PORTS)
		__sync_fetch_and_add(&state->on_port[event.port], DLMP_ON_PORT_ONE);
	__sync_fetch_and_add(&state->learned, 1);
	count(row, DLMP_TX_LEARNED);
	event.address = *source;
	tell(&event);
	return slot;
}

/* Forgets a learned client that is elsewhere now (the reflection rule). The daemon gives its slot back. */
static __always_inline void release(const struct dlmp_address *source, __u32 slot, __u32 port)
{
	struct dlmp_event event = { .kind = DLMP_EVENT_RELEASED, .slot = slot, .port = port };

	event.address = *source;
	if (!bpf_map_delete_elem(&addresses, source))
		tell(&event);
}

#endif
