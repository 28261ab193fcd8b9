//! Pairs of veth ends, in one namespace or across two.

use std::os::fd::{AsFd, AsRawFd};

use dlmp_wire::MacAddr;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};

use crate::error::{Error, Result, explain};
use crate::{Link, Namespace, Netlink};

/// A pair of veth ends to make.
#[derive(Debug, Clone)]
pub struct NewVeth<'a> {
    /// Name of the first end.
    pub name: &'a str,
    /// Name of the other end; `%d` in it is replaced by a free number by the kernel.
    pub peer: &'a str,
    /// MAC address of the first end.
    pub mac: MacAddr,
    /// MTU of both ends in bytes.
    pub mtu: u32,
}

impl Netlink {
    /// Makes a pair of veth ends, both down, and returns them: the named end, then its peer.
    ///
    /// The peer gets no IPv6 address of its own when it comes up.
    ///
    /// # Errors
    /// The kernel's refusal, such as a name that is taken. Nothing is left behind then.
    pub async fn create_veth(&self, new: NewVeth<'_>) -> Result<(Link, Link)> {
        self.create_pair(new, None, self).await
    }

    /// As [`create_veth`](Self::create_veth), with the peer in another namespace from the start; `there` is a
    /// connection in it.
    ///
    /// # Errors
    /// The kernel's refusal, such as a name that is taken in its namespace. Nothing is left behind then; only if
    /// somebody renames the first end at that very moment, the pair stays (`ENODEV`).
    pub async fn create_veth_into(
        &self,
        new: NewVeth<'_>,
        namespace: &Namespace,
        there: &Self,
    ) -> Result<(Link, Link)> {
        self.create_pair(new, Some(namespace), there).await
    }

    async fn create_pair(&self, new: NewVeth<'_>, namespace: Option<&Namespace>, there: &Self) -> Result<(Link, Link)> {
        let what = || format!("create the link {}", new.name);
        let mut peer = LinkMessageBuilder::<LinkUnspec>::default().name(new.peer).mtu(new.mtu);
        if let Some(namespace) = namespace {
            peer = peer.setns_by_fd(namespace.as_fd().as_raw_fd());
        }
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(new.name)
            .address(new.mac.0.to_vec())
            .mtu(new.mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())))
            .build();
        (self.handle.link().add(message).execute()).await.map_err(explain(what()))?;

        let vanished = || Error::new(what(), std::io::Error::from_raw_os_error(libc::ENODEV));
        let link = self.link(new.name).await?.ok_or_else(vanished)?;
        let finish = async {
            let peer_index = self.peer_index(link.index).await?.ok_or_else(vanished)?;
            there.silence(peer_index).await?;
            there.link_by_index(peer_index).await?.ok_or_else(vanished)
        };
        match finish.await {
            Ok(peer) => Ok((link, peer)),
            Err(error) => {
                // The first error is the one to tell: a pair that is gone already is no second.
                let _ = self.delete_link(link.index).await;
                Err(error)
            }
        }
    }

    /// Index of the other end of a veth, in the namespace where that end is.
    pub async fn peer_index(&self, index: u32) -> Result<Option<u32>> {
        let request = RouteNetlinkMessage::GetLink(LinkUnspec::new_with_index(index).build());
        let RouteNetlinkMessage::NewLink(answer) = self.get(request, &format!("look up link {index}")).await? else {
            return Ok(None);
        };
        Ok(answer.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Link(peer) => Some(*peer),
            _ => None,
        }))
    }
}
