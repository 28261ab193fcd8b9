//! Asking the kernel: for one object, all of a kind, or a change.
//!
//! The crate's own ways to ask are not used for this: a single answer that it cannot read would
//! never end the wait, and it does not tell when a list changed while the kernel wrote it.

use std::io;

use futures_util::StreamExt;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;

use crate::Netlink;
use crate::error::{Error, Result};

/// How often to ask for a list that changes all the time.
const DUMP_ATTEMPTS: usize = 20;

impl Netlink {
    /// Asks for one object.
    pub(crate) async fn get(&self, request: RouteNetlinkMessage, what: &str) -> Result<RouteNetlinkMessage> {
        // The acknowledgement ends the wait even if the object before it could not be read.
        let answer = self.exchange(request, NLM_F_ACK, what).await?;
        answer
            .objects
            .into_iter()
            .next()
            .ok_or_else(|| Error::new(what, io::Error::other("the kernel's answer was not understood")))
    }

    /// Asks for all objects of a kind, again if the list changed while the kernel wrote it: such a
    /// list can lack objects that were there all the time.
    pub(crate) async fn dump(&self, request: RouteNetlinkMessage, what: &str) -> Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..DUMP_ATTEMPTS {
            let answer = self.exchange(request.clone(), NLM_F_DUMP, what).await?;
            if !answer.interrupted {
                return Ok(answer.objects);
            }
        }
        Err(Error::new(what, io::Error::other("the list keeps changing; try again")))
    }

    /// Asks for a change.
    pub(crate) async fn request(&self, request: RouteNetlinkMessage, what: &str) -> Result<()> {
        self.exchange(request, NLM_F_ACK, what).await.map(|_| ())
    }

    /// Sends a request with these flags and takes everything that is answered.
    pub(crate) async fn exchange(&self, request: RouteNetlinkMessage, flags: u16, what: &str) -> Result<Answer> {
        let mut request = NetlinkMessage::from(request);
        request.header.flags = NLM_F_REQUEST | flags;
        let mut replies = (self.handle.clone().request(request))
            .map_err(|_| Error::new(what, io::Error::from(io::ErrorKind::NotConnected)))?;

        let mut answer = Answer { objects: Vec::new(), interrupted: false };
        while let Some(reply) = replies.next().await {
            answer.interrupted |= reply.header.flags & NLM_F_DUMP_INTR != 0;
            match reply.payload {
                NetlinkPayload::InnerMessage(object) => answer.objects.push(object),
                NetlinkPayload::Error(refusal) => return Err(Error::new(what, refusal.to_io())),
                _ => {}
            }
        }
        Ok(answer)
    }
}

/// What the kernel answered.
pub(crate) struct Answer {
    objects: Vec<RouteNetlinkMessage>,
    /// The list changed while the kernel wrote it.
    interrupted: bool,
}
