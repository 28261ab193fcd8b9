//! The timeline picture for the terminal, 79 columns wide.

use std::ops::Range;
use std::time::Duration;

use dlmp_testbed::{Event, PortTraffic, Record, Stream};

/// Columns of a row's name.
const NAME: usize = 15;
/// Columns of a row's cells.
const CELLS: u32 = 64;
/// The least distance of two labels on the time axis, in columns.
const LABEL: i64 = 8;
/// Distances of two labels on the time axis, in milliseconds.
const STEPS: [i64; 13] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];
/// Columns of the close view before the first loss.
const LEAD: u32 = 12;
/// The ports of the guest.
const PORTS: [&str; 2] = ["net0", "net1"];

/// The characters of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Block elements and arrows.
    Unicode,
    /// Plain ASCII.
    Ascii,
}

impl Style {
    /// Unicode where the locale says UTF-8: the first of LC_ALL, LC_CTYPE and LANG that is set
    /// decides (locale(7)).
    pub fn from_environment() -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        if locale.contains("utf-8") || locale.contains("utf8") { Self::Unicode } else { Self::Ascii }
    }

    /// An arrow from a sender to a receiver.
    pub fn arrow(self) -> &'static str {
        match self {
            Self::Unicode => "\u{2192}",
            Self::Ascii => "->",
        }
    }

    /// Marks an event.
    fn mark(self) -> char {
        match self {
            Self::Unicode => '\u{25bc}',
            Self::Ascii => 'v',
        }
    }

    /// Bars from one eighth to full.
    fn bars(self) -> [char; 8] {
        match self {
            Self::Unicode => {
                ['\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}']
            }
            Self::Ascii => ['.', ':', '-', '=', '+', '*', '%', '#'],
        }
    }

    /// A cell in which every packet was lost.
    fn lost(self) -> char {
        match self {
            Self::Unicode => '\u{d7}',
            Self::Ascii => 'x',
        }
    }

    /// A bar of `eighths`, 0 to 8; blank at 0.
    fn bar(self, eighths: u64) -> char {
        let index = usize::try_from(eighths).unwrap_or(8).checked_sub(1);
        index.map_or(' ', |index| self.bars()[index.min(7)])
    }
}

/// The whole flow, and a close view of the first loss, or of the first event if nothing was lost.
pub fn pictures(record: &Record, style: Style) -> [String; 2] {
    let sent = record.forth.sent.iter().chain(&record.back.sent);
    let end = sent.max().copied().unwrap_or_default() + record.forth.interval;
    let whole = Window { from: Duration::ZERO, cell: end / CELLS, origin: Duration::ZERO };

    let outages = [&record.forth, &record.back].map(|way| way.total().outage);
    let outages = || outages.iter().flatten();
    let event = record.events.first();
    let began = event.map_or(Duration::ZERO, |event| event.began);
    let start = outages().map(|outage| outage.start).min().unwrap_or(began);
    let longest = outages().map(|outage| outage.length).max().unwrap_or_default();
    // A cell is whole milliseconds, and the outage takes half of the columns at most.
    let milliseconds = longest.as_secs_f64() * 1000.0 / f64::from(CELLS / 2);
    let cell = Duration::from_millis(1).mul_f64(milliseconds.ceil().max(1.0));
    let close = Window { from: start.saturating_sub(cell * LEAD), cell, origin: began };

    let label = event.map_or("the start", |event| &event.label);
    [
        format!("The whole time:\n{}", draw(record, &whole, style)),
        format!(
            "Close view, {} ms a column, time since \"{label}\":\n{}\n{}",
            cell.as_millis(),
            draw(record, &close, style),
            legend(style)
        ),
    ]
}

fn legend(style: Style) -> String {
    let [full, lost] = [style.bar(8), style.lost()];
    format!(
        "{full} every packet of the column arrived, {lost} none did, 2 some arrived twice.\n\
         The rows of the ports show which of them carried the packets.\n"
    )
}

/// The part of a flow that a picture shows.
struct Window {
    from: Duration,
    /// Time that a column stands for.
    cell: Duration,
    /// What the labels of the time axis count from.
    origin: Duration,
}

impl Window {
    /// The column of a moment.
    fn column(&self, at: Duration) -> Option<usize> {
        let offset = at.checked_sub(self.from)?;
        let column = offset.as_nanos() / self.cell.as_nanos().max(1);
        (column < u128::from(CELLS)).then(|| usize::try_from(column).ok())?
    }

    /// The moments of each column.
    fn cells(&self) -> impl Iterator<Item = Range<Duration>> {
        (0..CELLS).map(|index| self.from + self.cell * index..self.from + self.cell * (index + 1))
    }
}

fn draw(record: &Record, window: &Window, style: Style) -> String {
    let arrow = style.arrow();
    let port_rows = port_rows(&record.ports, window, style);
    let ports = PORTS.map(|port| format!("through {port}"));
    let rows = [
        (String::new(), axis(window)),
        (String::new(), event_row(&record.events, window, style)),
        (format!("ldg6 {arrow} domain"), stream_row(&record.forth, window, style)),
        (format!("domain {arrow} ldg6"), stream_row(&record.back, window, style)),
    ];
    let rows = rows.into_iter().chain(ports.into_iter().zip(port_rows));
    let lines = rows.map(|(name, cells)| format!("{name:<NAME$}{cells}").trim_end().to_owned() + "\n");
    lines.collect()
}

/// The labels of the time axis, each beginning in the column of its moment.
fn axis(window: &Window) -> String {
    let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    let cell = micros(window.cell).max(1);
    let step = STEPS.into_iter().map(|step| step * 1000).find(|step| step / cell >= LABEL);
    let step = step.unwrap_or(LABEL * cell);
    let first = micros(window.from) - micros(window.origin);
    let mut cells = blank();
    // Multiples of the step, so that the labels are round numbers.
    for time in (first / step * step..).step_by(step as usize).skip_while(|&time| time < first) {
        let Ok(column @ 0..CELLS) = u32::try_from((time - first) / cell) else {
            break;
        };
        let label = match step {
            ..1_000_000 => format!("{} ms", time / 1000),
            _ => format!("{} s", time / 1_000_000),
        };
        write(&mut cells, column as usize, &label);
    }
    cells.into_iter().collect()
}

/// A mark in the column of each event, with its name where there is room.
fn event_row(events: &[Event], window: &Window, style: Style) -> String {
    let mut cells = blank();
    for event in events {
        if let Some(column) = window.column(event.began) {
            write(&mut cells, column, &format!("{} {}", style.mark(), event.label));
            cells[column] = style.mark();
        }
    }
    cells.into_iter().collect()
}

/// Which part of the packets sent in each column arrived.
fn stream_row(stream: &Stream, window: &Window, style: Style) -> String {
    let mut columns = [Column::default(); CELLS as usize];
    for (&sent, fate) in stream.sent.iter().zip(stream.fates()) {
        if let Some(index) = window.column(sent) {
            columns[index].sent += 1;
            columns[index].arrived += u64::from(fate.copies > 0);
            columns[index].duplicated |= fate.copies > 1;
        }
    }
    columns.into_iter().map(|column| column.draw(style)).collect()
}

/// What became of the packets that were sent in one column.
#[derive(Debug, Clone, Copy, Default)]
struct Column {
    sent: u64,
    arrived: u64,
    duplicated: bool,
}

impl Column {
    /// A full bar means that nothing was lost, whatever the rounding.
    fn draw(self, style: Style) -> char {
        match self {
            Self { duplicated: true, .. } => '2',
            Self { sent: 0, .. } => ' ',
            Self { arrived: 0, .. } => style.lost(),
            Self { sent, arrived, .. } if arrived == sent => style.bar(8),
            Self { sent, arrived, .. } => style.bar((arrived * 8 / sent).clamp(1, 7)),
        }
    }
}

/// Each port's share of the packets in each column, both directions together.
fn port_rows(ports: &PortTraffic, window: &Window, style: Style) -> [String; 2] {
    let mut rows = [String::new(), String::new()];
    for cell in window.cells() {
        let counts = PORTS.map(|port| ports.packets(port, cell.clone()));
        let total = counts.iter().sum::<u64>().max(1);
        for (row, count) in rows.iter_mut().zip(counts) {
            row.push(style.bar((count * 8 + total / 2) / total));
        }
    }
    rows
}

fn blank() -> Vec<char> {
    vec![' '; CELLS as usize]
}

/// Writes a text into a row of cells, unless it does not fit.
fn write(cells: &mut [char], column: usize, text: &str) {
    if column + text.chars().count() <= cells.len() {
        for (cell, letter) in cells[column..].iter_mut().zip(text.chars()) {
            *cell = letter;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dlmp_testbed::{Arrival, Sample};

    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// A second of traffic both ways. In the first direction 30 packets after 500 ms are lost and
    /// one arrives twice at 800 ms; `net0` carries everything before, `net1` after.
    fn record() -> Record {
        let stream = |lost: Range<usize>, twice: &[usize]| {
            let arriving = (0..1000).filter(|sequence| !lost.contains(sequence));
            let arrivals = arriving.chain(twice.iter().copied());
            Stream {
                interval: ms(1),
                sent: (0..1000).map(ms).collect(),
                arrivals: arrivals.map(|sequence| Arrival { sequence, at: ms(sequence as u64) }).collect(),
            }
        };
        let samples = (0..1000).map(|at| {
            let (net0, net1) = if at < 505 { (2 * at, 0) } else { (1010, 2 * (at - 505)) };
            Sample { at: ms(at), packets: BTreeMap::from([("net0".to_owned(), net0), ("net1".to_owned(), net1)]) }
        });
        Record {
            forth: stream(505..535, &[800]),
            back: stream(0..0, &[]),
            events: vec![Event { label: "it breaks".into(), began: ms(500), done: ms(501) }],
            ports: PortTraffic { samples: samples.collect() },
        }
    }

    const WHOLE: &str = "\
The whole time:
               0 ms        200 ms       400 ms       600 ms       800 ms
                                               v it breaks
ldg6 -> domain ################################:x*################2############
domain -> ldg6 ################################################################
through net0   ################################-
through net1                                   +###############################
";

    #[test]
    fn the_whole_picture_shows_losses_duplicates_events_and_ports() {
        let [whole, _] = pictures(&record(), Style::Ascii);
        assert_eq!(whole, WHOLE, "\n{whole}");
    }

    #[test]
    fn the_close_view_shows_each_millisecond_around_the_first_loss() {
        let [_, close] = pictures(&record(), Style::Ascii);
        let rows: Vec<_> = close.lines().collect();
        assert_eq!(rows[0], "Close view, 1 ms a column, time since \"it breaks\":");
        assert_eq!(rows[1].trim_start(), "0 ms      10 ms     20 ms     30 ms     40 ms     50 ms");
        let expected = format!("ldg6 -> domain {}{}{}", "#".repeat(12), "x".repeat(30), "#".repeat(22));
        assert_eq!(rows[3], expected);
    }

    #[test]
    fn the_mark_of_a_late_event_is_there_without_its_name() {
        let mut record = record();
        record.events[0].began = ms(999);
        let [whole, _] = pictures(&record, Style::Ascii);
        assert!(whole.lines().nth(2).unwrap().ends_with(" v"), "{whole}");
    }

    #[test]
    fn an_outage_of_any_length_fits_into_the_close_view() {
        let mut record = record();
        record.forth.arrivals.retain(|arrival| !(505..905).contains(&arrival.sequence));
        let [_, close] = pictures(&record, Style::Ascii);
        assert!(close.starts_with("Close view, 13 ms a column"), "{close}");
    }

    #[test]
    fn a_single_lost_packet_is_visible_in_the_whole_picture() {
        let mut record = record();
        record.forth = record.back.clone();
        record.back.arrivals.remove(700);
        let [whole, _] = pictures(&record, Style::Ascii);
        let row = whole.lines().find(|row| row.starts_with("domain -> ldg6")).unwrap();
        assert_eq!(row.matches('%').count(), 1, "{row}");
    }

    #[test]
    fn every_line_fits_into_80_columns_in_both_styles() {
        for style in [Style::Ascii, Style::Unicode] {
            for picture in pictures(&record(), style) {
                assert!(picture.lines().all(|line| line.chars().count() < 80), "{picture}");
            }
        }
    }

    #[test]
    fn plain_ascii_is_plain_ascii() {
        assert!(pictures(&record(), Style::Ascii).iter().all(|picture| picture.is_ascii()));
    }
}
