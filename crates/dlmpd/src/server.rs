//! The control socket's connections: each is served by a task of its own, so that a client that waits for
//! something, or that does not read what is streamed to it, holds nobody else up.

use std::convert::Infallible;
use std::io;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use zlink::ReadyListener;

use crate::control::Control;
use crate::monitor::Monitor;
use crate::service::Service;
use crate::watch::Client;

/// How long nobody is accepted after that failed, such as for too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// The listening socket and those who are served.
pub struct Server {
    listener: UnixListener,
    connections: JoinSet<()>,
    control: Rc<Mutex<Control>>,
    monitor: Monitor,
    attachment: &'static str,
}

impl Server {
    /// Listens; nobody is accepted before [`run`](Self::run).
    ///
    /// # Errors
    /// The socket cannot be waited on.
    pub fn new(
        listener: StdUnixListener,
        control: Rc<Mutex<Control>>,
        monitor: Monitor,
        attachment: &'static str,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        Ok(Self { listener, connections: JoinSet::new(), control, monitor, attachment })
    }

    /// Accepts and serves, without end.
    pub async fn run(&mut self) -> Infallible {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    if let Err(error) = accepted.and_then(|(stream, _)| self.serve(stream)) {
                        tracing::warn!(%error, "a connection to the control socket is not served");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                Some(_) = self.connections.join_next() => {}
            }
        }
    }

    fn serve(&mut self, stream: UnixStream) -> io::Result<()> {
        let client = Rc::new(Client::new(&stream)?);
        let stream = zlink::tokio::unix::Stream::try_from(stream).map_err(io::Error::other)?;
        let (control, monitor) = (self.control.clone(), self.monitor.clone());
        let service = Service { control, monitor, attachment: self.attachment, client };
        self.connections.spawn_local(async move {
            if let Err(error) = zlink::Server::new(ReadyListener::new(stream), service).run().await {
                tracing::debug!(%error, "a connection to the control socket broke");
            }
        });
        Ok(())
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
