//! What goes into the engine and what comes out.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Detection, GroupAction, GroupEvent, Health, LinkState, Placement, PortIndex, Question, QuestionId, SlotIndex,
    Source,
};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A port was added to the aggregation.
    PortAdded(PortIndex),
    /// A port was taken out of it.
    PortRemoved(PortIndex),
    /// A port's link was looked at.
    Link(PortIndex, LinkState),
    /// Clients have come; they want a port. Those that are there already stay as they are.
    ClientsAdded(Vec<SlotIndex>),
    /// Clients that the datapath has on a port already, without a backup: it has learned them, or an
    /// earlier daemon placed them. They are not announced, and stay unless that port is not usable or
    /// the load has to be evened.
    ClientsSeated(Vec<(SlotIndex, PortIndex)>),
    /// Clients have gone, and are not in the datapath any more.
    ClientsRemoved(Vec<SlotIndex>),
    /// The running datapath takes group-addressed frames from this port already, at a takeover.
    MulticastRestored(PortIndex),
    /// The running datapath has a port marked unusable though its link is up, at a takeover. It is not
    /// used before it has proven itself, or [`Probing`](Self::Probing) says that nothing is to be proven.
    FailureRestored(PortIndex),
    /// Something about groups or the ports' filters.
    Groups(GroupEvent),
    /// A frame for a client arrived on a port that is not its own (the own-port rule): switches do not know
    /// where it sits.
    Stray(SlotIndex),
    /// The switches behind a port have changed while its link stayed up, such as at a migration of the machine: they know
    /// neither the clients nor the groups.
    NewPeers(PortIndex),
    /// Probing is configured with this failure detection time, or not any more.
    Probing(Option<Duration>),
    /// The addresses that may be sources of probes, all of them.
    Sources(Vec<Source>),
    /// Whom to ask: the targets that were given, and the next-hop routers on the sources' networks.
    Targets {
        /// From `probe-ip`.
        given: Vec<IpAddr>,
        /// From the routes.
        routers: Vec<IpAddr>,
    },
    /// All addresses of this host, as far as they are known: on any link, in any family, also in other
    /// namespaces. None of them is ever a target, whoever names it: it would answer whatever happens.
    OwnAddresses(Vec<IpAddr>),
    /// A frame for a client, from somebody else and to it alone, came in through a port.
    Received(PortIndex),
    /// A host has answered a multicast echo.
    Found(IpAddr),
    /// A question was answered.
    Answered {
        /// The question.
        question: QuestionId,
        /// From sending to the arrival of the answer.
        rtt: Duration,
    },
    /// A question could not be sent.
    NotSent(QuestionId),
    /// A transitive probe was answered.
    PortAnswered {
        /// The port that asked.
        from: PortIndex,
        /// The port that answered.
        to: PortIndex,
        /// The probe's sequence number.
        sequence: u32,
        /// From sending to the arrival of the answer.
        rtt: Duration,
    },
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Mark a port as fit for traffic or not.
    SetUsable(PortIndex, bool),
    /// Place a client.
    Place(SlotIndex, Placement),
    /// Take group-addressed frames from this port.
    SetMulticastPort(Option<PortIndex>),
    /// Do something about groups or the ports' filters.
    Groups(GroupAction),
    /// Give the aggregation's link a carrier or take it away.
    SetCarrier(bool),
    /// Announce a client through a port.
    Announce(SlotIndex, PortIndex),
    /// Ask a target.
    Ask(Question),
    /// Send a transitive probe from one port to another.
    AskPort {
        /// The port that asks.
        from: PortIndex,
        /// The port that is asked.
        to: PortIndex,
        /// Sequence number; one row for each pair.
        sequence: u32,
    },
    /// Look for hosts by a multicast echo from this source.
    Discover(IpAddr),
    /// Tell people.
    Notify(Notice),
}

/// News for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// A port's health changed.
    Health(PortIndex, Health),
    /// What decides about the ports changed.
    Detection(Detection),
    /// A client moved.
    Moved {
        /// The client.
        slot: SlotIndex,
        /// Where it sat before.
        from: Option<PortIndex>,
        /// Where it sits now.
        to: PortIndex,
    },
}
