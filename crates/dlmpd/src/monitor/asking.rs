//! Asks targets and recognises their answers: ICMP echoes through raw sockets, ARP probes and
//! neighbour solicitations as frames through a port.
//!
//! An answer counts only if it fits a question that is open: an echo by id, sequence number, nonce and
//! sender; the others by the port that they come to and the target that they name.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use dlmp_engine::{PortIndex, Question, QuestionId};
use dlmp_wire::ethernet::Frame;
use dlmp_wire::icmp::Echo;
use dlmp_wire::{MacAddr, arp, ndp};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::clock;
use super::frames::FrameSender;
use crate::sys::{Received, icmp_socket, probe_answer_socket, receive, send_echo, wait_on};

/// Questions that are remembered at a time: those of a large burst.
const REMEMBERED: usize = 4096;

/// The groups that all hosts listen to.
const ALL_HOSTS_V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(224, 0, 0, 1));
const ALL_HOSTS_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));

/// A question, as the monitor sends it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The aggregation that asks.
    pub aggregation: String,
    /// Its name there; none for a multicast echo that looks for hosts.
    pub question: Option<QuestionId>,
    /// Whom it asks.
    pub target: IpAddr,
    /// When it left, by CLOCK_MONOTONIC.
    pub sent: Duration,
    /// Sequence number, for displays.
    pub sequence: u16,
    /// The address that it came from; none for one from a port's own MAC address.
    pub source: Option<IpAddr>,
    /// The port that it left through; none for a multicast echo.
    pub port: Option<PortIndex>,
}

/// An answer to a question.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The question.
    pub asked: Asked,
    /// Who answered.
    pub from: IpAddr,
    /// When the answer came in, by CLOCK_MONOTONIC.
    pub at: Duration,
}

/// The sockets: for ICMP and for answers as frames, IPv4 and IPv6 each.
pub struct Sockets {
    icmp: [AsyncFd<socket2::Socket>; 2],
    answers: [AsyncFd<socket2::Socket>; 2],
}

/// Asks, and knows the questions that are open.
pub struct Asker {
    id: u16,
    sockets: Rc<Sockets>,
    sequence: u16,
    echoes: BTreeMap<u16, (u64, Asked)>,
    /// Questions by port (its index) and own address, oldest first.
    others: VecDeque<(u32, MacAddr, Asked)>,
    /// Answers that fitted no question.
    strange: u64,
}

impl Sockets {
    /// Waits until there is something to read.
    pub async fn readable(&self) {
        let [v4, v6] = &self.icmp;
        let [arp, ndp] = &self.answers;
        tokio::select! {
            _ = v4.readable() => {}
            _ = v6.readable() => {}
            _ = arp.readable() => {}
            _ = ndp.readable() => {}
        }
    }
}

impl Asker {
    /// Opens the sockets.
    ///
    /// # Errors
    /// Those of socket(2): it takes CAP_NET_RAW.
    pub fn open() -> io::Result<Self> {
        let [high, low, ..] = random()?;
        let id = u16::from_be_bytes([high, low]);
        let sockets = Sockets {
            icmp: [wait_on(icmp_socket(false, id)?)?, wait_on(icmp_socket(true, id)?)?],
            answers: [wait_on(probe_answer_socket(false)?)?, wait_on(probe_answer_socket(true)?)?],
        };
        Ok(Self {
            id,
            sockets: Rc::new(sockets),
            sequence: 0,
            echoes: BTreeMap::new(),
            others: VecDeque::new(),
            strange: 0,
        })
    }

    /// Sends an echo from `source`, out of the link of index `link`. Returns what was asked.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub fn echo(&mut self, aggregation: &str, question: Question, (source, link): (IpAddr, u32)) -> io::Result<Asked> {
        let asked = Asked { source: Some(source), ..self.asked(aggregation, Some(question), question.target) };
        self.send_echo(asked, (source, link))
    }

    /// Sends an echo to all hosts on the network of `source`.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub fn discover(&mut self, aggregation: &str, source: IpAddr, link: u32) -> io::Result<()> {
        let group = if source.is_ipv4() { ALL_HOSTS_V4 } else { ALL_HOSTS_V6 };
        let asked = Asked { source: Some(source), ..self.asked(aggregation, None, group) };
        self.send_echo(asked, (source, link)).map(drop)
    }

    /// Asks for a target's address from a port. Returns what was asked; its number is for displays.
    ///
    /// # Errors
    /// Those of sendto(2).
    pub fn address(
        &mut self,
        frames: &FrameSender,
        aggregation: &str,
        question: Question,
        (ifindex, port, vlan): (u32, MacAddr, u16),
    ) -> io::Result<Asked> {
        let asked = self.asked(aggregation, Some(question), question.target);
        match question.target {
            IpAddr::V4(target) => {
                let mut buffer: arp::Buffer = [0; _];
                frames.send(arp::Probe { port, target, vlan }.emit(&mut buffer), ifindex)?;
            }
            IpAddr::V6(target) => {
                let mut buffer: ndp::Buffer = [0; _];
                frames.send(ndp::Solicitation { port, target, vlan }.emit(&mut buffer), ifindex)?;
            }
        }
        if self.others.len() == REMEMBERED {
            self.others.pop_front();
        }
        self.others.push_back((ifindex, port, asked.clone()));
        Ok(asked)
    }

    /// The sockets, to wait on.
    pub fn sockets(&self) -> Rc<Sockets> {
        self.sockets.clone()
    }

    /// Reads everything that is there; returns the answers to open questions.
    pub fn read(&mut self) -> Vec<Answer> {
        let (mut answers, sockets) = (Vec::new(), self.sockets());
        for v6 in [false, true] {
            while let Some(received) = try_read(&sockets.icmp[usize::from(v6)]) {
                let echo = if v6 { Echo::parse_v6(&received.bytes) } else { Echo::parse_v4(&received.bytes) };
                let answer = echo.zip(received.from).and_then(|(echo, from)| self.echo_answer(echo, from, &received));
                self.note(answer, &mut answers);
            }
        }
        for socket in &sockets.answers {
            while let Some(received) = try_read(socket) {
                let answer = self.address_answer(&received);
                self.note(answer, &mut answers);
            }
        }
        answers
    }

    fn note(&mut self, answer: Option<Answer>, answers: &mut Vec<Answer>) {
        match answer {
            Some(answer) => answers.push(answer),
            None => {
                self.strange += 1;
                tracing::debug!(count = self.strange, "an answer fits no question");
            }
        }
    }

    fn send_echo(&mut self, asked: Asked, (source, link): (IpAddr, u32)) -> io::Result<Asked> {
        let nonce = u64::from_ne_bytes(random()?);
        let echo = Echo { id: self.id, sequence: asked.sequence, nonce };
        let (socket, message) = match asked.target {
            IpAddr::V4(_) => (&self.sockets.icmp[0], echo.emit_v4()),
            IpAddr::V6(_) => (&self.sockets.icmp[1], echo.emit_v6()),
        };
        send_echo(socket.get_ref(), &message, source, asked.target, link)?;
        if self.echoes.len() >= REMEMBERED {
            self.echoes.pop_first();
        }
        self.echoes.insert(echo.sequence, (nonce, asked.clone()));
        Ok(asked)
    }

    fn asked(&mut self, aggregation: &str, question: Option<Question>, target: IpAddr) -> Asked {
        self.sequence = self.sequence.wrapping_add(1);
        Asked {
            aggregation: aggregation.to_owned(),
            question: question.map(|question| question.id),
            target,
            sent: clock::now(),
            sequence: self.sequence,
            source: None,
            port: question.map(|question| question.port),
        }
    }

    fn echo_answer(&mut self, echo: Echo, from: IpAddr, received: &Received) -> Option<Answer> {
        let (nonce, asked) = self.echoes.get(&echo.sequence)?;
        if echo.id != self.id || *nonce != echo.nonce || (asked.question.is_some() && asked.target != from) {
            return None;
        }
        let asked = asked.clone();
        // Many hosts answer one multicast echo.
        if asked.question.is_some() {
            self.echoes.remove(&echo.sequence);
        }
        Some(Answer { asked, from, at: clock::from_stamp(received.stamp) })
    }

    fn address_answer(&mut self, received: &Received) -> Option<Answer> {
        let (frame, at) = (Frame::parse(&received.bytes).ok()?, clock::from_stamp(received.stamp));
        let newest = self.others.iter().enumerate().rev().find_map(|(place, (ifindex, port, asked))| {
            if *ifindex != received.ifindex || asked.sent > at {
                return None;
            }
            let from = match asked.target {
                IpAddr::V4(_) => IpAddr::V4(arp::answer(&frame, *port)?),
                IpAddr::V6(_) => IpAddr::V6(ndp::answer(&frame, *port)?),
            };
            (from == asked.target).then_some(place)
        })?;
        let (_, _, asked) = self.others.remove(newest)?;
        Some(Answer { from: asked.target, asked, at })
    }
}

/// Reads one packet, if there is one; afterwards the socket is waited on again.
fn try_read(socket: &AsyncFd<socket2::Socket>) -> Option<Received> {
    let received = socket.try_io(Interest::READABLE, receive);
    if let Err(error) = &received
        && error.kind() != io::ErrorKind::WouldBlock
    {
        tracing::debug!(%error, "an answer could not be read");
    }
    received.ok()
}

fn random() -> io::Result<[u8; 8]> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}
