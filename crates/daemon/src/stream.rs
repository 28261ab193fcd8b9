//! A connection to the control socket, as zlink wants it, which knows who asks, and takes no
//! message that is too long or does not come to its end: zlink would wait for ever, and for 100
//! MiB.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};
use zlink::connection::Socket;
use zlink::connection::socket::ReadResult;
use zlink::tokio::unix;

use crate::crowd::Seat;
use crate::permission::{Caller, HasCaller};

/// Bytes of a message, at most, of those who may only look and of those who may change things.
const LOOKS: usize = 64 << 10;
const CHANGES: usize = 1 << 20;
/// How long a message may take from its first byte to its last.
const WHOLE: Duration = Duration::from_secs(5);

/// An accepted connection.
#[derive(Debug)]
pub struct Stream {
    inner: unix::Stream,
    caller: Caller,
    seat: Seat,
}

impl Stream {
    pub(crate) fn new(stream: UnixStream, caller: Caller, seat: Seat) -> io::Result<Self> {
        Ok(Self { inner: unix::Stream::try_from(stream).map_err(io::Error::other)?, caller, seat })
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl Socket for Stream {
    type ReadHalf = ReadHalf;
    type WriteHalf = <unix::Stream as Socket>::WriteHalf;

    const CAN_TRANSFER_FDS: bool = true;

    fn split(self) -> (Self::ReadHalf, Self::WriteHalf) {
        let (inner, write) = self.inner.split();
        let most = if self.caller.may_change() { CHANGES } else { LOOKS };
        (ReadHalf { inner, caller: self.caller, seat: self.seat, message: Message::new(most) }, write)
    }
}

/// Its receiving half.
#[derive(Debug)]
pub struct ReadHalf {
    inner: <unix::Stream as Socket>::ReadHalf,
    caller: Caller,
    seat: Seat,
    message: Message,
}

impl HasCaller for ReadHalf {
    fn caller(&self) -> &Caller {
        &self.caller
    }
}

impl ReadHalf {
    fn refuse(&self, kind: io::ErrorKind, what: String) -> zlink::Error {
        self.seat.warn(&format!("{what}; the connection is closed"));
        io::Error::new(kind, what).into()
    }
}

impl zlink::connection::socket::ReadHalf for ReadHalf {
    async fn read(&mut self, buffer: &mut [u8]) -> zlink::Result<ReadResult> {
        let read = self.inner.read(buffer);
        let result = match self.message.deadline {
            None => read.await?,
            Some(deadline) => match timeout_at(deadline, read).await {
                Ok(result) => result?,
                Err(_) => {
                    let what = format!("a message was not whole within {} s", WHOLE.as_secs());
                    return Err(self.refuse(io::ErrorKind::TimedOut, what));
                }
            },
        };
        if !self.message.goes_on(&buffer[..result.bytes_read()], Instant::now()) {
            let what = format!("a message is longer than {} KiB", self.message.most >> 10);
            return Err(self.refuse(io::ErrorKind::InvalidData, what));
        }
        Ok(result)
    }
}

/// The message that is being received.
#[derive(Debug)]
struct Message {
    /// Bytes that it may have.
    most: usize,
    /// Bytes that it has so far.
    bytes: usize,
    /// When it is to be whole; absent while there is none.
    deadline: Option<Instant>,
}

impl Message {
    fn new(most: usize) -> Self {
        Self { most, bytes: 0, deadline: None }
    }

    /// Takes note of what was received: messages end with a zero byte. False when the last one is
    /// too long.
    fn goes_on(&mut self, received: &[u8], now: Instant) -> bool {
        let rest = match received.iter().rposition(|byte| *byte == 0) {
            Some(end) => {
                (self.bytes, self.deadline) = (0, None);
                &received[end + 1..]
            }
            None => received,
        };
        self.bytes += rest.len();
        if self.bytes > 0 {
            self.deadline.get_or_insert(now + WHOLE);
        }
        self.bytes <= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_a_length_and_a_time_that_begin_with_it() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let mut message = Message::new(8);
        assert!(message.goes_on(b"1234", start));
        assert!(message.goes_on(b"5678", later), "as long as it may be");
        assert_eq!(message.deadline, Some(start + WHOLE));
        assert!(message.goes_on(b"\0one\0two\0", later));
        assert_eq!((message.bytes, message.deadline), (0, None), "idle");
        assert!(message.goes_on(b"end\0begin", later));
        assert_eq!((message.bytes, message.deadline), (5, Some(later + WHOLE)));
        assert!(!message.goes_on(b"6789", later));
    }
}
