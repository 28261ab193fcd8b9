//! Streams of news to clients, which end when the client goes away.

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use futures_util::{Stream, StreamExt};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use zlink::Reply;

/// The client at the other end of a connection.
#[derive(Debug)]
pub struct Client(UnixStream);

impl Client {
    /// The client of a connection, which somebody else reads from and writes to.
    ///
    /// # Errors
    /// Those of dup(2) and epoll_ctl(2).
    pub fn new(stream: &impl AsFd) -> io::Result<Self> {
        let own = std::os::unix::net::UnixStream::from(stream.as_fd().try_clone_to_owned()?);
        UnixStream::from_std(own).map(Self)
    }

    /// Waits until the client is gone. Reading would tell as well, but nobody reads while news are
    /// streamed, and writing would not as long as there is none.
    async fn gone(self: Rc<Self>) {
        // Such a connection has no urgent data: the only thing to come is its end, which epoll tells of always
        // (EPOLLHUP, epoll_ctl(2)). An error says that it cannot be waited on, and then there is no use in it.
        let _ = self.0.ready(Interest::PRIORITY).await;
    }
}

/// News as replies, until the client goes away. One that is too slow misses some, and is told how many.
pub fn watch<N: Clone + Send + 'static, R: 'static>(
    news: Receiver<N>,
    client: Rc<Client>,
    reply: impl Fn(Option<N>, i64) -> R + 'static,
) -> impl Stream<Item = Reply<R>> + Unpin {
    let replies = futures_util::stream::unfold((news, reply), |(mut news, reply)| async move {
        let next = match news.recv().await {
            Ok(one) => reply(Some(one), 0),
            Err(RecvError::Lagged(missed)) => reply(None, missed.cast_signed()),
            Err(RecvError::Closed) => return None,
        };
        Some((Reply::new(Some(next)).set_continues(Some(true)), (news, reply)))
    });
    Box::pin(replies.take_until(client.gone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::broadcast;

    fn stream(backlog: usize) -> (broadcast::Sender<u32>, UnixStream, impl Stream<Item = (Option<u32>, i64)> + Unpin) {
        let news = broadcast::Sender::new(backlog);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let client = Rc::new(Client::new(&ours).unwrap());
        let replies = watch(news.subscribe(), client, |one, missed| (one, missed));
        (news, theirs, replies.map(|reply| reply.into_parameters().unwrap()))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_slow_client_misses_news_and_is_told_how_many() {
        let (news, _client, mut replies) = stream(4);
        for one in 0..10 {
            news.send(one).unwrap();
        }
        assert_eq!(replies.next().await, Some((None, 6)));
        assert_eq!(replies.next().await, Some((Some(6), 0)));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_stream_without_news_ends_when_the_client_goes_away() {
        let (news, client, mut replies) = stream(4);
        news.send(1).unwrap();
        assert_eq!(replies.next().await, Some((Some(1), 0)));
        // It is waited for before it goes.
        let (end, ()) = tokio::join!(replies.next(), async {
            tokio::task::yield_now().await;
            drop(client);
        });
        assert_eq!(end, None);
        drop(replies);
        assert_eq!(news.receiver_count(), 0);
    }
}
