//! What a link receives beside frames for its own addresses: VLANs that a device on it registers with its driver
//! (`ip link add link PORT type vlan id N`), and everything (`ip link set PORT promisc on`).

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, InfoVlan, LinkAttribute, LinkInfo, LinkMessage, VlanFlags};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVlan};

use crate::error::{Result, explain};
use crate::{Link, Netlink};

impl Netlink {
    /// Makes a VLAN device on a link, down, which alone has the link's driver let the VLAN in (`vlan_vid_add` in
    /// net/8021q/vlan.c). It stays down when the link goes up. `name` may be a pattern with `%d`, for a number that is free.
    ///
    /// # Errors
    /// The kernel's refusal: `EOPNOTSUPP` when it has no such devices, `EEXIST` when the link has one for this VLAN in
    /// whatever namespace; or the driver's, such as that its filter is full.
    pub async fn create_vlan(&self, link: u32, vlan: u16, name: &str) -> Result<()> {
        // Without it the kernel brings the device up with the link (vlan_device_event).
        let stays_down = (VlanFlags::LooseBinding, VlanFlags::LooseBinding);
        let message = LinkMessageBuilder::<LinkVlan>::new(name)
            .link(link)
            .id(vlan)
            .append_info_data(InfoVlan::Flags(stays_down))
            .build();
        let what = format!("make a device for VLAN {vlan} on link {link}");
        (self.handle.link().add(message).execute()).await.map_err(explain(what))
    }

    /// All VLAN devices of the namespace.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn vlan_devices(&self) -> Result<Vec<Link>> {
        // A kernel that knows the kind sends no others; one that does not sends all.
        let mut filter = LinkMessage::default();
        filter.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan)]));
        let objects = self.dump(RouteNetlinkMessage::GetLink(filter), "list the VLAN devices").await?;
        let links = objects.iter().filter_map(Link::from_object);
        Ok(links.filter(|link| link.kind.as_deref() == Some("vlan")).collect())
    }

    /// Makes a link receive every frame, or no longer (`IFF_PROMISC`). Others can ask for that too:
    /// [`Link::promiscuous`] tells what is in force.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn set_promiscuous(&self, index: u32, on: bool) -> Result<()> {
        let message = LinkUnspec::new_with_index(index).promiscuous(on).build();
        let what = format!("switch promiscuous mode of link {index} {}", if on { "on" } else { "off" });
        self.change_link(message, what).await
    }
}
