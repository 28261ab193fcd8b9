//! What the multicast state is told and what it wants done.

use dlmp_wire::MacAddr;
use dlmp_wire::membership::Change;
use serde::{Deserialize, Serialize};

use super::Excess;
use crate::{Action, PortIndex, SlotIndex};

/// Something that happened to groups or to the ports' filters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupEvent {
    /// The kernel's list of the groups that a client's link wants has changed. From then on a leave that the client
    /// reports is looked up in that list, since others may want the group there.
    Listed {
        /// The client.
        slot: SlotIndex,
        /// Groups that are in the list now.
        joined: Vec<MacAddr>,
        /// Groups that are not.
        left: Vec<MacAddr>,
    },
    /// The kernel's list for a client is out of reach, its link being in another network namespace now.
    Unlisted(SlotIndex),
    /// A client has sent a report.
    Reported {
        /// The client.
        slot: SlotIndex,
        /// What it says.
        changes: Vec<Change>,
    },
    /// These clients report faster than is read: reports of theirs may have been missed, so every group is let in for them
    /// until they report slower and have said anew what they want. Clients whose list is known need not.
    TooFast(Vec<SlotIndex>),
    /// An earlier daemon had these groups, at a takeover. They are kept for a while for whoever asked.
    Restored(Vec<MacAddr>),
    /// Somebody above wants every group: a bridge, a multicast router, somebody who captures. Or nobody any more.
    AllWanted(bool),
    /// A port's filter holds this from an earlier daemon, at a takeover. [`Restored`](Self::Restored) comes before, and
    /// [`AllWanted`](Self::AllWanted) if somebody wants every group. If one takes all or holds more, which groups that were
    /// wanted is not known, and all that serve take all until whoever asked has asked again.
    FilterRestored {
        /// The port.
        port: PortIndex,
        /// The groups in it; none if it holds more than are read. Those that it holds are then taken out by others.
        groups: Vec<MacAddr>,
        /// It holds more.
        more: bool,
        /// It takes all groups.
        all: bool,
    },
    /// How many groups a port can hold; nothing: as many as are wanted.
    Limit(PortIndex, Option<usize>),
    /// A port has refused a group that it was to hold.
    Refused(PortIndex, MacAddr),
    /// Whether a port takes all groups when it is told to.
    TakesAll(PortIndex, bool),
}

/// Something to do about groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupAction {
    /// The datapath takes a group.
    Admit(MacAddr),
    /// The datapath does not take a group any more.
    Dismiss(MacAddr),
    /// The datapath takes every group, or those that were admitted.
    AdmitAll(bool),
    /// The datapath forgets what it has from an earlier daemon and was not admitted again.
    ForgetRestored,
    /// A port's filter gets a group.
    Add(PortIndex, MacAddr),
    /// A group is taken out of a port's filter.
    Remove(PortIndex, MacAddr),
    /// A port takes all groups, or those in its filter. It goes on taking all if it has refused a group since it was
    /// told to.
    TakeAll(PortIndex, bool),
    /// The multicast port's filter lets not all wanted groups through, or does again.
    FilterShort(bool),
    /// Send reports of all memberships through a port, so that switches send the groups there.
    Report(PortIndex),
    /// Ask guests to report what they want.
    Ask,
    /// From now on every group is let in for a client, for this reason; nothing: no longer.
    Exceeds(SlotIndex, Option<Excess>),
}

impl From<GroupAction> for Action {
    fn from(action: GroupAction) -> Self {
        Self::Groups(action)
    }
}
