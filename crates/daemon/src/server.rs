//! The control socket's connections: each is served by a task of its own, so that a client that
//! waits for something, or that does not read what is streamed to it, holds nobody else up.

use std::convert::Infallible;
use std::io::{self, Write};
use std::time::Duration;

use serde_json::json;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::control_socket::Listeners;
use crate::crowd::Crowd;
use crate::peer::Peer;
use crate::permission::{Caller, Denied, Way};
use crate::stream::Stream;

/// How long nobody is accepted after that failed, such as for too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// How often it is looked whether sockets that are missing can be had.
const LOOK: Duration = Duration::from_secs(1);

/// The listening sockets and those who are served.
pub struct Server {
    listeners: Listeners,
    connections: JoinSet<()>,
    crowd: Crowd,
}

impl Server {
    /// Nobody is accepted before [`run`](Self::run).
    #[must_use]
    pub fn new(listeners: Listeners) -> Self {
        let crowd = Crowd::new(listeners.socket.daemon);
        Self { listeners, connections: JoinSet::new(), crowd }
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
                    let accepted = accepted.and_then(|stream| self.admit(stream, way));
                    match accepted.and_then(|stream| stream.map(&serve).transpose()) {
                        // Too many of this user's are there.
                        Ok(None) => {}
                        Ok(Some(served)) => {
                            self.connections.spawn_local(async move {
                                if let Err(error) = served.await {
                                    tracing::debug!(%error, "a connection to the control socket broke");
                                }
                            });
                        }
                        Err(error) => {
                            self.crowd.warn(&format!("a connection is not served: {error}"));
                            tokio::time::sleep(PAUSE).await;
                        }
                    }
                }
                Some(_) = self.connections.join_next() => {}
                _ = look.tick() => self.listeners.keep(),
            }
        }
    }

    fn admit(&self, stream: UnixStream, way: Way) -> io::Result<Option<Stream>> {
        let caller = Caller::new(&Peer::of(&stream)?, way, self.listeners.place.clone());
        match self.crowd.admit(&caller) {
            Ok(seat) => Stream::new(stream, caller, seat).map(Some),
            Err(Denied { reason, remedy }) => {
                // As the answer to what it is about to ask; whoever reads nothing is not waited
                // for.
                let error = format!("{}.NotPermitted", self.listeners.socket.interface);
                let answer = json!({ "error": error, "parameters": { "reason": reason, "remedy": remedy } });
                let _ = stream.into_std().and_then(|mut stream| stream.write_all(format!("{answer}\0").as_bytes()));
                Ok(None)
            }
        }
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
