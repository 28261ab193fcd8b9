//! The control socket's service: who may do what, and handing requests to the control.

use std::rc::Rc;

use dlmp_api::{
    AddressesReply, AggregationsReply, ClientsReply, DaemonInfo, Error, Group, GroupPortsReply, GroupsReply, InfoReply,
    InterfacesReply, NewAddress, NewAggregation, NewVnic, ObjectReply, PortChange, ProbeReply, PropertiesReply,
    PropertyRequest, StateReply, StatisticsReply, VnicsReply,
};
use futures_util::Stream;
use tokio::sync::Mutex;
use zlink::connection::socket::FetchPeerCredentials;
use zlink::{Connection, Reply, service};

use crate::control::Control;
use crate::monitor::Monitor;
use crate::property;
use crate::watch::{Client, watch};

/// Members of this group may change things, as root may.
const GROUP: &str = "dlmp";

/// Multicast groups in one reply. The time that zlink takes to write a reply grows with the square of its length, and
/// meanwhile nobody is served: it begins anew with each 256 bytes that do not fit (`BUFFER_SIZE`).
const GROUPS_EACH: usize = 32;

/// Serves the requests of one connection, one at a time.
pub struct Service {
    /// What requests change; background work shares it.
    pub control: Rc<Mutex<Control>>,
    /// Where news come from.
    pub monitor: Monitor,
    /// `tcx` or `clsact`.
    pub attachment: &'static str,
    /// Who asks.
    pub client: Rc<Client>,
}

#[service(
    interface = "io.dlmp.Aggregation",
    types = [
        dlmp_api::DaemonInfo, dlmp_api::NewAggregation, dlmp_api::PortChange, dlmp_api::Aggregation, dlmp_api::Port,
        dlmp_api::NewVnic, dlmp_api::Vnic, dlmp_api::Client, dlmp_api::Group, dlmp_api::GroupPort, dlmp_api::PortStatistics, dlmp_api::RuleCount,
        dlmp_api::LinkProperty, dlmp_api::PropertyChange, dlmp_api::PropertyRequest, dlmp_api::ProbeNews,
        dlmp_api::StateNews, dlmp_api::Interface, dlmp_api::NewAddress, dlmp_api::Address
    ],
    vendor = "The dlmp authors",
    product = "dlmpd",
    version = env!("CARGO_PKG_VERSION"),
    url = "https://example.org/dlmp"
)]
impl<Sock> Service
where
    Sock::ReadHalf: FetchPeerCredentials,
{
    async fn get_info(&mut self) -> Result<InfoReply, Error> {
        let info = DaemonInfo {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id().into(),
            config: self.control.lock().await.config_path(),
            attachment: self.attachment.into(),
        };
        Ok(InfoReply { info })
    }

    async fn list_aggregations(&mut self) -> Result<AggregationsReply, Error> {
        let aggregations = self.control.lock().await.list().await?;
        Ok(AggregationsReply { aggregations })
    }

    async fn create_aggregation(
        &mut self,
        request: NewAggregation,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<(), Error> {
        may_change(conn).await?;
        let mut control = self.control.lock().await;
        let result = control.create_aggregation(request).await;
        // A daemon that was started for a request that it refuses is not needed.
        control.idle_if_empty();
        result
    }

    async fn delete_aggregation(
        &mut self,
        name: String,
        temporary: bool,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<(), Error> {
        may_change(conn).await?;
        self.control.lock().await.delete_aggregation(&name, temporary).await
    }

    async fn add_ports(
        &mut self,
        request: PortChange,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<(), Error> {
        may_change(conn).await?;
        self.control.lock().await.add_ports(request).await
    }

    async fn remove_ports(
        &mut self,
        request: PortChange,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<(), Error> {
        may_change(conn).await?;
        self.control.lock().await.remove_ports(request).await
    }

    async fn list_vnics(&mut self) -> Result<VnicsReply, Error> {
        let vnics = self.control.lock().await.list_vnics().await?;
        Ok(VnicsReply { vnics })
    }

    async fn create_vnic(
        &mut self,
        request: NewVnic,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<(), Error> {
        may_change(conn).await?;
        self.control.lock().await.create_vnic(request).await
    }

    async fn delete_vnic(
        &mut self,
        name: String,
        temporary: bool,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<(), Error> {
        may_change(conn).await?;
        self.control.lock().await.delete_vnic(&name, temporary).await
    }

    async fn list_clients(&mut self) -> Result<ClientsReply, Error> {
        let clients = self.control.lock().await.monitor.clients().await?;
        Ok(ClientsReply { clients })
    }

    #[zlink(more)]
    async fn list_groups(&self, _more: bool) -> impl Stream<Item = Reply<GroupsReply>> + Unpin {
        // It fails only when the daemon is about to end; then there is no answer.
        in_parts(self.control.lock().await.monitor.groups().await.ok())
    }

    async fn list_group_ports(&mut self) -> Result<GroupPortsReply, Error> {
        let ports = self.control.lock().await.monitor.group_ports().await?;
        Ok(GroupPortsReply { ports })
    }

    async fn get_statistics(&mut self) -> Result<StatisticsReply, Error> {
        let ports = self.control.lock().await.monitor.statistics().await?;
        Ok(StatisticsReply { ports })
    }

    async fn list_link_properties(&mut self) -> Result<PropertiesReply, Error> {
        let properties = self.control.lock().await.list_properties();
        Ok(PropertiesReply { properties })
    }

    async fn change_link_properties(
        &mut self,
        request: PropertyRequest,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<(), Error> {
        may_change(conn).await?;
        // Before the lock is taken: name servers may take their time.
        let names = property::resolve(&request).await?;
        self.control.lock().await.change_properties(request, names).await
    }

    #[zlink(more)]
    async fn watch_probes(&self, _more: bool) -> impl Stream<Item = Reply<ProbeReply>> + Unpin {
        let reply = |probe, missed| ProbeReply { probe, missed };
        watch(self.monitor.probe_news(), self.client.clone(), reply)
    }

    #[zlink(more)]
    async fn watch_states(&self, _more: bool) -> impl Stream<Item = Reply<StateReply>> + Unpin {
        let reply = |change, missed| StateReply { change, missed };
        watch(self.monitor.state_news(), self.client.clone(), reply)
    }

    async fn list_interfaces(&mut self) -> Result<InterfacesReply, Error> {
        let interfaces = self.control.lock().await.list_interfaces();
        Ok(InterfacesReply { interfaces })
    }

    async fn create_interface(
        &mut self,
        name: String,
        temporary: bool,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<(), Error> {
        may_change(conn).await?;
        let mut control = self.control.lock().await;
        let result = control.create_interface(&name, temporary).await;
        control.idle_if_empty();
        result
    }

    async fn delete_interface(
        &mut self,
        name: String,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<(), Error> {
        may_change(conn).await?;
        let mut control = self.control.lock().await;
        control.delete_interface(&name).await?;
        control.refresh_plans().await;
        Ok(())
    }

    async fn list_addresses(&mut self) -> Result<AddressesReply, Error> {
        let addresses = self.control.lock().await.list_addresses().await?;
        Ok(AddressesReply { addresses })
    }

    async fn create_address(
        &mut self,
        request: NewAddress,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<ObjectReply, Error> {
        may_change(conn).await?;
        let mut control = self.control.lock().await;
        let object = control.create_address(request).await?;
        control.refresh_plans().await;
        Ok(ObjectReply { object })
    }

    async fn delete_address(
        &mut self,
        object: String,
        release: bool,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<(), Error> {
        may_change(conn).await?;
        let mut control = self.control.lock().await;
        control.delete_address(&object, release).await?;
        control.refresh_plans().await;
        Ok(())
    }
}

/// Root and the members of the group may change things; the kernel says who asks (SO_PEERCRED and
/// SO_PEERGROUPS, unix(7)).
async fn may_change<S>(connection: &mut Connection<S>) -> Result<(), Error>
where
    S: zlink::connection::Socket,
    S::ReadHalf: FetchPeerCredentials,
{
    let refused = |reason: String| Error::NotPermitted {
        reason,
        remedy: "sudo, or as root: usermod -a -G dlmp USER (then log in again)".into(),
    };
    let peer = (connection.peer_credentials().await)
        .map_err(|error| refused(format!("the kernel does not say who asks: {error}")))?;
    let user = peer.unix_user_id().as_raw();
    if user == 0 {
        return Ok(());
    }
    let group = nix::unistd::Group::from_name(GROUP).ok().flatten().map(|group| group.gid.as_raw());
    let member = std::iter::once(&peer.unix_primary_group_id())
        .chain(peer.unix_supplementary_group_ids())
        .any(|gid| Some(gid.as_raw()) == group);
    if member {
        return Ok(());
    }
    Err(refused(format!("user {user} may look but not change: that takes root or the group {GROUP}")))
}

/// A list of groups as replies: one at least, none without a list.
fn in_parts(groups: Option<Vec<Group>>) -> impl Stream<Item = Reply<GroupsReply>> + Unpin {
    let mut parts = Vec::new();
    if let Some(groups) = groups {
        parts.push(Vec::new());
        for group in groups {
            match parts.last_mut() {
                Some(part) if part.len() < GROUPS_EACH => part.push(group),
                _ => parts.push(vec![group]),
            }
        }
    }
    let last = parts.len().saturating_sub(1);
    let reply = move |(number, groups)| Reply::new(Some(GroupsReply { groups })).set_continues(Some(number < last));
    futures_util::stream::iter(parts.into_iter().enumerate().map(reply))
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn groups_come_in_parts_of_which_the_last_says_so() {
        let group = |number: usize| Group {
            aggregation: "aggr0".into(),
            group: Some(number.to_string()),
            addresses: Vec::new(),
            askedby: Vec::new(),
        };
        for count in [0, 1, GROUPS_EACH, GROUPS_EACH + 1, 10 * GROUPS_EACH] {
            let all: Vec<Group> = (0..count).map(group).collect();
            let replies: Vec<Reply<GroupsReply>> = in_parts(Some(all.clone())).collect().await;
            let (last, before) = replies.split_last().unwrap();
            assert!(before.iter().all(|reply| reply.continues() == Some(true)));
            assert_eq!(last.continues(), Some(false));
            let parts = replies.into_iter().map(|reply| reply.into_parameters().unwrap().groups);
            assert_eq!(parts.flatten().collect::<Vec<_>>(), all);
        }
    }

    /// The description that users read is the one that the service gives of itself.
    /// `UPDATE_DESCRIPTION=1 cargo test -p dlmpd` writes it anew.
    #[test]
    fn the_interface_description_in_the_repository_is_the_services_own() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/io.dlmp.Aggregation.varlink");
        // zlink makes the constant: the description that a client gets from org.varlink.service.
        let own = format!("{}\n", super::__Service_INTERFACE_0);
        if std::env::var_os("UPDATE_DESCRIPTION").is_some() {
            std::fs::write(path, &own).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), own);
    }
}
