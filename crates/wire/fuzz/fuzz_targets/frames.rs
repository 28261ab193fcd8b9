//! Frames and packets from the network: every parser takes whatever arrives without a panic, and where there is a writer, what
//! was understood is written and read back as the same.
#![no_main]

use dlmp_wire::ethernet::Frame;
use dlmp_wire::icmp::Echo;
use dlmp_wire::rarp::Announcement;
use dlmp_wire::transitive::Probe;
use dlmp_wire::{arp, membership, ndp, rarp, transitive, vnet};
use libfuzzer_sys::fuzz_target;

/// The key of the probes in the corpus. The fuzzer makes no others: it would have to guess their tag.
const KEY: transitive::Key = *b"of the corpus...";

fuzz_target!(|bytes: &[u8]| {
    let _ = (Echo::parse_v4(bytes), Echo::parse_v6(bytes));
    let Ok(frame) = Frame::parse(bytes) else { return };

    // An answer that names its sender is one to whoever the frame goes to.
    let _ = (arp::answer(&frame, frame.destination()), ndp::answer(&frame, frame.destination()));
    let _ = (membership::is_report(&frame), membership::is_general_query(&frame));
    assert!(membership::changes(&frame).all(|change| change.group.is_multicast()));

    if let Ok(probe) = Probe::parse(frame.payload(), &KEY) {
        let mut buffer: transitive::Buffer = [0; _];
        let written = reread(probe.emit(&KEY, &mut buffer));
        // The tag of the header has 12 bits for the VLAN, the probe itself 16.
        assert_eq!(Probe::parse(written.payload(), &KEY), Ok(probe));
    }
    if let Some(announcement) = Announcement::parse(&frame) {
        let mut buffer: rarp::Buffer = [0; _];
        assert_eq!(Announcement::parse(&reread(announcement.emit(&mut buffer))), Some(announcement));
    }
    if let Some(text) = vnet::parse(&frame) {
        let mut buffer: vnet::Buffer = [0; _];
        let written = vnet::emit(frame.source(), text, &mut buffer).map(reread);
        assert_eq!(written.as_ref().and_then(vnet::parse), Some(text));
    }
});

/// What was written is a whole frame always.
fn reread(written: &[u8]) -> Frame<'_> {
    Frame::parse(written).expect("it has a header")
}
