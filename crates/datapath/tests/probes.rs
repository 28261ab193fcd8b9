//! Transitive probes and the answers to questions, frame by frame, fed to the model and to the loaded
//! programs: both must give the same verdict, the same counts and the same frame.
//!
//! Needs root and a kernel with BPF. Nothing is attached, so the machine's traffic is not touched.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod both;

use std::time::Duration;

use dlmp_datapath::model::Verdict;
use dlmp_datapath::{Counter, Datapath, PortIndex, Probing};
use dlmp_wire::MacAddr;
use dlmp_wire::transitive::{Key, Kind, Probe};
use proptest::prelude::*;

use both::{CLIENT, NET0, NET1, Pair, STRANGER, TO_LINK, frame, port_mac};

const KEY: Key = *b"0123456789abcdef";

/// Both ends of the pair of ports; the clock of the model is the kernel's.
fn probing() -> Pair {
    let mut pair = Pair::new();
    pair.both(|d| d.set_probing(Some(Probing { key: KEY, vlan: 0 })));
    pair
}

fn now() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap().into()
}

/// A probe between net0 and net1 that net0 sent just now.
fn probe(kind: Kind, sequence: u32) -> Probe {
    let sent = u64::try_from(now().as_nanos()).unwrap();
    Probe { kind, vlan: 0, sequence, sent, asked: port_mac(NET1), asking: port_mac(NET0) }
}

fn bytes(probe: Probe, key: &Key) -> Vec<u8> {
    let mut buffer = [0; _];
    probe.emit(key, &mut buffer).to_vec()
}

impl Pair {
    fn arrives(&mut self, port: PortIndex, frame: &[u8]) -> Verdict {
        self.model.set_time(now());
        self.ingress(port, frame)
    }

    fn counted(&self, port: PortIndex, counter: Counter) -> u64 {
        self.bpf.counters(port).unwrap().get(counter)
    }
}

#[test]
fn a_request_is_answered_by_the_port_itself_and_the_answer_is_noted() {
    let mut pair = probing();
    let request = probe(Kind::Request, 1);
    let Verdict::Answer(answer) = pair.arrives(NET1, &bytes(request, &KEY)) else { panic!("no answer") };
    assert_eq!(answer[..], bytes(Probe { kind: Kind::Response, ..request }, &KEY));
    assert_eq!(pair.bpf.answered(NET0, NET1), None);

    assert_eq!(pair.arrives(NET0, &answer), Verdict::Drop, "nobody else sees it");
    let answered = pair.bpf.answered(NET0, NET1).unwrap();
    assert_eq!((answered.sequence, answered.sent), (1, Duration::from_nanos(request.sent)));
    assert!(answered.at >= answered.sent && answered.at <= now());
    assert_eq!(pair.bpf.answered(NET1, NET0), None);
}

#[test]
fn a_forged_probe_neither_keeps_a_port_alive_nor_is_answered() {
    let mut pair = probing();
    for (port, kind) in [(NET1, Kind::Request), (NET0, Kind::Response)] {
        assert_eq!(pair.arrives(port, &bytes(probe(kind, 1), b"another key here")), Verdict::Drop);
        assert_eq!(pair.counted(port, Counter::RxProbeForged), 1);
    }
    assert_eq!(pair.bpf.answered(NET0, NET1), None);
}

#[test]
fn a_probe_that_is_played_again_counts_once() {
    let mut pair = probing();
    let (first, second) = (probe(Kind::Response, 1), probe(Kind::Response, 2));
    for (frame, stale) in [(second, 0), (second, 1), (first, 2)] {
        assert_eq!(pair.arrives(NET0, &bytes(frame, &KEY)), Verdict::Drop);
        assert_eq!(pair.counted(NET0, Counter::RxProbeStale), stale);
    }
    let request = bytes(probe(Kind::Request, 9), &KEY);
    assert!(matches!(pair.arrives(NET1, &request), Verdict::Answer(_)));
    assert_eq!(pair.arrives(NET1, &request), Verdict::Drop);
    assert_eq!(pair.counted(NET1, Counter::RxProbeStale), 1);
}

#[test]
fn sequence_numbers_go_on_after_the_last_one() {
    let mut pair = probing();
    for sequence in [0x7fff_ffff, 0xffff_fff0, 5] {
        assert_eq!(pair.arrives(NET0, &bytes(probe(Kind::Response, sequence), &KEY)), Verdict::Drop);
        assert_eq!(pair.bpf.answered(NET0, NET1).unwrap().sequence, sequence);
    }
    assert_eq!(pair.counted(NET0, Counter::RxProbeResponse), 3);
}

#[test]
fn a_probe_from_more_than_a_second_ago_or_from_the_future_is_refused() {
    let mut pair = probing();
    for difference in [-2_000_000_000i64, 60_000_000_000] {
        let mut frame = probe(Kind::Response, 1);
        frame.sent = frame.sent.checked_add_signed(difference).unwrap();
        assert_eq!(pair.arrives(NET0, &bytes(frame, &KEY)), Verdict::Drop);
    }
    assert_eq!(pair.counted(NET0, Counter::RxProbeStale), 2);
}

#[test]
fn a_probe_counts_on_its_way_between_two_ports_only() {
    let mut pair = probing();
    let elsewhere = Probe { asked: MacAddr([2, 0, 0, 0, 0, 7]), ..probe(Kind::Response, 1) };
    let to_itself = Probe { asked: port_mac(NET0), ..probe(Kind::Request, 1) };
    let other_vlan = Probe { vlan: 7, ..probe(Kind::Response, 1) };
    // The tag is taken off before the program sees the frame, as the kernel does.
    let untagged = |probe: Probe| {
        let mut frame = bytes(probe, &KEY);
        frame.drain(12..16);
        frame
    };
    let mut redirected = bytes(probe(Kind::Response, 1), &KEY);
    redirected[..6].copy_from_slice(&STRANGER.0);
    for (port, frame) in [
        (NET0, bytes(elsewhere, &KEY)),
        (NET0, bytes(to_itself, &KEY)),
        (NET0, untagged(other_vlan)),
        (NET0, redirected),
        (NET1, bytes(probe(Kind::Response, 1), &KEY)),
        (NET0, bytes(probe(Kind::Request, 1), &KEY)),
    ] {
        assert_eq!(pair.arrives(port, &frame), Verdict::Drop, "{frame:02x?}");
    }
    assert_eq!(pair.counted(NET0, Counter::RxProbeStray), 4);
    assert_eq!(pair.counted(NET0, Counter::RxReflection), 1, "that for a stranger is a port's own, come back");
    assert_eq!(pair.counted(NET1, Counter::RxProbeStray), 1);
}

#[test]
fn a_truncated_probe_of_every_length_is_refused() {
    let mut pair = probing();
    let whole = bytes(probe(Kind::Response, 1), &KEY);
    for len in 14..whole.len() {
        assert_eq!(pair.arrives(NET0, &whole[..len]), Verdict::Drop, "{len} bytes");
    }
    assert_eq!(pair.counted(NET0, Counter::RxProbeMalformed), (18..whole.len()).len() as u64);
    assert_eq!(pair.bpf.answered(NET0, NET1), None);
}

#[test]
fn without_probing_and_with_anothers_magic_the_rules_decide() {
    let mut pair = Pair::new();
    assert_eq!(pair.arrives(NET1, &bytes(probe(Kind::Request, 1), &KEY)), Verdict::Drop);
    assert_eq!(pair.counted(NET1, Counter::RxReflection), 1);
    let mut pair = probing();
    let mut foreign = bytes(probe(Kind::Request, 1), &KEY);
    foreign[14] = b'X';
    assert_eq!(pair.arrives(NET1, &foreign), Verdict::Drop);
    assert_eq!(pair.counted(NET1, Counter::RxReflection), 1);
}

#[test]
fn probes_for_anybody_but_a_port_are_left_to_the_rules() {
    const GUEST: MacAddr = MacAddr([0x52, 0x54, 0, 1, 1, 1]);
    let mut pair = probing();
    pair.both(|d| d.set_bridged(true));
    // A guest of the bridge that was heard, a silent one, the aggregation itself, and everybody.
    pair.model.set_time(now());
    assert_eq!(pair.egress(&frame(STRANGER, GUEST, &[8, 0, 0x45])), Verdict::Send { port: NET1, source: None });
    let silent = MacAddr([0x52, 0x54, 0, 1, 1, 2]);
    for key in [&KEY, b"the guest's key."] {
        for kind in [Kind::Request, Kind::Response] {
            for (here, destination) in [(NET1, GUEST), (NET0, silent), (NET0, CLIENT), (NET0, MacAddr::BROADCAST)] {
                let mut probe = bytes(probe(kind, 1), key);
                probe[..6].copy_from_slice(&destination.0);
                probe[6..12].copy_from_slice(&STRANGER.0);
                assert_eq!(pair.arrives(here, &probe), TO_LINK, "{kind:?} to {destination}");
                // Whatever else is in it.
                probe.truncate(30);
                assert_eq!(pair.arrives(here, &probe), TO_LINK, "{kind:?} to {destination}, cut off");
            }
        }
    }
    for counter in [Counter::RxProbeForged, Counter::RxProbeMalformed, Counter::RxProbeStray] {
        assert_eq!((pair.counted(NET0, counter), pair.counted(NET1, counter)), (0, 0), "{counter:?}");
    }
    let mut forged = bytes(probe(Kind::Request, 1), b"another key here");
    assert_eq!(pair.arrives(NET1, &forged), Verdict::Drop, "that for a port is ours");
    forged[..6].copy_from_slice(&port_mac(NET0).0);
    assert_eq!(pair.arrives(NET1, &forged), Verdict::Drop, "and that for another one of our ports");
    assert_eq!(pair.counted(NET1, Counter::RxProbeForged), 2);
}

#[test]
fn answers_to_a_ports_own_questions_are_left_to_the_daemon() {
    let mut pair = probing();
    let arp = |operation: u8, target: [u8; 4]| {
        let sender = [2, 0, 0, 0, 0, 9, 192, 0, 2, 1];
        let head = [8, 6, 0, 1, 8, 0, 6, 4, 0, operation];
        frame(port_mac(NET0), STRANGER, &[&head[..], &sender, &port_mac(NET0).0, &target].concat())
    };
    let mut ndp = vec![0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255];
    ndp.extend([0; 32]);
    ndp.extend([136, 0]);
    let advertisement = frame(port_mac(NET0), STRANGER, &ndp);
    assert_eq!(pair.arrives(NET0, &arp(2, [0; 4])), Verdict::Stay);
    assert_eq!(pair.arrives(NET0, &advertisement), Verdict::Stay);
    assert_eq!(pair.counted(NET0, Counter::RxProbeAnswer), 2);
    for other in [arp(1, [0; 4]), arp(2, [192, 0, 2, 7])] {
        assert_eq!(pair.arrives(NET0, &other), Verdict::Drop);
    }
    assert_eq!(pair.arrives(NET1, &advertisement), Verdict::Drop, "another port's");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    /// Random bytes of every length behind our own beginning, on either port.
    #[test]
    fn random_bytes_are_never_taken_for_a_probe(
        frames in proptest::collection::vec((any::<bool>(), 0u8..3, proptest::collection::vec(any::<u8>(), 0..1500)), 1..60),
    ) {
        let mut pair = probing();
        for (first, known, rest) in frames {
            let beginning: &[u8] = match known {
                0 => &[0x88, 0xb5],
                1 => &[0x88, 0xb5, b'D', b'L', b'M', b'P'],
                _ => &[0x88, 0xb5, b'D', b'L', b'M', b'P', 1, 0, 0, 0],
            };
            let (here, there) = if first { (NET0, NET1) } else { (NET1, NET0) };
            let frame = [&port_mac(here).0[..], &port_mac(there).0, beginning, &rest].concat();
            prop_assert_eq!(pair.arrives(here, &frame), Verdict::Drop);
        }
        prop_assert_eq!(pair.bpf.answered(NET0, NET1), None);
        prop_assert_eq!(pair.bpf.answered(NET1, NET0), None);
    }
}
