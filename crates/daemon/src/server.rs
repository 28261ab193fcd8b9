//! The control socket's connections: each is served by a task of its own, so that a client that
//! waits for something, or that does not read what is streamed to it, holds nobody else up.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::control_socket::Listeners;
use crate::peer::Peer;
use crate::permission::{Caller, Way};
use crate::stream::Stream;

/// How long nobody is accepted after that failed, such as for too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// How often it is looked whether sockets that are missing can be had.
const LOOK: Duration = Duration::from_secs(1);

/// The listening sockets and those who are served.
pub struct Server {
    listeners: Listeners,
    connections: JoinSet<()>,
}

impl Server {
    /// Nobody is accepted before [`run`](Self::run).
    #[must_use]
    pub fn new(listeners: Listeners) -> Self {
        Self { listeners, connections: JoinSet::new() }
    }

    /// Accepts, without end, and has `serve` serve each connection.
    pub async fn run<F>(&mut self, serve: impl Fn(Stream) -> io::Result<F>) -> Infallible
    where
        F: Future<Output = zlink::Result<()>> + 'static,
    {
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                (way, accepted) = self.listeners.accept() => {
                    match accepted.and_then(|stream| self.known(stream, way)).and_then(&serve) {
                        Ok(served) => {
                            self.connections.spawn_local(async move {
                                if let Err(error) = served.await {
                                    tracing::debug!(%error, "a connection to the control socket broke");
                                }
                            });
                        }
                        Err(error) => {
                            tracing::warn!(%error, "a connection to the control socket is not served");
                            tokio::time::sleep(PAUSE).await;
                        }
                    }
                }
                Some(_) = self.connections.join_next() => {}
                _ = look.tick() => self.listeners.keep(),
            }
        }
    }

    fn known(&self, stream: UnixStream, way: Way) -> io::Result<Stream> {
        let caller = Caller::new(&Peer::of(&stream)?, way, self.listeners.place.clone());
        Stream::new(stream, caller)
    }

    /// Serves nobody any more: what was not begun is not carried out.
    pub fn stop(&mut self) {
        self.connections.abort_all();
    }

    /// Closes the sockets and every connection.
    pub async fn end(mut self) {
        self.connections.shutdown().await;
    }
}
