//! The VLANs of a bridge's ports, and of the bridge itself: `bridge vlan`.

use std::ops::RangeInclusive;

use netlink_packet_route::link::{
    AfSpecBridge, BridgeVlanInfo, BridgeVlanInfoFlags, LinkAttribute, LinkExtentMask, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{LinkBridgeVlan, LinkMessageBuilder};

use crate::Netlink;
use crate::error::Result;

/// A VLAN that a port is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortVlan {
    /// Its id, 1 to 4094.
    pub vid: u16,
    /// Untagged frames that come in are of this VLAN; it replaces the port's earlier one.
    pub pvid: bool,
    /// Frames go out without a tag.
    pub untagged: bool,
}

impl Netlink {
    /// Puts a bridge's port in a VLAN, or changes how it is in it. The bridge itself is a port too: the one of the
    /// host that it is in.
    ///
    /// # Errors
    /// The kernel's refusal: an id outside 1 to 4094, a link that is no port, `EOPNOTSUPP` when the kernel was built
    /// without VLAN filtering.
    pub async fn add_port_vlan(&self, port: u32, vlan: PortVlan) -> Result<()> {
        let mut flags = BridgeVlanInfoFlags::empty();
        flags.set(BridgeVlanInfoFlags::Pvid, vlan.pvid);
        flags.set(BridgeVlanInfoFlags::Untagged, vlan.untagged);
        let message = self.vlan_message(port, vlan.vid..=vlan.vid, flags).await?;
        self.request(RouteNetlinkMessage::SetLink(message), &format!("put link {port} in VLAN {}", vlan.vid)).await
    }

    /// Takes a bridge's port, or the bridge itself, out of a VLAN; one that it is not in is no error.
    ///
    /// # Errors
    /// The kernel's refusal: an id outside 1 to 4094, a link that is no port.
    pub async fn delete_port_vlan(&self, port: u32, vid: u16) -> Result<()> {
        self.delete_port_vlans(port, vid..=vid).await
    }

    /// Puts a bridge's port in all VLANs of a range, with tags, by one request.
    ///
    /// # Errors
    /// As [`add_port_vlan`](Self::add_port_vlan).
    pub async fn add_port_vlans(&self, port: u32, vids: RangeInclusive<u16>) -> Result<()> {
        let what = format!("put link {port} in VLANs {} to {}", vids.start(), vids.end());
        let message = self.vlan_message(port, vids, BridgeVlanInfoFlags::empty()).await?;
        self.request(RouteNetlinkMessage::SetLink(message), &what).await
    }

    /// Takes a bridge's port, or the bridge itself, out of all VLANs of a range, by one request.
    ///
    /// # Errors
    /// As [`delete_port_vlan`](Self::delete_port_vlan).
    pub async fn delete_port_vlans(&self, port: u32, vids: RangeInclusive<u16>) -> Result<()> {
        let what = format!("take link {port} out of VLANs {} to {}", vids.start(), vids.end());
        let message = self.vlan_message(port, vids, BridgeVlanInfoFlags::empty()).await?;
        self.request(RouteNetlinkMessage::DelLink(message), &what).await
    }

    /// The VLANs that a bridge's port, or the bridge itself, is in, by id. Any other link is in none, and so is every
    /// port when the kernel was built without VLAN filtering.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn port_vlans(&self, port: u32) -> Result<Vec<PortVlan>> {
        let mut request = LinkMessage::default();
        request.header.interface_family = AddressFamily::Bridge;
        request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::BrvlanCompressed]));
        let objects = self.dump(RouteNetlinkMessage::GetLink(request), "list the VLANs of bridge ports").await?;
        let mut vlans = Vec::new();
        for object in &objects {
            if let RouteNetlinkMessage::NewLink(message) = object
                && message.header.index == port
            {
                vlans.extend(read(message));
            }
        }
        Ok(vlans)
    }

    async fn vlan_message(
        &self,
        port: u32,
        vids: RangeInclusive<u16>,
        flags: BridgeVlanInfoFlags,
    ) -> Result<LinkMessage> {
        let mut message: LinkMessageBuilder<LinkBridgeVlan> = LinkBridgeVlan::new(port);
        // A bridge is no port of another, so there is no doubt which of the two is meant.
        if self.link_by_index(port).await?.is_some_and(|link| link.kind.as_deref() == Some("bridge")) {
            message = message.bridge_self();
        }
        let (first, last) = vids.into_inner();
        // To the kernel a single one is no range.
        Ok(match first == last {
            true => message.vlan(first, flags).build(),
            false => message.vlan_range_start(first, flags).vlan_range_end(last, flags).build(),
        })
    }
}

/// The VLANs in a message about a port, where those in a row of the same kind are given as a range.
fn read(message: &LinkMessage) -> Vec<PortVlan> {
    let mut vlans = Vec::new();
    let mut first = None;
    for BridgeVlanInfo { vid, flags } in vlan_infos(message) {
        if flags.contains(BridgeVlanInfoFlags::RangeBegin) {
            first = Some(*vid);
            continue;
        }
        vlans.extend((first.take().unwrap_or(*vid)..=*vid).map(|vid| PortVlan {
            vid,
            pvid: flags.contains(BridgeVlanInfoFlags::Pvid),
            untagged: flags.contains(BridgeVlanInfoFlags::Untagged),
        }));
    }
    vlans
}

fn vlan_infos(message: &LinkMessage) -> impl Iterator<Item = &BridgeVlanInfo> {
    let of_bridge = message.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::AfSpecBridge(attributes) => Some(attributes),
        _ => None,
    });
    of_bridge.flatten().filter_map(|attribute| match attribute {
        AfSpecBridge::VlanInfo(info) => Some(info),
        _ => None,
    })
}
