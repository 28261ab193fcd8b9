//! What managers answered: each is shown once. Anybody can send an answer, so nothing in it is trusted and what is
//! remembered is bounded.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use dlmp_wire::manager::Message;

use crate::cell::{Cell, plain};
use crate::output::Column;

/// Managers that are shown, at most. Remembering them takes some megabytes then.
const LIMIT: usize = 16_384;

/// The columns of what is shown of a manager.
pub const COLUMNS: [Column; 6] = [
    Column::new("HOST", 20),
    Column::new("ADDRESS", 15),
    Column::new("PORT", 5),
    Column::new("VERSION", 10),
    Column::new("INTERFACE", 9),
    Column::new("DELAY", 8),
];

/// The managers that have answered.
#[derive(Debug, Default)]
pub struct Answers {
    /// By host name and address.
    seen: HashSet<(String, Ipv4Addr)>,
    left_out: u64,
}

impl Answers {
    /// Takes a datagram that came so long after the first question, and returns the row to show if it is the first answer of
    /// a manager. Looking for MAC addresses, others' questions and what is no message mean nothing.
    pub fn take(&mut self, interface: &str, datagram: &[u8], delay: Duration) -> Option<Vec<Cell>> {
        let Ok((Message::Here(manager), _)) = Message::parse(datagram) else { return None };
        let host = plain(manager.host);
        let key = (host.clone(), manager.address);
        if self.seen.contains(&key) {
            return None;
        }
        if self.seen.len() >= LIMIT {
            self.left_out += 1;
            return None;
        }
        self.seen.insert(key);
        let text = |text: String| Cell::text((!text.is_empty()).then_some(text));
        Some(vec![
            text(host),
            Cell::Text(manager.address.to_string()),
            Cell::Number(manager.port.into()),
            text(plain(manager.version)),
            Cell::Text(interface.to_owned()),
            Cell::Milliseconds(i64::try_from(delay.as_nanos()).unwrap_or(i64::MAX)),
        ])
    }

    /// How many managers were shown, and how many answers were left out because there were too many.
    pub fn count(&self) -> (usize, u64) {
        (self.seen.len(), self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, Table};
    use dlmp_wire::MacAddr;
    use dlmp_wire::manager::{Buffer, ByteOrder, LEN, Lookup, Manager};

    const DELAY: Duration = Duration::from_micros(1250);

    fn datagram(message: Message<'_>) -> Buffer {
        let mut buffer = [0; LEN];
        message.emit(ByteOrder::Big, &mut buffer);
        buffer
    }

    fn here(host: &str, address: [u8; 4]) -> Buffer {
        datagram(Message::Here(Manager { version: "3.6", host, address: address.into(), port: 6482 }))
    }

    #[test]
    fn a_manager_is_shown_when_it_answers_for_the_first_time() {
        let mut answers = Answers::default();
        let rows: Vec<_> = [
            ("net0", here("primary", [10, 9, 0, 1])),
            ("net0", here("primary", [10, 9, 0, 1])),
            ("net1", here("primary", [10, 9, 0, 1])),
            // Another host of the same name, and another name of the same host.
            ("net1", here("primary", [10, 9, 0, 2])),
            ("net1", here("", [10, 9, 0, 1])),
        ]
        .iter()
        .filter_map(|(interface, datagram)| answers.take(interface, datagram, DELAY))
        .collect();
        insta::assert_snapshot!(Format::default().render(&Table { columns: &COLUMNS, rows }, true).unwrap(), @r"
        HOST                  ADDRESS          PORT   VERSION     INTERFACE  DELAY
        primary               10.9.0.1         6482   3.6         net0       1.25ms
        primary               10.9.0.2         6482   3.6         net1       1.25ms
        --                    10.9.0.1         6482   3.6         net1       1.25ms
        ");
        assert_eq!(answers.count(), (3, 0));
    }

    #[test]
    fn what_is_no_answer_is_discarded() {
        let mut answers = Answers::default();
        let lookup = Lookup { mac: MacAddr([0, 0x14, 0x4f, 0xf8, 0, 1]), source: None };
        for message in [Message::Lookup(lookup), Message::Taken(lookup), Message::Discover] {
            assert_eq!(answers.take("net0", &datagram(message), DELAY), None, "{message:?}");
        }
        for bytes in [&b""[..], b"hello", &[0; LEN], &here("primary", [10, 9, 0, 1])[..LEN - 1]] {
            assert_eq!(answers.take("net0", bytes, DELAY), None, "{bytes:?}");
        }
        assert_eq!(answers.count(), (0, 0));
    }

    #[test]
    fn a_manager_cannot_control_the_terminal() {
        let message = Manager { version: "3\u{7}", host: "a\u{1b}[2J\nb", address: [10, 9, 0, 1].into(), port: 1 };
        let row = Answers::default().take("net0", &datagram(Message::Here(message)), DELAY).unwrap();
        assert_eq!((&row[0], &row[3]), (&Cell::Text("a?[2J?b".into()), &Cell::Text("3?".into())));
    }

    #[test]
    fn a_flood_of_managers_is_remembered_up_to_a_limit_and_the_rest_counted() {
        let mut answers = Answers::default();
        let flood = || (0..LIMIT as u32 + 5).map(|number| here("forged", number.to_be_bytes()));
        let shown = flood().filter(|datagram| answers.take("net0", datagram, DELAY).is_some()).count();
        assert_eq!((shown, answers.count()), (LIMIT, (LIMIT, 5)));
        assert_eq!(flood().find_map(|datagram| answers.take("net0", &datagram, DELAY)), None);
        assert_eq!(answers.count(), (LIMIT, 10));
    }
}
