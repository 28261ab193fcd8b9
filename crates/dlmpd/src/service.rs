//! The control socket's service: who may do what, and handing requests to the control.

use std::io;
use std::rc::Rc;

use dlmp_api::{
    AddressesReply, AggregationsReply, ClientsReply, DaemonInfo, Error, GroupPortsReply, GroupsReply, InfoReply,
    InterfacesReply, NewAddress, NewAggregation, NewVnic, ObjectReply, PortChange, ProbeReply, PropertiesReply,
    PropertyRequest, StateReply, StatisticsReply, VnicsReply,
};
use dlmp_daemon::{HasCaller, Stream as ControlStream, in_parts, may_change};
use futures_util::Stream;
use tokio::sync::Mutex;
use zlink::{ReadyListener, Reply, service};

use crate::control::Control;
use crate::monitor::Monitor;
use crate::property;
use crate::vnet::Listener;
use crate::watch::{Client, watch};

/// Serves the requests of one connection, one at a time.
pub struct Service {
    /// What requests change; background work shares it.
    control: Rc<Mutex<Control>>,
    /// Where news come from.
    monitor: Monitor,
    /// `tcx` or `clsact`.
    attachment: &'static str,
    /// What the host tells of links.
    vnets: Rc<Listener>,
    /// Who asks.
    client: Rc<Client>,
}

impl Service {
    /// Serves one connection until it ends.
    ///
    /// # Errors
    /// The connection cannot be waited on.
    pub fn serve(
        stream: ControlStream,
        control: Rc<Mutex<Control>>,
        monitor: Monitor,
        attachment: &'static str,
        vnets: Rc<Listener>,
    ) -> io::Result<impl Future<Output = zlink::Result<()>> + 'static> {
        let client = Rc::new(Client::new(&stream)?);
        let service = Self { control, monitor, attachment, vnets, client };
        Ok(async move { zlink::Server::new(ReadyListener::new(stream), service).run().await })
    }
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
    Sock::ReadHalf: HasCaller,
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
        self.vnets.hear_of(&request.ports).await;
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
        self.vnets.hear_of(&request.ports).await;
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
        in_parts(self.control.lock().await.monitor.groups().await.ok(), |groups| GroupsReply { groups })
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
        let properties = self.control.lock().await.list_properties().await?;
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

#[cfg(test)]
mod tests {
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
