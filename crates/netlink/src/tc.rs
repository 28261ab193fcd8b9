//! Traffic control: the clsact qdisc and the BPF filters on it.

use std::os::fd::{AsRawFd, BorrowedFd};

use futures_util::TryStreamExt;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcMessage, TcOption};

use crate::Netlink;
use crate::error::{Result, explain, tolerate};

/// The clsact qdisc of a link has this handle (linux/pkt_sched.h).
const CLSACT: u32 = 0xffff_0000;

/// Which of the two hooks of clsact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Frames that the link received.
    Ingress,
    /// Frames that are about to be sent through the link.
    Egress,
}

impl Direction {
    /// The hook as the parent of filters.
    const fn parent(self) -> TcHandle {
        let minor = match self {
            Self::Ingress => TcHandle::MIN_INGRESS,
            Self::Egress => TcHandle::MIN_EGRESS,
        };
        TcHandle { major: 0xffff, minor }
    }
}

/// Where a BPF filter is among those of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterPlace {
    /// Priority: lower ones run first.
    pub priority: u16,
    /// Handle, unique within a priority.
    pub handle: u32,
}

/// A BPF filter on clsact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BpfFilter {
    /// Priority: lower ones run first.
    pub priority: u16,
    /// Handle, unique within a priority.
    pub handle: u32,
    /// Id of the program, as in `bpftool prog`.
    pub program_id: Option<u32>,
    /// Name that the filter was attached under.
    pub name: Option<String>,
}

impl Netlink {
    /// The BPF filters of a link on one of the hooks; none when it has no clsact.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn bpf_filters(&self, index: u32, direction: Direction) -> Result<Vec<BpfFilter>> {
        let messages = self.filter_messages(index, direction).await?;
        Ok(messages.iter().filter_map(BpfFilter::from_message).collect())
    }

    /// How many filters of any kind hang on the clsact of a link.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn filter_count(&self, index: u32) -> Result<usize> {
        let mut count = 0;
        for direction in [Direction::Ingress, Direction::Egress] {
            count += (self.filter_messages(index, direction).await?.iter())
                .filter(|message| u32::from(message.header.handle) != 0)
                .count();
        }
        Ok(count)
    }

    /// Hangs a program on a hook, for every protocol; its verdicts are those of the filter (`direct-action`). The link gets a
    /// clsact qdisc if it has none. A filter that is there already is replaced: no frame sees neither or both
    /// (`cls_bpf_change` in net/sched/cls_bpf.c).
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn set_bpf_filter(
        &self,
        index: u32,
        direction: Direction,
        place: FilterPlace,
        name: &str,
        program: BorrowedFd<'_>,
    ) -> Result<()> {
        let mut qdisc = TcMessage::with_index(index.cast_signed());
        qdisc.header.parent = TcHandle::CLSACT;
        qdisc.header.handle = TcHandle::from(CLSACT);
        qdisc.attributes.push(TcAttribute::Kind("clsact".into()));
        let request = RouteNetlinkMessage::NewQueueDiscipline(qdisc);
        let what = format!("add a clsact qdisc to link {index}");
        let result = self.exchange(request, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &what).await;
        tolerate(result.map(drop), libc::EEXIST)?;

        let mut filter = filter_message(index, direction, place);
        filter.attributes.push(TcAttribute::Options(vec![
            TcOption::Bpf(TcFilterBpfOption::ProgFd(program.as_raw_fd().cast_unsigned())),
            TcOption::Bpf(TcFilterBpfOption::ProgName(name.into())),
            TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
        ]));
        let request = RouteNetlinkMessage::NewTrafficFilter(filter);
        let what = format!("hang the program {name} on link {index}");
        self.exchange(request, NLM_F_ACK | NLM_F_CREATE, &what).await.map(drop)
    }

    /// Takes a filter off a hook, and clsact off the link when no filter is left on it; absence is no error.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn delete_bpf_filter(&self, index: u32, direction: Direction, place: FilterPlace) -> Result<()> {
        let here = self.bpf_filters(index, direction).await?;
        if !here.iter().any(|filter| filter.priority == place.priority && filter.handle == place.handle) {
            return Ok(());
        }
        let request = RouteNetlinkMessage::DelTrafficFilter(filter_message(index, direction, place));
        let result = self.exchange(request, NLM_F_ACK, &format!("delete a filter of link {index}")).await;
        tolerate(result.map(drop), libc::ENOENT)?;
        if self.filter_count(index).await? == 0 {
            self.delete_clsact(index).await?;
        }
        Ok(())
    }

    /// Whether a link has a clsact qdisc.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn has_clsact(&self, index: u32) -> Result<bool> {
        let mut qdisc = TcMessage::with_index(index.cast_signed());
        qdisc.header.parent = TcHandle::CLSACT;
        let request = RouteNetlinkMessage::GetQueueDiscipline(qdisc);
        match self.get(request, &format!("look for a clsact qdisc on link {index}")).await {
            // One that was deleted leaves another of a different kind in its place.
            Ok(RouteNetlinkMessage::NewQueueDiscipline(found)) => {
                Ok(found.attributes.contains(&TcAttribute::Kind("clsact".into())))
            }
            Ok(_) => Ok(false),
            Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes the clsact qdisc and every filter on it; its absence is no error.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn delete_clsact(&self, index: u32) -> Result<()> {
        let mut request = self.handle.qdisc().del(index.cast_signed());
        request.message_mut().header.parent = TcHandle::CLSACT;
        request.message_mut().header.handle = TcHandle::from(CLSACT);
        let result = (request.execute().await).map_err(explain(format!("delete the clsact qdisc of link {index}")));
        match result {
            Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)) => Ok(()),
            other => other,
        }
    }

    async fn filter_messages(&self, index: u32, direction: Direction) -> Result<Vec<TcMessage>> {
        let mut filters = self.handle.traffic_filter(index.cast_signed());
        let request = match direction {
            Direction::Ingress => filters.get().ingress(),
            Direction::Egress => filters.get().egress(),
        };
        (request.execute().try_collect()).await.map_err(explain(format!("list the filters of link {index}")))
    }
}

fn filter_message(index: u32, direction: Direction, place: FilterPlace) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.parent = direction.parent();
    message.header.handle = TcHandle::from(place.handle);
    message.header.info = u32::from(place.priority) << 16 | u32::from((libc::ETH_P_ALL as u16).to_be());
    message.attributes.push(TcAttribute::Kind("bpf".into()));
    message
}

impl BpfFilter {
    fn from_message(message: &TcMessage) -> Option<Self> {
        let mut filter = Self {
            priority: (message.header.info >> 16) as u16,
            handle: message.header.handle.into(),
            program_id: None,
            name: None,
        };
        let mut is_bpf = false;
        for attribute in &message.attributes {
            match attribute {
                TcAttribute::Kind(kind) => is_bpf = kind == "bpf",
                TcAttribute::Options(options) => {
                    for option in options {
                        match option {
                            TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => filter.program_id = Some(*id),
                            TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => filter.name = Some(name.clone()),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        // The kernel also lists the priority itself, as an entry without a handle.
        (is_bpf && filter.handle != 0).then_some(filter)
    }
}
