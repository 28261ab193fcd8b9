//! The client's half of the service of `ldmd`.

use zlink::proxy;

use super::{
    AttachReply, DomainsReply, Error, InfoReply, ManagerReply, NetdevsReply, NewDomain, NewSwitch, NewVnet, Setting,
    SwitchesReply, VnetsReply,
};

/// The service of `ldmd`. The outer error is the connection's, the inner one the daemon's answer.
#[proxy("io.dlmp.VirtualNetwork")]
#[allow(missing_docs)]
pub trait Ldmd {
    async fn get_info(&mut self) -> zlink::Result<Result<InfoReply, Error>>;
    async fn get_manager(&mut self) -> zlink::Result<Result<ManagerReply, Error>>;
    async fn add_domain(&mut self, request: &NewDomain) -> zlink::Result<Result<(), Error>>;
    async fn remove_domain(&mut self, name: &str) -> zlink::Result<Result<(), Error>>;
    async fn stop_domain(&mut self, name: &str) -> zlink::Result<Result<(), Error>>;
    async fn start_domain(&mut self, name: &str) -> zlink::Result<Result<(), Error>>;
    async fn add_switch(&mut self, request: &NewSwitch) -> zlink::Result<Result<(), Error>>;
    async fn set_switch(&mut self, name: &str, settings: &[Setting]) -> zlink::Result<Result<(), Error>>;
    async fn remove_switch(&mut self, name: &str, force: bool) -> zlink::Result<Result<(), Error>>;
    async fn add_vnet(&mut self, request: &NewVnet) -> zlink::Result<Result<(), Error>>;
    async fn set_vnet(&mut self, name: &str, domain: &str, settings: &[Setting]) -> zlink::Result<Result<(), Error>>;
    async fn remove_vnet(&mut self, name: &str, domain: &str) -> zlink::Result<Result<(), Error>>;
    #[zlink(return_fds)]
    async fn attach_vnet(
        &mut self,
        name: &str,
        domain: &str,
    ) -> zlink::Result<(Result<AttachReply, Error>, Vec<std::os::fd::OwnedFd>)>;
    #[zlink(more)]
    async fn list_domains(
        &mut self,
    ) -> zlink::Result<impl futures_util::Stream<Item = zlink::Result<Result<DomainsReply, Error>>>>;
    #[zlink(more)]
    async fn list_switches(
        &mut self,
    ) -> zlink::Result<impl futures_util::Stream<Item = zlink::Result<Result<SwitchesReply, Error>>>>;
    #[zlink(more)]
    async fn list_vnets(
        &mut self,
    ) -> zlink::Result<impl futures_util::Stream<Item = zlink::Result<Result<VnetsReply, Error>>>>;
    #[zlink(more)]
    async fn list_netdevs(
        &mut self,
        domain: Option<&str>,
    ) -> zlink::Result<impl futures_util::Stream<Item = zlink::Result<Result<NetdevsReply, Error>>>>;
}
