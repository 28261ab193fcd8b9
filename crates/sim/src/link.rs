//! Links: what they join, and what they do to frames.

use std::time::Duration;

/// Names a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkId(pub(crate) usize);

/// A direction of a link, seen from the end that was named first when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Away from the first end.
    Forth,
    /// Towards the first end.
    Back,
}

/// Something that has links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Switch(usize),
    Host(usize),
    /// A port of the host under test.
    Port(u8),
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) ends: [Node; 2],
    /// Without a carrier both ends know that it is down.
    pub(crate) carrier: bool,
    /// By direction: silently cut, and the share of frames that is lost.
    pub(crate) cut: [bool; 2],
    pub(crate) loss: [f64; 2],
    pub(crate) delay: [Duration; 2],
    /// Up to this is added to the delay, at random; frames keep their order.
    pub(crate) jitter: [Duration; 2],
    /// When the last frame arrives, by direction.
    pub(crate) busy: [Duration; 2],
}

impl Link {
    pub(crate) fn new(one: Node, other: Node) -> Self {
        Self {
            ends: [one, other],
            carrier: true,
            cut: [false; 2],
            loss: [0.0; 2],
            delay: [Duration::from_micros(20); 2],
            jitter: [Duration::from_micros(10); 2],
            busy: [Duration::ZERO; 2],
        }
    }
}
