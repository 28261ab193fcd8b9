//! The client's half of the service of `dlmpd`: one method a request, as `zlink` wants it.

use zlink::proxy;

use crate::{
    AddressesReply, AggregationsReply, ClientsReply, Error, GroupPortsReply, GroupsReply, InfoReply, InterfacesReply,
    NewAddress, NewAggregation, NewVnic, ObjectReply, PortChange, ProbeReply, PropertiesReply, PropertyRequest,
    StateReply, StatisticsReply, VnicsReply, socket::Place,
};

/// A connection to a daemon of this network namespace.
pub type Connection = zlink::tokio::unix::Connection;

/// Connects to the daemon of this place.
///
/// # Errors
/// As [`Place::connect`].
pub fn connect(place: &Place) -> std::io::Result<Connection> {
    let stream = place.connect()?;
    stream.set_nonblocking(true)?;
    let stream = tokio::net::UnixStream::from_std(stream)?;
    let stream = zlink::tokio::unix::Stream::try_from(stream).map_err(std::io::Error::other)?;
    Ok(Connection::new(stream))
}

/// The service of `dlmpd`. The outer error is the connection's, the inner one the daemon's answer.
#[proxy("io.dlmp.Aggregation")]
#[allow(missing_docs)]
pub trait Dlmpd {
    async fn get_info(&mut self) -> zlink::Result<Result<InfoReply, Error>>;
    async fn list_aggregations(&mut self) -> zlink::Result<Result<AggregationsReply, Error>>;
    async fn create_aggregation(&mut self, request: &NewAggregation) -> zlink::Result<Result<(), Error>>;
    async fn delete_aggregation(&mut self, name: &str, temporary: bool) -> zlink::Result<Result<(), Error>>;
    async fn add_ports(&mut self, request: &PortChange) -> zlink::Result<Result<(), Error>>;
    async fn remove_ports(&mut self, request: &PortChange) -> zlink::Result<Result<(), Error>>;
    async fn list_vnics(&mut self) -> zlink::Result<Result<VnicsReply, Error>>;
    async fn create_vnic(&mut self, request: &NewVnic) -> zlink::Result<Result<(), Error>>;
    async fn delete_vnic(&mut self, name: &str, temporary: bool) -> zlink::Result<Result<(), Error>>;
    async fn list_clients(&mut self) -> zlink::Result<Result<ClientsReply, Error>>;
    #[zlink(more)]
    async fn list_groups(
        &mut self,
    ) -> zlink::Result<impl futures_util::Stream<Item = zlink::Result<Result<GroupsReply, Error>>>>;
    async fn list_group_ports(&mut self) -> zlink::Result<Result<GroupPortsReply, Error>>;
    async fn get_statistics(&mut self) -> zlink::Result<Result<StatisticsReply, Error>>;
    async fn list_link_properties(&mut self) -> zlink::Result<Result<PropertiesReply, Error>>;
    async fn change_link_properties(&mut self, request: &PropertyRequest) -> zlink::Result<Result<(), Error>>;
    #[zlink(more)]
    async fn watch_probes(
        &mut self,
    ) -> zlink::Result<impl futures_util::Stream<Item = zlink::Result<Result<ProbeReply, Error>>>>;
    #[zlink(more)]
    async fn watch_states(
        &mut self,
    ) -> zlink::Result<impl futures_util::Stream<Item = zlink::Result<Result<StateReply, Error>>>>;
    async fn list_interfaces(&mut self) -> zlink::Result<Result<InterfacesReply, Error>>;
    async fn create_interface(&mut self, name: &str, temporary: bool) -> zlink::Result<Result<(), Error>>;
    async fn delete_interface(&mut self, name: &str) -> zlink::Result<Result<(), Error>>;
    async fn list_addresses(&mut self) -> zlink::Result<Result<AddressesReply, Error>>;
    async fn create_address(&mut self, request: &NewAddress) -> zlink::Result<Result<ObjectReply, Error>>;
    async fn delete_address(&mut self, object: &str, release: bool) -> zlink::Result<Result<(), Error>>;
}
