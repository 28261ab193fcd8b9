//! Programs of others on the aggregation's link, and senders that go past tc: whatever misses our program there leaves from
//! the link's lower end, as itself, once, also while no daemon runs.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use dlmp_testbed::{Foreign, FrameSocket, Look, Namespace, Pins, igmp_report, veth};
use dlmp_tests::{GUEST, Guest, HOST, assert_whole, ip_json, json, run, typed, wait_for};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use nix::sys::signal::Signal;

/// How many frames of each kind are made by hand.
const FRAMES: u16 = 30;
/// How long nothing may come before it is taken for certain that nothing will: no test passes because of it.
const QUIET: Duration = Duration::from_millis(300);

/// A count of the guest's aggregation.
fn count(guest: &Guest, counter: &str) -> u64 {
    let rows = json(&guest.dlmp, "dlstat show-aggr -v -j aggr0");
    rows[0]["rules"][counter].as_u64().unwrap_or_else(|| panic!("{counter} is not counted: {}", rows[0]["rules"]))
}

fn bytes_of(address: IpAddr) -> [u8; 4] {
    let IpAddr::V4(address) = address else { panic!("{address} is of IPv6") };
    address.octets()
}

/// Every frame that comes to `link` until it is quiet.
fn frames(socket: &FrameSocket) -> Vec<Vec<u8>> {
    let (mut all, mut frame) = (Vec::new(), vec![0; 65536]);
    loop {
        match socket.receive(&mut frame, QUIET).unwrap() {
            Look::Received(len) => all.push(frame[..len].to_vec()),
            Look::Sent(_) => {}
            Look::Nothing => return all,
        }
    }
}

/// Asserts that everything from the guest has come from the address of the aggregation.
fn assert_from_aggregation(guest: &Guest, seen: &[Vec<u8>]) {
    let aggr0 = FrameSocket::open_to_send(&guest.namespace, "aggr0").unwrap().address();
    let is_guests = |frame: &&Vec<u8>| {
        let source = |at: usize| frame.get(at..at + 4) == Some(&bytes_of(GUEST));
        match &frame[12..14] {
            [8, 0] => source(26),
            [8, 6] => source(28),
            _ => false,
        }
    };
    let sources: BTreeSet<_> = seen.iter().filter(is_guests).map(|frame| frame[6..12].to_vec()).collect();
    assert_eq!(sources, BTreeSet::from([aggr0.to_vec()]));
}

/// Asserts that TCP carries megabytes both ways.
fn assert_tcp_works(guest: &Guest) {
    const BYTES: usize = 3 << 20;
    const PATIENCE: Duration = Duration::from_secs(30);
    let listener = guest.host.enter(|| TcpListener::bind((HOST, 0))).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let answers = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        stream.write_all(&received).unwrap();
    });
    let mut stream = guest.namespace.enter(|| TcpStream::connect_timeout(&address, PATIENCE)).unwrap().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let sent: Vec<u8> = (0..BYTES).map(|at| (at / 7) as u8).collect();
    stream.write_all(&sent).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert!(back == sent, "{} bytes of {BYTES} came back", back.len());
    answers.join().unwrap();
}

/// Asserts that ping, UDP and TCP of the guest's own work, whole and once.
fn assert_traffic_is_whole(guest: &Guest) {
    let seen = FrameSocket::open(&guest.host, "net0").unwrap();
    let (count, host) = (FRAMES.to_string(), HOST.to_string());
    let ping = run(guest.namespace.command("ping").args(["-q", "-c", &count, "-i", "0.01", "-W", "5", &host]));
    assert!(ping.output.contains(&format!(" {count} received, 0% packet loss")), "{ping:?}");
    assert_whole(&guest.flow(Duration::from_millis(300)).run().unwrap());
    assert_from_aggregation(guest, &frames(&seen));
    assert_tcp_works(guest);
}

/// Frames to the host as the guest's aggregation would send them.
struct ByHand {
    aggr0: [u8; 6],
    host: [u8; 6],
}

impl ByHand {
    fn new(guest: &Guest) -> Self {
        let address = |namespace, link| FrameSocket::open_to_send(namespace, link).unwrap().address();
        Self { aggr0: address(&guest.namespace, "aggr0"), host: address(&guest.host, "net0") }
    }

    fn packet(&self) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
        PacketBuilder::ethernet2(self.aggr0, self.host).ipv4(bytes_of(GUEST), bytes_of(HOST), 64)
    }

    fn datagram(&self, port: u16, number: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.packet().udp(7, port).write(&mut bytes, &number.to_be_bytes()).unwrap();
        bytes
    }

    fn echo_request(&self, number: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.packet().icmpv4_echo_request(0xd1d1, number).write(&mut bytes, b"by hand").unwrap();
        bytes
    }

    /// Of a connection from this port, which the guest's own TCP knows nothing of.
    fn syn(&self, from: u16, to: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.packet().tcp(from, to, 1, 1000).syn().write(&mut bytes, &[]).unwrap();
        bytes
    }
}

/// Asserts that datagrams, echo requests and the first segments of TCP connections that `sender` sends get to the host
/// once each, and that what the host answers gets to the guest.
fn assert_frames_by_hand_arrive(guest: &Guest, sender: &FrameSocket) {
    let seen = FrameSocket::open(&guest.host, "net0").unwrap();
    let back = FrameSocket::open(&guest.namespace, "aggr0").unwrap();
    let by_hand = ByHand::new(guest);
    let listener = guest.host.enter(|| TcpListener::bind((HOST, 0))).unwrap().unwrap();
    let receiver = guest.host.enter(|| UdpSocket::bind((HOST, 0))).unwrap().unwrap();
    receiver.set_read_timeout(Some(QUIET)).unwrap();
    let (tcp, udp) = (listener.local_addr().unwrap().port(), receiver.local_addr().unwrap().port());
    for number in 0..FRAMES {
        for frame in [by_hand.datagram(udp, number), by_hand.echo_request(number), by_hand.syn(20_000 + number, tcp)] {
            sender.send(&frame).unwrap();
        }
        thread::sleep(Duration::from_millis(1));
    }

    let all: Vec<u16> = (0..FRAMES).collect();
    let mut payload = [0; 2];
    let mut datagrams: Vec<u16> =
        std::iter::from_fn(|| receiver.recv(&mut payload).ok().map(|_| u16::from_be_bytes(payload))).collect();
    datagrams.sort_unstable();
    assert_eq!(datagrams, all, "datagrams");
    assert_from_aggregation(guest, &frames(&seen));
    let (mut echoes, mut connections) = (Vec::new(), BTreeSet::new());
    for frame in frames(&back) {
        let Ok(packet) = SlicedPacket::from_ethernet(&frame) else { continue };
        match (packet.net, packet.transport) {
            (Some(NetSlice::Ipv4(_)), Some(TransportSlice::Icmpv4(icmp))) => {
                if let etherparse::Icmpv4Type::EchoReply(echo) = icmp.icmp_type() {
                    echoes.push(echo.seq);
                }
            }
            (_, Some(TransportSlice::Tcp(tcp))) if tcp.syn() && tcp.ack() => {
                connections.insert(tcp.destination_port() - 20_000);
            }
            _ => {}
        }
    }
    echoes.sort_unstable();
    assert_eq!(echoes, all, "answers to echo requests");
    assert_eq!(connections.into_iter().collect::<Vec<_>>(), all, "answers to TCP");
}

/// A link of the guest that receives whatever the returned socket sends.
fn feeder(guest: &Guest) -> (Namespace, FrameSocket) {
    let feeder = Namespace::new("ee", "feeder").unwrap();
    veth((&feeder, "out0"), (&guest.namespace, "in0")).unwrap();
    let socket = FrameSocket::open_to_send(&feeder, "out0").unwrap();
    (feeder, socket)
}

fn kernel_has_tcx() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(6))
}

/// Asserts all of it, and that what was sent has come by the lower end.
fn assert_nothing_is_lost(guest: &Guest, daemon_runs: bool) {
    let lower = || if daemon_runs { count(guest, "tx-lower") } else { 0 };
    let before = lower();
    if kernel_has_tcx() {
        let _foreign = Foreign::tcx(&guest.namespace, "aggr0").unwrap();
        assert_traffic_is_whole(guest);
    }
    {
        let _foreign = Foreign::clsact(&guest.namespace, "aggr0").unwrap();
        assert_traffic_is_whole(guest);
    }
    assert_frames_by_hand_arrive(guest, &FrameSocket::open_past_tc(&guest.namespace, "aggr0").unwrap());
    let (_feeder, sender) = feeder(guest);
    let _redirect = Foreign::redirect(&guest.namespace, "in0", "aggr0").unwrap();
    assert_frames_by_hand_arrive(guest, &sender);
    assert!(!daemon_runs || lower() > before + 6 * u64::from(FRAMES), "nothing came by the lower end");
}

/// With a daemon, without one, and with its successor.
fn assert_nothing_is_lost_whatever_becomes_of_the_daemon(pins: Pins) {
    let guest = Guest::with_aggregation(pins);
    assert_nothing_is_lost(&guest, true);
    guest.end_daemon(Signal::SIGKILL);
    assert_nothing_is_lost(&guest, false);
    guest.start_daemon();
    assert_nothing_is_lost(&guest, true);
}

#[test]
fn nothing_that_misses_our_program_is_lost_with_clsact() {
    assert_nothing_is_lost_whatever_becomes_of_the_daemon(Pins::None);
}

#[test]
fn nothing_that_misses_our_program_is_lost_with_pinned_links() {
    assert_nothing_is_lost_whatever_becomes_of_the_daemon(Pins::Mounted);
}

#[test]
fn a_restart_loses_nothing_that_misses_our_program() {
    for pins in [Pins::None, Pins::Mounted] {
        let guest = Guest::with_aggregation(pins);
        let _foreign = Foreign::clsact(&guest.namespace, "aggr0").unwrap();
        let record = guest
            .flow(Duration::from_millis(2000))
            .event(Duration::from_millis(400), "kill", || {
                guest.end_daemon(Signal::SIGKILL);
                Ok(())
            })
            .event(Duration::from_millis(800), "start", || {
                guest.start_daemon();
                Ok(())
            })
            .run()
            .unwrap();
        assert_whole(&record);
    }
}

/// Longer than it takes a host to repeat a report (RFC 3376, 8.11: a second).
const REPEATED: Duration = Duration::from_millis(1500);

/// What a link receives, or sends, of IGMP, until it is quiet.
fn igmp(socket: &FrameSocket, sent: bool) -> Vec<Vec<u8>> {
    let (mut all, mut frame) = (Vec::new(), vec![0; 65536]);
    loop {
        let (len, was_sent) = match socket.receive(&mut frame, REPEATED).unwrap() {
            Look::Received(len) => (len, false),
            Look::Sent(len) => (len, true),
            Look::Nothing => return all,
        };
        if frame[12..14] == [8, 0] && frame[23] == 2 && was_sent == sent {
            all.push(frame[..len].to_vec());
        }
    }
}

#[test]
fn a_report_that_misses_our_program_is_held_and_sent_once() {
    let guest = Guest::with_aggregation(Pins::None);
    let ports = ["net0", "net1"].map(|port| FrameSocket::open_to_send(&guest.namespace, port).unwrap().address());
    let _foreign = Foreign::clsact(&guest.namespace, "aggr0").unwrap();
    let IpAddr::V4(own) = GUEST else { panic!() };
    let member = guest.namespace.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    for (daemon_runs, last) in [(true, 1), (false, 2)] {
        if !daemon_runs {
            guest.end_daemon(Signal::SIGKILL);
            // Longer than reports are held for a daemon that is silent.
            thread::sleep(Duration::from_millis(300));
        }
        let (sending, seen) =
            (FrameSocket::open(&guest.namespace, "aggr0").unwrap(), FrameSocket::open(&guest.host, "net0").unwrap());
        member.join_multicast_v4(&Ipv4Addr::new(239, 7, 7, last), &own).unwrap();
        let past = FrameSocket::open_past_tc(&guest.namespace, "aggr0").unwrap();
        let by_hand = igmp_report(past.address(), Ipv4Addr::new(239, 7, 8, last), true).unwrap();
        past.send(&by_hand).unwrap();

        // The daemon reports all groups again by itself, from nobody's address.
        let is_guests = |frame: &&Vec<u8>| frame[26..30] == own.octets();
        let sent = igmp(&sending, true).iter().filter(is_guests).count();
        let arrived = igmp(&seen, false);
        let guests: Vec<_> = arrived.iter().filter(is_guests).collect();
        assert_eq!(guests.len(), sent, "daemon {daemon_runs}: each once");
        assert!(
            sent > 0 && guests.iter().all(|frame| ports.contains(&frame[6..12].try_into().unwrap())),
            "{guests:02x?}"
        );
        let same: Vec<_> = arrived.iter().filter(|frame| frame[14..].starts_with(&by_hand[14..])).collect();
        assert!(same.len() == 1 && ports.contains(&same[0][6..12].try_into().unwrap()), "{same:02x?}");
    }
}

/// Whether one of our programs hangs on the ingress of the lower end.
fn hangs_at_lower_end(guest: &Guest) -> bool {
    let links = ip_json(&guest.namespace, "link show type veth");
    let lower = links.as_array().unwrap().iter().find(|link| link["ifalias"] == "dlmp lower end of aggr0");
    let lower = lower.unwrap_or_else(|| panic!("no lower end in {links}"))["ifname"].as_str().unwrap().to_owned();
    run(guest.namespace.command("tc").args(["filter", "show", "dev", &lower, "ingress"])).output.contains("dlmp_egress")
}

#[test]
fn the_program_at_the_lower_end_is_attached_again_when_somebody_takes_it_off() {
    let guest = Guest::with_aggregation(Pins::None);
    assert!(hangs_at_lower_end(&guest));
    run(guest.namespace.command("tc").args(["qdisc", "del", "dev", "dlmp0", "clsact"]));
    assert!(!hangs_at_lower_end(&guest));
    wait_for("it hangs there again", || hangs_at_lower_end(&guest));
    typed(&guest.dlmp, "ipadm delete-ip aggr0");
    typed(&guest.dlmp, "dladm delete-aggr aggr0");
}
