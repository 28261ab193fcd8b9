//! Datagrams of managers: whatever arrives is parsed without a panic, and what was understood is written and read back as
//! the same message in the same byte order.
#![no_main]

use dlmp_wire::manager::{LEN, Message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((message, order)) = Message::parse(bytes) {
        let mut written = [0xaa; LEN];
        message.emit(order, &mut written);
        assert_eq!(Message::parse(&written), Ok((message, order)));
    }
});
