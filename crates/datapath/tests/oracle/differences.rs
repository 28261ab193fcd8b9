//! The differences from Open vSwitch that are meant. Any other one fails the test, and so does one of these
//! that no longer occurs.

use std::collections::BTreeMap;

use dlmp_datapath::{ClientAddress, Counter};
use dlmp_wire::MacAddr;
use dlmp_wire::ethernet::Frame;
use dlmp_wire::membership;

use crate::frames::{CDP, Outputs, PORTS, Payload, Place, Sent};

/// A difference that is meant.
pub struct Difference {
    pub name: &'static str,
    /// The rule of ours that causes it (docs/datapath.md).
    pub rule: &'static str,
    /// Why ours is wanted.
    pub why: &'static str,
    is: fn(&Situation, &Divergence) -> bool,
}

/// A frame, what both sides knew before it, and what ours made of it.
#[derive(Debug)]
pub struct Situation {
    pub sent: Sent,
    /// Our clients and what they are behind.
    pub clients: BTreeMap<ClientAddress, Place>,
    /// Open vSwitch's table of addresses, by which it judges the source.
    pub table: BTreeMap<ClientAddress, Place>,
    /// The same after it has learned the source, by which it judges the destination.
    pub learned: BTreeMap<ClientAddress, Place>,
    /// Why ours dropped it, if it did.
    pub refused: Option<Counter>,
    /// Ours let its source go, which had been a client.
    pub released: bool,
}

/// A link out of which the two sides did not send the same.
#[derive(Debug, PartialEq, Eq)]
pub struct Divergence {
    pub place: Place,
    pub who: Who,
}

/// Who sent something there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Ours,
    Theirs,
    /// Both, but not the same.
    Both,
}

impl Divergence {
    /// Each link where the two differ.
    pub fn all(ours: &Outputs, theirs: &Outputs) -> Vec<Self> {
        let differ = |place| match (ours.get(&place), theirs.get(&place)) {
            (ours, theirs) if ours == theirs => None,
            (Some(_), None) => Some(Self { place, who: Who::Ours }),
            (None, _) => Some(Self { place, who: Who::Theirs }),
            (Some(_), Some(_)) => Some(Self { place, who: Who::Both }),
        };
        Place::ALL.into_iter().filter_map(differ).collect()
    }
}

impl Difference {
    /// The first one that explains a divergence.
    pub fn of(situation: &Situation, divergence: &Divergence) -> Option<&'static Self> {
        LISTED.iter().find(|difference| (difference.is)(situation, divergence))
    }
}

impl Situation {
    fn is_from_outside(&self) -> bool {
        self.sent.at.is_port()
    }

    fn is_to_group(&self) -> bool {
        self.sent.destination.is_group()
    }

    /// What the source is behind, by ours and by theirs.
    fn sender(&self) -> (Option<Place>, Option<Place>) {
        let sender = self.sent.sender();
        (self.clients.get(&sender).copied(), self.table.get(&sender).copied())
    }

    /// What the destination is behind, by ours and by theirs.
    fn receiver(&self) -> (Option<Place>, Option<Place>) {
        let receiver = self.sent.receiver();
        (self.clients.get(&receiver).copied(), self.learned.get(&receiver).copied())
    }

    /// Ours dropped it since its source is ours.
    fn own_source(&self) -> bool {
        matches!(self.refused, Some(Counter::RxReflection | Counter::RxOwnAddress))
    }

    fn is_report(&self) -> bool {
        Frame::parse(&self.sent.bytes()).is_ok_and(|frame| membership::is_report(&frame))
    }
}

/// Whether an address is known as above the aggregation.
fn is_above(known: Option<Place>) -> bool {
    known.is_some_and(|place| !place.is_port())
}

/// The first that fits counts, so the narrower ones come first.
pub const LISTED: &[Difference] = &[
    Difference {
        name: "sender-is-itself",
        rule: "sending",
        why: "a VNIC that sends as another, or anybody who sends as a port or a VNIC, would take its place",
        is: |frame, at| frame.refused == Some(Counter::TxUnknownSource) && at.who == Who::Theirs,
    },
    Difference {
        name: "foreign-tag-is-payload",
        rule: "VLANs",
        why: "a switch that knows 802.1Q alone carries an 802.1ad tag in the sender's own VLAN; Open vSwitch takes it for the \
              VLAN of its number",
        is: |frame, _| frame.sent.has_provider_tag(),
    },
    Difference {
        name: "reports-by-multicast-port",
        rule: "group",
        why: "a snooping switch sends a group to the port where the report came from, and ours takes it from one",
        is: |frame, at| !frame.is_from_outside() && frame.is_report() && at.place.is_port(),
    },
    Difference {
        name: "link-local-is-sent",
        rule: "link-local",
        why: "LLDP of a host is for the switch at the other end of the port",
        is: |frame, at| !frame.is_from_outside() && frame.sent.destination.is_link_local() && at.who == Who::Ours,
    },
    Difference {
        name: "no-guest-speaks-to-switches",
        rule: "sending",
        why: "a switch shuts the port of who speaks as a switch, of whatever vendor",
        is: |frame, at| frame.refused == Some(Counter::TxSwitchProtocol) && at.who == Who::Theirs,
    },
    Difference {
        name: "only-standard-link-local",
        rule: "link-local",
        why: "only the standard's own range must stay on a link; other vendors' groups are groups",
        is: |frame, at| frame.sent.destination == CDP && at.who == Who::Ours,
    },
    Difference {
        name: "ports-are-known",
        rule: "reflection",
        why: "probes carry the ports' addresses; nothing else from them or to them comes from the network",
        is: |frame, at| {
            let source_is_port = frame.own_source() && PORTS.contains(&frame.sent.source);
            let for_port = matches!(frame.refused, Some(Counter::RxProbeAnswer | Counter::RxNobody))
                && PORTS.contains(&frame.sent.destination);
            (source_is_port || for_port) && at.who == Who::Theirs
        },
    },
    Difference {
        name: "reflected-announcement",
        rule: "reflection",
        why: "on another port a client's announcement is its own, come back; Open vSwitch guards itself for 5 s only",
        is: |frame, at| {
            let known = is_above(frame.sender().1) && is_gratuitous(&frame.sent);
            frame.refused == Some(Counter::RxReflection) && known && at.who == Who::Theirs
        },
    },
    Difference {
        name: "claimed-address",
        rule: "reflection",
        why: "another host that claims an address of ours is counted, not obeyed; a learned client's address goes with \
              an announcement (RFC 5227), not with any ARP reply to everybody",
        is: |frame, at| {
            let known = is_above(frame.sender().1) && is_gratuitous(&frame.sent);
            frame.refused == Some(Counter::RxOwnAddress) && known && at.who == Who::Theirs
        },
    },
    Difference {
        name: "silent-client-is-known",
        rule: "reflection",
        why: "who a client is does not hang on a table that its first frame fills and a reflection empties",
        is: |frame, at| {
            let (_, table) = frame.sender();
            frame.own_source() && !is_above(table) && at.who == Who::Theirs
        },
    },
    Difference {
        name: "announced-departure",
        rule: "reflection",
        why: "on the client's own port nothing comes back: RARP or a neighbour advertisement there shows a move as well, \
              and so does an ARP announcement right after one of the client itself",
        is: |frame, at| frame.released && at.who == Who::Ours,
    },
    Difference {
        name: "departed-is-forgotten",
        rule: "reflection",
        why: "who has moved away or never was a client is outside at once, not when an entry of a table ages",
        is: |frame, at| {
            let gone = |(client, table): (Option<Place>, Option<Place>)| client.is_none() && is_above(table);
            let sender = frame.is_from_outside() && at.who == Who::Ours && gone(frame.sender());
            let (_, table) = frame.receiver();
            let to_its_old_place = Some(at.place) == table;
            let receiver = gone(frame.receiver()) && to_its_old_place == (at.who == Who::Theirs);
            sender || (receiver && !frame.is_to_group())
        },
    },
    Difference {
        name: "own-port-only",
        rule: "own-port",
        why: "what a switch floods to every port is delivered once; after a move other ports are open for a second",
        is: |frame, at| frame.refused == Some(Counter::RxStalePort) && at.who == Who::Theirs,
    },
    Difference {
        name: "flood-taken-once",
        rule: "nobody",
        why: "what is for nobody can be for a silent guest of the bridge, and a switch floods it to every port",
        is: |frame, at| is_for_nobody(frame) && at.place == Place::Link && at.who == Who::Theirs,
    },
    Difference {
        name: "flood-not-for-vnics",
        rule: "nobody",
        why: "a VNIC's addresses are known: what is for nobody is not for a VNIC",
        is: |frame, at| is_for_nobody(frame) && at.place != Place::Link && at.who == Who::Theirs,
    },
    Difference {
        name: "no-table-of-outside",
        rule: "nobody",
        why: "who is outside is the switches' business; the bridge above has a table of its own",
        is: |frame, at| {
            let (client, table) = frame.receiver();
            let outside = client.is_none() && table.is_some_and(Place::is_port);
            frame.is_from_outside() && outside && at.place == Place::Link && at.who == Who::Ours
        },
    },
    Difference {
        name: "groups-of-vlans",
        rule: "group",
        why: "a VNIC gets the groups of VLANs once it has sent a tagged frame; Open vSwitch gives them to every trunk",
        is: |frame, at| {
            let is_trunk = frame.clients.iter().any(|(client, &place)| client.vlan != 0 && place == Place::VNIC);
            let to_vlan = frame.is_to_group() && frame.sent.in_vlan() != 0;
            to_vlan && !is_trunk && at.place == Place::VNIC && at.who == Who::Theirs
        },
    },
    Difference {
        name: "known-destination",
        rule: "own-port and local",
        why: "a client is where ours has it, silent or not; Open vSwitch floods, or follows whoever used the address last",
        is: |frame, at| {
            let (client, table) = frame.receiver();
            let to_its_place = Some(at.place) == client;
            let apart = client.is_some() && client != table && to_its_place == (at.who == Who::Ours);
            apart && !frame.is_to_group() && matches!(frame.refused, None | Some(Counter::TxSameLink))
        },
    },
    Difference {
        name: "no-flood-above",
        rule: "local",
        why: "what is for nobody here leaves by the port; the clients above are known",
        is: |frame, at| {
            let (client, _) = frame.receiver();
            let above = !frame.is_from_outside() && !at.place.is_port();
            above && !frame.is_to_group() && client.is_none() && at.who == Who::Theirs
        },
    },
];

/// What Open vSwitch takes for an ARP announcement: one for the sender's own address, or any reply, to everybody.
fn is_gratuitous(sent: &Sent) -> bool {
    sent.destination == MacAddr::BROADCAST && matches!(sent.payload, Payload::ArpAnnouncement | Payload::ProbeAnswer)
}

/// Unicast from outside for none of our clients.
fn is_for_nobody(frame: &Situation) -> bool {
    frame.is_from_outside() && !frame.is_to_group() && frame.receiver().0.is_none()
}
