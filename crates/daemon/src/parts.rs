//! Long lists as replies of a few entries each.

use futures_util::Stream;
use zlink::Reply;

/// Entries in one reply. The time that zlink takes to write a reply grows with the square of its length, and
/// meanwhile nobody is served: it begins anew with each 256 bytes that do not fit (`BUFFER_SIZE`).
const EACH: usize = 32;

/// A list as replies: one at least, none without a list.
pub fn in_parts<T: 'static, R: 'static>(
    list: Option<Vec<T>>,
    reply: impl Fn(Vec<T>) -> R + 'static,
) -> impl Stream<Item = Reply<R>> + Unpin {
    let mut parts = Vec::new();
    if let Some(list) = list {
        parts.push(Vec::new());
        for entry in list {
            match parts.last_mut() {
                Some(part) if part.len() < EACH => part.push(entry),
                _ => parts.push(vec![entry]),
            }
        }
    }
    let last = parts.len().saturating_sub(1);
    let reply = move |(number, part): (usize, Vec<T>)| Reply::new(Some(reply(part))).set_continues(Some(number < last));
    futures_util::stream::iter(parts.into_iter().enumerate().map(reply))
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_list_comes_in_parts_of_which_the_last_says_so() {
        for count in [0, 1, EACH, EACH + 1, 10 * EACH] {
            let all: Vec<usize> = (0..count).collect();
            let replies: Vec<Reply<Vec<usize>>> = in_parts(Some(all.clone()), |part| part).collect().await;
            let (last, before) = replies.split_last().unwrap();
            assert!(before.iter().all(|reply| reply.continues() == Some(true)));
            assert_eq!(last.continues(), Some(false));
            let parts = replies.into_iter().flat_map(|reply| reply.into_parameters().unwrap());
            assert_eq!(parts.collect::<Vec<_>>(), all);
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn without_a_list_there_is_no_reply() {
        assert_eq!(in_parts(None::<Vec<usize>>, |part| part).count().await, 0);
    }
}
