//! Our side: the model, with the clients seated where the test says.

use std::collections::BTreeMap;
use std::time::Duration;

use dlmp_datapath::model::{Delivery, Model, Verdict};
use dlmp_datapath::{
    Above, ClientAddress, Counter, Counters, Datapath, Observation, Placement, PortIndex, SlotIndex, Vnic, VnicIndex,
};

use crate::frames::{HOST, Outputs, PORTS, Place, Sent, VLAN, VLAN_VNIC, VNIC, tagged, untagged};

const NET0: PortIndex = PortIndex(0);
const NET1: PortIndex = PortIndex(1);
/// Long past every window after a move.
const LATER: Duration = Duration::from_secs(60);

/// Where each address that may become a client sits.
pub type Seats = BTreeMap<ClientAddress, PortIndex>;

/// The model and what its owner knows.
pub struct Ours {
    model: Model,
    seats: Seats,
    clients: BTreeMap<ClientAddress, (SlotIndex, Place)>,
}

/// What our side did with a frame.
#[derive(Debug)]
pub struct Done {
    pub outputs: Outputs,
    /// Why it was dropped or left to the port, if it was.
    pub refused: Option<Counter>,
    /// Its source was a client and was let go (the reflection rule).
    pub released: bool,
}

impl Ours {
    /// Two live ports under a bridge and two VNICs; groups are taken from the multicast port.
    pub fn new(seats: &Seats, multicast_port: PortIndex) -> Self {
        let mut ours = Self { model: Model::default(), seats: seats.clone(), clients: BTreeMap::new() };
        let model = &mut ours.model;
        for (port, mac) in [NET0, NET1].into_iter().zip(PORTS) {
            model.set_port(port, 100 + u32::from(port.0), mac).unwrap();
            model.set_usable(port, true).unwrap();
        }
        model.set_bridged(true).unwrap();
        model.set_multicast_port(Some(multicast_port)).unwrap();
        model.set_all_multicast(true).unwrap();
        let host = ClientAddress { mac: HOST, vlan: 0 };
        model.set_client(host, SlotIndex::PRIMARY).unwrap();
        ours.clients.insert(host, (SlotIndex::PRIMARY, Place::Link));
        for (index, mac, vlan) in [(VnicIndex(0), VNIC, 0), (VnicIndex(1), VLAN_VNIC, VLAN)] {
            let vnic = Vnic { lower: 200 + u32::from(index.0), mac, vlan };
            model.set_vnic(index, Some(vnic)).unwrap();
            ours.clients.insert(vnic.client(), (index.slot(), Place::Vnic(index)));
        }
        for (client, &(slot, _)) in &ours.clients {
            model.place(slot, Placement { port: seats[client], backup: None }).unwrap();
        }
        ours.later();
        ours
    }

    /// Lets every move be long past.
    pub fn later(&mut self) {
        self.model.set_time(self.model.time() + LATER);
    }

    /// Moves an address, a client or not yet, to the other port and returns that.
    pub fn move_away(&mut self, address: ClientAddress) -> PortIndex {
        let seat = self.seats.get_mut(&address).unwrap();
        *seat = if *seat == NET0 { NET1 } else { NET0 };
        if let Some(&(slot, _)) = self.clients.get(&address) {
            self.model.place(slot, Placement { port: *seat, backup: None }).unwrap();
        }
        *seat
    }

    /// The clients and what they are behind.
    pub fn clients(&self) -> BTreeMap<ClientAddress, Place> {
        self.clients.iter().map(|(&client, &(_, place))| (client, place)).collect()
    }

    /// Sends a frame through the model.
    pub fn send(&mut self, sent: &Sent) -> Done {
        let bytes = sent.bytes();
        let before = self.counters();
        let verdict = match sent.at {
            Place::Port(port) => self.model.ingress(port, &bytes),
            Place::Link => self.with_seat(sent.sender(), |model| model.egress(&bytes)),
            Place::Vnic(index) => self.with_seat(sent.sender(), |model| model.vnic(index, &bytes)),
        };
        let counted = self.counters();
        let refused = matches!(verdict, Verdict::Drop | Verdict::Stay).then(|| {
            let grown = |&(counter, _): &(Counter, _)| {
                counter != Counter::RxReleased
                    && counter != Counter::TxLearned
                    && (counted.iter().zip(&before)).any(|(now, then)| now.get(counter) > then.get(counter))
            };
            Counter::rules().find(grown).expect("every refusal is counted").0
        });
        let released = self.observe();

        // What the model calls the frame has the tag of the VNIC's VLAN already.
        let without_vlan = sent.vlan == 0 || sent.provider;
        let whole = if sent.at == Place::VLAN_VNIC && without_vlan { tagged(bytes, VLAN) } else { bytes };
        let mut outputs = Outputs::new();
        let mut put = |place, frame| outputs.entry(place).or_default().push(frame);
        let copies = std::iter::from_fn(|| self.model.poll_copy());
        let delivered = if let Verdict::Deliver(delivery) = verdict { Some(delivery) } else { None };
        for Delivery { to, untagged: without } in copies.chain(delivered) {
            let place = place_of(to);
            put(place, if without { untagged(whole.clone()) } else { whole.clone() });
        }
        if let Verdict::Send { port, source } = verdict {
            let mut frame = whole;
            if let Some(mac) = source {
                frame[6..12].copy_from_slice(&mac.0);
            }
            put(Place::Port(port), frame);
        }
        Done { outputs, refused, released }
    }

    /// A newcomer is seated on the emptiest usable port. That is for once the one where Open vSwitch's hash
    /// puts it: no rule depends on the choice, but the two sides must agree on it.
    fn with_seat(&mut self, source: ClientAddress, send: impl FnOnce(&mut Model) -> Verdict) -> Verdict {
        let seat = self.seats.get(&source).copied();
        let others = || [NET0, NET1].into_iter().filter(|&port| Some(port) != seat);
        if !self.clients.contains_key(&source) {
            others().for_each(|port| self.model.set_usable(port, false).unwrap());
        }
        let verdict = send(&mut self.model);
        others().for_each(|port| self.model.set_usable(port, true).unwrap());
        verdict
    }

    /// Takes note of what the model saw; whether a client was let go.
    fn observe(&mut self) -> bool {
        let mut any_released = false;
        while let Some(observation) = self.model.poll_observation() {
            match observation {
                Observation::Learned(learned) => {
                    self.clients.insert(learned.client, (learned.slot, place_of(learned.above)));
                }
                Observation::Released { slot, client } => {
                    self.clients.remove(&client);
                    self.model.forget(client, slot).unwrap();
                    any_released = true;
                }
                Observation::Stray { .. } => {}
            }
        }
        any_released
    }

    fn counters(&self) -> [Counters; 3] {
        [self.model.counters(NET0), self.model.counters(NET1), self.model.aggregation_counters()]
    }
}

fn place_of(above: Above) -> Place {
    match above {
        Above::Link => Place::Link,
        Above::Vnic(index) => Place::Vnic(index),
    }
}
