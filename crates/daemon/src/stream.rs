//! A connection to the control socket, as zlink wants it, which knows who asks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use tokio::net::UnixStream;
use zlink::connection::Socket;
use zlink::connection::socket::ReadResult;
use zlink::tokio::unix;

use crate::permission::{Caller, HasCaller};

/// An accepted connection.
#[derive(Debug)]
pub struct Stream {
    inner: unix::Stream,
    caller: Caller,
}

impl Stream {
    pub(crate) fn new(stream: UnixStream, caller: Caller) -> io::Result<Self> {
        Ok(Self { inner: unix::Stream::try_from(stream).map_err(io::Error::other)?, caller })
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
        (ReadHalf { inner, caller: self.caller }, write)
    }
}

/// Its receiving half.
#[derive(Debug)]
pub struct ReadHalf {
    inner: <unix::Stream as Socket>::ReadHalf,
    caller: Caller,
}

impl HasCaller for ReadHalf {
    fn caller(&self) -> &Caller {
        &self.caller
    }
}

impl zlink::connection::socket::ReadHalf for ReadHalf {
    async fn read(&mut self, buffer: &mut [u8]) -> zlink::Result<ReadResult> {
        self.inner.read(buffer).await
    }
}
