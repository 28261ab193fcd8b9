/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The MAC addresses and VLANs of a guest's own choice: the first ones heard are the guest's, up to a limit. */
#ifndef GUARD_LEARN_H
#define GUARD_LEARN_H

#define EEXIST 17

/*
 * Whether `key` is one of the guest's, or becomes one. `made` counts the entries that were ever made, which only
 * the programs write, and `forgotten` those that were ever deleted, which only the daemon writes: so neither needs a lock.
 */
static __always_inline bool admit(void *map, __u64 key, __u64 *made, __u64 forgotten, __u32 limit)
{
	struct guard_heard heard = { .last_ns = bpf_ktime_get_coarse_ns() };
	struct guard_heard *known = bpf_map_lookup_elem(map, &key);
	long error;

	if (known) {
		/* Written only now and then: readers on other CPUs share the line. */
		if (heard.last_ns - known->last_ns >= GUARD_HEARD_NS)
			known->last_ns = heard.last_ns;
		return true;
	}
	/* A flood beyond the limit ends here. */
	if (*made - forgotten >= limit)
		return false;
	if (__sync_fetch_and_add(made, 1) - forgotten >= limit) {
		__sync_fetch_and_add(made, -1);
		return false;
	}
	error = bpf_map_update_elem(map, &key, &heard, BPF_NOEXIST);
	if (!error)
		return true;
	__sync_fetch_and_add(made, -1);
	/* Another CPU was first, or the kernel has no memory just now: the next frame tries again. */
	return error == -EEXIST;
}

static __always_inline bool admit_mac(const struct guard_settings *set, __u64 mac)
{
	struct guard_state *now = only(&state);
	struct guard_ledger *kept = only(&ledger);

	return now && kept && admit(&macs, mac, &now->macs, kept->macs_forgotten, set->max_macs);
}

static __always_inline bool admit_vlan(const struct guard_settings *set, __u16 vlan)
{
	struct guard_state *now = only(&state);
	struct guard_ledger *kept = only(&ledger);

	return now && kept && admit(&vlans, vlan, &now->vlans, kept->vlans_forgotten, set->max_vlans);
}

#endif
