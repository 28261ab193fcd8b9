//! A pair of veth ends lies across two namespaces, and one end moves without the other's noticing more than a lost
//! carrier.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

mod common;

use common::{OtherNamespace, in_namespace, ip};
use dlmp_netlink::{Link, Namespace, Netlink, NewVeth};
use dlmp_wire::MacAddr;

const MAC: MacAddr = MacAddr([0x00, 0x14, 0x4f, 0xf8, 0x00, 0x01]);

/// A namespace with a connection in it.
struct Side {
    namespace: Namespace,
    netlink: Netlink,
}

impl Side {
    fn of(namespace: Namespace) -> Self {
        let netlink = namespace.enter(Netlink::connect).unwrap().unwrap();
        Self { namespace, netlink }
    }

    async fn make_pair_into(&self, other: &Self) -> dlmp_netlink::Result<(Link, Link)> {
        let new = NewVeth { name: "net0", peer: "ldm%d", mac: MAC, mtu: 9000 };
        self.netlink.create_veth_into(new, &other.namespace, &other.netlink).await
    }

    async fn link(&self, name: &str) -> Option<Link> {
        self.netlink.link(name).await.unwrap()
    }

    async fn ends(&self) -> Vec<Link> {
        let mut links = self.netlink.links().await.unwrap();
        links.retain(|link| link.kind.as_deref() == Some("veth"));
        links
    }
}

/// A guest, a switch and the manager (in the test's namespace), each in a namespace of its own.
fn with_three<F: Future<Output = ()>>(test: impl FnOnce(Side, Side, Side) -> F + Send) {
    in_namespace(|| async {
        let [guest, switch] = [(); 2].map(|()| Side::of(OtherNamespace::new().open()));
        test(guest, switch, Side::of(Namespace::current().unwrap())).await;
    });
}

#[test]
fn a_pair_has_one_end_here_and_one_there_from_the_start() {
    with_three(|guest, switch, _| async move {
        let (near, far) = guest.make_pair_into(&switch).await.unwrap();
        assert_eq!((near.name.as_str(), far.name.as_str()), ("net0", "ldm0"));
        assert_eq!((near.mac, near.mtu, far.mtu), (Some(MAC), 9000, 9000));
        assert!(!near.admin_up && !far.admin_up);
        assert_eq!(guest.link("net0").await, Some(near.clone()));
        assert_eq!(switch.link("ldm0").await, Some(far.clone()));
        assert_eq!((guest.ends().await.len(), switch.ends().await.len()), (1, 1));

        guest.netlink.set_up(near.index, true).await.unwrap();
        assert!(!guest.link("net0").await.unwrap().lower_up);
        switch.netlink.set_up(far.index, true).await.unwrap();
        assert!(guest.link("net0").await.unwrap().lower_up);
    });
}

#[test]
fn the_end_there_gets_no_ipv6_address_of_its_own() {
    with_three(|guest, switch, _| async move {
        let (near, far) = guest.make_pair_into(&switch).await.unwrap();
        guest.netlink.set_up(near.index, true).await.unwrap();
        switch.netlink.set_up(far.index, true).await.unwrap();
        // The kernel adds such an address when it notices the carrier: now, if it must look.
        assert!(guest.link("net0").await.unwrap().lower_up);
        assert!(switch.link("ldm0").await.unwrap().lower_up);
        assert!(!guest.netlink.addresses().await.unwrap().is_empty());
        assert!(switch.netlink.addresses().await.unwrap().is_empty());
    });
}

#[test]
fn a_name_that_is_taken_at_either_end_is_refused_and_nothing_is_left() {
    with_three(|guest, switch, _| async move {
        guest.make_pair_into(&switch).await.unwrap();
        let error = guest.make_pair_into(&switch).await.unwrap_err();
        assert_eq!(error.errno(), Some(libc::EEXIST));
        assert_eq!((guest.ends().await.len(), switch.ends().await.len()), (1, 1));

        let new = NewVeth { name: "net1", peer: "ldm0", mac: MAC, mtu: 1500 };
        let error = guest.netlink.create_veth_into(new, &switch.namespace, &switch.netlink).await.unwrap_err();
        assert_eq!(error.errno(), Some(libc::EEXIST));
        assert!(error.to_string().contains("net1"), "{error}");
        assert_eq!((guest.ends().await.len(), switch.ends().await.len()), (1, 1));
    });
}

#[test]
fn an_end_is_rescued_from_its_namespace_and_put_back_while_the_other_only_loses_its_carrier() {
    with_three(|guest, switch, manager| async move {
        let (near, far) = guest.make_pair_into(&switch).await.unwrap();
        let alias = Some("dlmp switch end of ldom1/vnet0".to_owned());
        switch.netlink.set_alias(far.index, alias.as_deref().unwrap()).await.unwrap();
        guest.netlink.set_up(near.index, true).await.unwrap();
        switch.netlink.set_up(far.index, true).await.unwrap();
        // The number that it has is taken where it goes.
        ip("link add ldm0 type bridge");

        switch.netlink.move_link(far.index, &manager.namespace, "ldm%d").await.unwrap();
        assert!(switch.ends().await.is_empty());
        let rescued = manager.ends().await.pop().unwrap();
        assert!(rescued.name.starts_with("ldm") && rescued.name != "ldm0", "{}", rescued.name);
        assert_eq!((rescued.mac, rescued.mtu, &rescued.alias), (far.mac, 9000, &alias));
        assert!(!rescued.admin_up);
        let left = guest.link("net0").await.unwrap();
        assert_eq!((left.index, left.mac, left.admin_up, left.lower_up), (near.index, Some(MAC), true, false));

        manager.netlink.move_link(rescued.index, &switch.namespace, "ldm%d").await.unwrap();
        assert!(manager.ends().await.is_empty());
        let back = switch.ends().await.pop().unwrap();
        assert_eq!((back.mac, &back.alias), (far.mac, &alias));
        switch.netlink.set_up(back.index, true).await.unwrap();
        assert!(guest.link("net0").await.unwrap().lower_up);
    });
}

#[test]
fn an_end_whose_new_name_could_be_refused_stays_where_it_is() {
    with_three(|guest, switch, manager| async move {
        let (_, far) = guest.make_pair_into(&switch).await.unwrap();
        for name in ["ldm0", "", "%d%d", "a/%d", "ldm%d ", "ldm%s", "longer-than-a-name%d", "longerthananame%d"] {
            let error = switch.netlink.move_link(far.index, &manager.namespace, name).await.unwrap_err();
            assert!(error.to_string().starts_with("cannot move link "), "{error}");
            assert_eq!(switch.ends().await, std::slice::from_ref(&far), "{name:?}");
        }
        assert!(manager.ends().await.is_empty());
    });
}

#[test]
fn a_link_that_cannot_move_is_refused() {
    with_three(|guest, switch, _| async move {
        let lo = guest.link("lo").await.unwrap();
        let error = guest.netlink.move_link(lo.index, &switch.namespace, "lo%d").await.unwrap_err();
        assert_eq!(error.errno(), Some(libc::EINVAL));
        assert!(guest.link("lo").await.is_some());
    });
}

#[test]
fn a_mac_address_is_changed_and_a_multicast_one_refused() {
    with_three(|guest, switch, _| async move {
        let (near, _) = guest.make_pair_into(&switch).await.unwrap();
        let mac = MacAddr([0x00, 0x14, 0x4f, 0xf8, 0x00, 0x02]);
        guest.netlink.set_mac(near.index, mac).await.unwrap();
        assert_eq!(guest.link("net0").await.unwrap().mac, Some(mac));

        let group = MacAddr([0x01, 0x14, 0x4f, 0xf8, 0x00, 0x02]);
        let error = guest.netlink.set_mac(near.index, group).await.unwrap_err();
        assert_eq!(error.errno(), Some(libc::EADDRNOTAVAIL));
        assert_eq!(guest.link("net0").await.unwrap().mac, Some(mac));
    });
}
