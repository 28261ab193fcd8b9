//! Traffic control: the clsact qdisc and the BPF filters on it.

use futures_util::TryStreamExt;
use netlink_packet_route::tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption};

use crate::Netlink;
use crate::error::{Result, explain};

/// Which of the two hooks of clsact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Frames that the link received.
    Ingress,
    /// Frames that are about to be sent through the link.
    Egress,
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

    /// Removes the clsact qdisc and every filter on it; its absence is no error.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn delete_clsact(&self, index: u32) -> Result<()> {
        let mut request = self.handle.qdisc().del(index.cast_signed());
        request.message_mut().header.parent = TcHandle::CLSACT;
        request.message_mut().header.handle = TcHandle::from(0xffff_0000);
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
