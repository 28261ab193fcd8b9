//! What both sides are fed with: named sequences for each rule, and any others.

use dlmp_datapath::{ClientAddress, PortIndex};
use dlmp_wire::MacAddr;
use proptest::prelude::*;
use proptest::sample::select;

use crate::frames::{
    CDP, DESTINATIONS, GROUP, GUEST, GVRP, HOST, LLDP, OTHER_GUEST, OTHER_STRANGER, PORTS, Payload, Place, SOURCES,
    STRANGER, Sent, VLAN, VLAN_VNIC, VNIC,
};
use crate::ours::Seats;

/// What happens next.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    Send(Sent),
    /// The client with this address moves to the other port.
    Move(ClientAddress),
    /// A minute passes.
    Later,
}

/// What happens, from a new start.
#[derive(Debug, Clone)]
pub struct Sequence {
    pub seats: Seats,
    pub multicast_port: PortIndex,
    pub steps: Vec<Step>,
}

/// A sequence with everybody on net0, the multicast port, and the differences that it shows.
pub struct Named {
    pub name: &'static str,
    pub steps: Vec<Step>,
    pub differences: &'static [&'static str],
}

impl Named {
    pub fn sequence(&self) -> Sequence {
        let seats = addresses().into_iter().map(|address| (address, PortIndex(0))).collect();
        Sequence { seats, multicast_port: PortIndex(0), steps: self.steps.clone() }
    }
}

/// Any sequence.
pub fn any() -> impl Strategy<Value = Sequence> {
    let place = || select(&Place::ALL[..]);
    let tag = prop_oneof![8 => Just((0, false)), 4 => Just((VLAN, false)), 1 => Just((VLAN, true))];
    // Most frames are what honest senders send, what comes back of it, or what says where somebody is now; the
    // rest is anything.
    let honest = {
        select(vec![
            (Place::Link, HOST),
            (Place::Link, GUEST),
            (Place::Link, OTHER_GUEST),
            (Place::VNIC, VNIC),
            (Place::VLAN_VNIC, VLAN_VNIC),
            (Place::NET0, STRANGER),
            (Place::NET1, STRANGER),
        ])
    };
    let is_from_outside = (select(vec![Place::NET0, Place::NET1]), select(&[HOST, GUEST, OTHER_GUEST, VNIC][..]));
    let from = prop_oneof![3 => honest, 1 => is_from_outside, 1 => (place(), select(&SOURCES[..]))];
    let payload = prop_oneof![1 => Just(Payload::Ip), 1 => select(&Payload::ALL[..])];
    let announcement =
        select(vec![Payload::ArpAnnouncement, Payload::Rarp, Payload::NeighbourAdvertisement, Payload::ArpRequest]);
    let content = {
        prop_oneof![
            2 => (select(&DESTINATIONS[..]), payload),
            1 => (Just(MacAddr::BROADCAST), announcement),
        ]
    };
    let sent = (from, content, tag).prop_map(|((at, source), (destination, payload), (vlan, provider))| Sent {
        at,
        destination,
        source,
        vlan,
        provider,
        payload,
    });
    let step = prop_oneof![
        16 => sent.prop_map(Step::Send),
        1 => select(addresses()).prop_map(Step::Move),
        2 => Just(Step::Later),
    ];
    let seats = prop::collection::vec(0..2_u8, addresses().len());
    (seats, 0..2_u8, prop::collection::vec(step, 1..16)).prop_map(|(seats, multicast_port, steps)| Sequence {
        seats: addresses().into_iter().zip(seats.into_iter().map(PortIndex)).collect(),
        multicast_port: PortIndex(multicast_port),
        steps,
    })
}

/// Whoever may become a client.
fn addresses() -> Vec<ClientAddress> {
    SOURCES.into_iter().flat_map(|mac| [0, VLAN].map(|vlan| ClientAddress { mac, vlan })).collect()
}

const ALL: MacAddr = MacAddr::BROADCAST;

fn ip(at: Place, source: MacAddr, destination: MacAddr) -> Step {
    carrying(Payload::Ip, at, source, destination)
}

fn in_vlan(at: Place, source: MacAddr, destination: MacAddr) -> Step {
    Step::Send(Sent { at, destination, source, vlan: VLAN, provider: false, payload: Payload::Ip })
}

fn with_provider_tag(at: Place, source: MacAddr, destination: MacAddr) -> Step {
    Step::Send(Sent { at, destination, source, vlan: VLAN, provider: true, payload: Payload::Ip })
}

fn carrying(payload: Payload, at: Place, source: MacAddr, destination: MacAddr) -> Step {
    Step::Send(Sent { at, destination, source, vlan: 0, provider: false, payload })
}

/// A sequence for each rule and each difference.
pub fn named() -> Vec<Named> {
    use Payload::{ArpAnnouncement, ArpRequest, IgmpReport, NeighbourAdvertisement, ProbeAnswer, Rarp};
    use Place::Link;
    const NET0: Place = Place::NET0;
    const NET1: Place = Place::NET1;
    let named = |name, differences, steps| Named { name, steps, differences };
    // Whoever speaks first is known to Open vSwitch as well.
    let hello = |at, mac| ip(at, mac, ALL);
    vec![
        named(
            "what a client sends does not come back to it",
            &[],
            vec![hello(Link, GUEST), ip(NET1, GUEST, ALL), ip(NET0, GUEST, ALL), ip(NET1, GUEST, HOST)],
        ),
        named(
            "a broadcast is taken from one port",
            &[],
            vec![
                ip(NET0, STRANGER, ALL),
                ip(NET1, STRANGER, ALL),
                carrying(ArpRequest, NET1, STRANGER, ALL),
                ip(NET0, STRANGER, GROUP),
                ip(NET1, STRANGER, GROUP),
                ip(NET0, STRANGER, LLDP),
            ],
        ),
        named(
            "a client is served from its own port",
            &["own-port-only"],
            vec![hello(Link, GUEST), Step::Later, ip(NET0, STRANGER, GUEST), ip(NET1, STRANGER, GUEST)],
        ),
        named(
            "right after a move a client is served from both ports",
            &[],
            vec![
                hello(Link, GUEST),
                Step::Later,
                Step::Move(ClientAddress { mac: GUEST, vlan: 0 }),
                ip(Link, GUEST, ALL),
                ip(NET0, STRANGER, GUEST),
                ip(NET1, STRANGER, GUEST),
            ],
        ),
        named(
            "what is flooded for a silent guest is taken once",
            &["flood-taken-once", "flood-not-for-vnics"],
            vec![ip(NET0, STRANGER, GUEST), ip(NET1, STRANGER, GUEST)],
        ),
        named(
            "what is flooded for somebody outside",
            &["no-table-of-outside"],
            vec![ip(NET0, STRANGER, ALL), ip(NET0, OTHER_STRANGER, STRANGER)],
        ),
        named(
            "clients talk to each other here",
            &[],
            vec![
                hello(Link, GUEST),
                hello(Link, OTHER_GUEST),
                hello(Place::VNIC, VNIC),
                ip(Link, GUEST, VNIC),
                ip(Place::VNIC, VNIC, GUEST),
                ip(Link, GUEST, OTHER_GUEST),
                ip(Place::VNIC, VNIC, ALL),
            ],
        ),
        named(
            "clients in a VLAN talk to each other here",
            &["groups-of-vlans"],
            vec![
                ip(Place::VLAN_VNIC, VLAN_VNIC, ALL),
                in_vlan(Link, GUEST, ALL),
                in_vlan(Link, GUEST, VLAN_VNIC),
                ip(Place::VLAN_VNIC, VLAN_VNIC, GUEST),
                in_vlan(NET0, STRANGER, VLAN_VNIC),
                in_vlan(NET0, STRANGER, ALL),
            ],
        ),
        named(
            "an 802.1ad tag is no VLAN",
            &["foreign-tag-is-payload"],
            vec![
                with_provider_tag(NET0, STRANGER, VLAN_VNIC),
                with_provider_tag(NET0, STRANGER, HOST),
                with_provider_tag(NET0, STRANGER, ALL),
                with_provider_tag(Link, GUEST, VLAN_VNIC),
            ],
        ),
        named(
            "a VNIC is known before it speaks",
            &["silent-client-is-known", "known-destination"],
            vec![ip(NET0, STRANGER, VNIC), ip(Link, GUEST, VNIC), ip(NET0, VNIC, ALL)],
        ),
        named(
            "nobody above is asked about a stranger",
            &["no-flood-above"],
            vec![ip(Link, GUEST, STRANGER), ip(Place::VNIC, VNIC, STRANGER)],
        ),
        named(
            "an announcement comes back",
            &["reflected-announcement", "silent-client-is-known"],
            vec![
                Step::Move(ClientAddress { mac: HOST, vlan: 0 }),
                hello(Link, HOST),
                Step::Later,
                carrying(ArpAnnouncement, NET0, HOST, ALL),
                ip(NET0, HOST, ALL),
            ],
        ),
        named(
            "another host claims the host's address",
            &["claimed-address"],
            vec![hello(Link, HOST), carrying(ArpAnnouncement, NET0, HOST, ALL)],
        ),
        named(
            "a guest moves away and comes back",
            &[],
            vec![
                hello(Link, HOST),
                hello(Link, GUEST),
                Step::Later,
                carrying(ArpAnnouncement, NET0, GUEST, ALL),
                ip(NET0, GUEST, ALL),
                ip(NET0, GUEST, HOST),
                ip(Link, GUEST, ALL),
                ip(NET0, STRANGER, GUEST),
            ],
        ),
        named(
            "an announcement on another port has come back",
            &[],
            vec![hello(Link, GUEST), Step::Later, carrying(ArpAnnouncement, NET1, GUEST, ALL), ip(NET0, GUEST, ALL)],
        ),
        named(
            "a guest on the other port moves away",
            &["departed-is-forgotten"],
            vec![
                Step::Move(ClientAddress { mac: GUEST, vlan: 0 }),
                hello(Link, GUEST),
                Step::Later,
                carrying(ArpAnnouncement, NET1, GUEST, ALL),
                ip(NET0, GUEST, ALL),
            ],
        ),
        named(
            "a guest moves away and tells by RARP",
            &["announced-departure", "departed-is-forgotten"],
            vec![
                hello(Link, GUEST),
                Step::Later,
                carrying(Rarp, NET0, GUEST, ALL),
                ip(NET0, GUEST, ALL),
                ip(Link, OTHER_GUEST, GUEST),
            ],
        ),
        named(
            "a guest moves away and advertises itself",
            &["announced-departure", "departed-is-forgotten"],
            vec![
                hello(Link, GUEST),
                Step::Later,
                carrying(NeighbourAdvertisement, NET0, GUEST, GROUP),
                ip(Link, OTHER_GUEST, GUEST),
            ],
        ),
        named(
            "reports leave by the multicast port as the port",
            &["reports-by-multicast-port"],
            vec![carrying(IgmpReport, Link, GUEST, GROUP)],
        ),
        named(
            "a guest does not speak to switches",
            &["no-guest-speaks-to-switches"],
            vec![ip(Link, GUEST, GVRP), ip(Place::VNIC, VNIC, GVRP), ip(Link, GUEST, CDP), ip(Link, GUEST, LLDP)],
        ),
        named(
            "only the standard's range stays on a link",
            &["link-local-is-sent", "only-standard-link-local"],
            vec![ip(Link, HOST, LLDP), ip(NET0, STRANGER, LLDP), ip(NET0, STRANGER, CDP)],
        ),
        named(
            "the ports are nobody's clients",
            &["ports-are-known"],
            vec![ip(NET0, PORTS[0], ALL), ip(NET0, PORTS[1], ALL), carrying(ProbeAnswer, NET0, STRANGER, PORTS[0])],
        ),
        named(
            "everybody sends as himself",
            &["sender-is-itself"],
            vec![ip(Place::VNIC, GUEST, ALL), ip(Link, VNIC, ALL), ip(Link, PORTS[0], ALL)],
        ),
    ]
}
