/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Ingress of a VNIC's lower end: what the VNIC, wherever it is, sends. */
#ifndef DLMP_VNIC_H
#define DLMP_VNIC_H

/* Gives the frames of a VNIC in a VLAN their tag; the priority of a priority tag is kept, which the
 * kernel has put into the metadata before any program of a link's ingress runs. */
static __always_inline bool tag(struct __sk_buff *skb, __u16 vlan)
{
	__u16 priority = 0;

	/* A foreign tag is payload, and goes into the bytes. */
	if (skb->vlan_present && !has_foreign_tag(skb)) {
		priority = skb->vlan_tci & ~VLAN_VID_MASK;
		if (bpf_skb_vlan_pop(skb))
			return false;
	}
	return !bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), priority | vlan);
}

SEC("classifier")
int dlmp_vnic(struct __sk_buff *skb)
{
	struct dlmp_address source = {}, destination = {};
	struct dlmp_aggregation *aggr = at(&aggregation, 0);
	struct ethernet *eth = ethernet_of(skb);
	__u32 lower = skb->ifindex;
	struct dlmp_client *client;
	struct dlmp_vnic *vnic;
	struct dlmp_slot *slot;
	struct dlmp_vnics *all = at(&vnics, 0);
	__u32 *index;
	__u16 vlan;

	index = bpf_map_lookup_elem(&vnic_by_ifindex, &lower);
	if (!index || *index >= DLMP_MAX_VNICS || !all || !aggr)
		return TC_ACT_SHOT; /* not (or no longer) a VNIC */
	vnic = &all->at[*index % DLMP_MAX_VNICS];
	if (!eth)
		return refuse(DLMP_TX_SHORT);
	vlan = vlan_of(skb, eth);
	/* A VNIC sends as itself, and one in a VLAN without another one. */
	if (!same_mac(eth->source, vnic->mac) || (vlan && vnic->vlan))
		return refuse(DLMP_TX_UNKNOWN_SOURCE);
	if (is_switch_protocol(eth->destination))
		return refuse(DLMP_TX_SWITCH_PROTOCOL);
	__builtin_memcpy(source.mac, eth->source, sizeof(source.mac));
	__builtin_memcpy(destination.mac, eth->destination, sizeof(destination.mac));
	source.vlan = destination.vlan = vnic->vlan ? vnic->vlan : vlan;

	if (source.vlan == vnic->vlan) {
		slot = at(&slots, vnic->slot);
	} else {
		/* A VLAN device on the VNIC, which only the guest knows of. */
		client = bpf_map_lookup_elem(&addresses, &source);
		if (client && client->link != lower)
			return refuse(DLMP_TX_UNKNOWN_SOURCE);
		if (client)
			note_use(client->place);
		if (!vnic->trunk)
			vnic->trunk = 1;
		slot = client ? at(&slots, client->place) : learn(aggr, &source, lower);
	}
	if (!slot)
		return TC_ACT_SHOT;
	if (vnic->vlan && !tag(skb, vnic->vlan))
		return refuse(DLMP_TX_SHORT);
	return send(skb, aggr, slot, &destination, lower);
}

#endif
