//! The control socket's connections: each is served by a task of its own, so that a client that waits for
//! something, or that does not read what is streamed to it, holds nobody else up.

use std::convert::Infallible;
use std::io;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

/// How long nobody is accepted after that failed, such as for too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// The listening socket and those who are served.
pub struct Server {
    listener: UnixListener,
    connections: JoinSet<()>,
}

impl Server {
    /// Listens; nobody is accepted before [`run`](Self::run).
    ///
    /// # Errors
    /// The socket cannot be waited on.
    pub fn new(listener: StdUnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { listener: UnixListener::from_std(listener)?, connections: JoinSet::new() })
    }

    /// Accepts, without end, and has `serve` serve each connection.
    pub async fn run<F>(&mut self, serve: impl Fn(UnixStream) -> io::Result<F>) -> Infallible
    where
        F: Future<Output = zlink::Result<()>> + 'static,
    {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted.and_then(|(stream, _)| serve(stream)) {
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
                },
                Some(_) = self.connections.join_next() => {}
            }
        }
    }

    /// Serves nobody any more: what was not begun is not carried out.
    pub fn stop(&mut self) {
        self.connections.abort_all();
    }

    /// Closes the socket and every connection.
    pub async fn end(mut self) {
        self.connections.shutdown().await;
    }
}
