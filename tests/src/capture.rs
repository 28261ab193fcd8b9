//! Seeing every frame of a namespace, as tcpdump does (packet(7)).

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};

use dlmp_testbed::Namespace;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
};

/// A frame that the link itself sent (PACKET_OUTGOING, linux/if_packet.h).
const OUTGOING: u8 = 4;
/// Receive buffer in bytes: more than any test sends.
const BUFFER: usize = 4 << 20;

/// Keeps a copy of every frame on every link of a namespace, from its making on.
#[derive(Debug)]
pub struct Capture {
    namespace: Namespace,
    socket: OwnedFd,
    frames: Vec<Frame>,
}

/// How often a link received and sent a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copies {
    /// Copies that came in.
    pub received: usize,
    /// Copies that went out.
    pub sent: usize,
}

#[derive(Debug)]
struct Frame {
    link: usize,
    outgoing: bool,
    bytes: Vec<u8>,
}

impl Capture {
    /// Begins to capture.
    pub fn new(namespace: &Namespace) -> Self {
        let open = || socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_NONBLOCK, SockProtocol::EthAll);
        let socket = namespace.enter(open).unwrap().unwrap();
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).unwrap();
        Self { namespace: namespace.clone(), socket, frames: Vec::new() }
    }

    /// How often `link` received and sent a frame that contains `mark`, until now.
    pub fn copies(&mut self, link: &str, mark: &str) -> Copies {
        self.drain();
        let name = CString::new(link).unwrap();
        let index = self.namespace.enter(|| if_nametoindex(name.as_c_str())).unwrap().unwrap() as usize;
        let mut copies = Copies::default();
        for frame in self.frames.iter().filter(|frame| frame.link == index && contains(&frame.bytes, mark)) {
            let count = if frame.outgoing { &mut copies.sent } else { &mut copies.received };
            *count += 1;
        }
        copies
    }

    fn drain(&mut self) {
        let mut bytes = [0; 2048];
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut bytes) {
                Ok((length, Some(from))) => self.frames.push(Frame {
                    link: from.ifindex(),
                    outgoing: from.pkttype() == OUTGOING,
                    bytes: bytes[..length].to_vec(),
                }),
                Ok((_, None)) => panic!("a frame without a link"),
                Err(Errno::EAGAIN) => return,
                Err(error) => panic!("cannot capture: {error}"),
            }
        }
    }
}

fn contains(bytes: &[u8], mark: &str) -> bool {
    bytes.windows(mark.len()).any(|window| window == mark.as_bytes())
}
