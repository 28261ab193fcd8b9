//! The control socket's service: who may do what, and handing requests to the control.

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use dlmp_api::ldm::{
    AttachReply, DomainsReply, Error, InfoReply, LdmdInfo, ManagerReply, NetdevsReply, NewDomain, NewSwitch, NewVnet,
    Setting, SwitchesReply, VnetsReply,
};
use dlmp_daemon::{HasCaller, Stream as ControlStream, in_parts, may_change};
use dlmp_manager::Refusal;
use dlmp_wire::MacAddr;
use futures_util::Stream;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use zlink::{ReadyListener, Reply, service};

use crate::control::{Blocked, Control};
use crate::manager::Reserved;

/// Serves the requests of one connection, one at a time.
pub struct Service {
    control: Rc<Mutex<Control>>,
    /// The same connection once more, to see that the client has gone.
    client: UnixStream,
}

impl Service {
    /// Serves one connection until it ends.
    ///
    /// # Errors
    /// The connection cannot be waited on.
    pub fn serve(
        stream: ControlStream,
        control: Rc<Mutex<Control>>,
    ) -> io::Result<impl Future<Output = zlink::Result<()>> + 'static> {
        let client = std::os::unix::net::UnixStream::from(stream.as_fd().try_clone_to_owned()?);
        let client = UnixStream::from_std(client)?;
        Ok(async move { zlink::Server::new(ReadyListener::new(stream), Self { control, client }).run().await })
    }

    /// Returns when the client has gone.
    async fn gone(&self) {
        match self.client.ready(Interest::READABLE).await {
            Ok(ready) if ready.is_read_closed() => {}
            // It asks for more before it has its answer.
            _ => std::future::pending().await,
        }
    }

    /// Makes a change, with as many automatic addresses as it needs. While those are claimed others are served, and for a client
    /// that has gone meanwhile nothing is changed.
    async fn with_addresses(
        &self,
        what: &str,
        change: impl AsyncFn(&mut Control, &[MacAddr]) -> Result<(), Blocked>,
    ) -> Result<(), Error> {
        let mut reserved: Option<Reserved> = None;
        loop {
            let mut control = self.control.lock().await;
            let claimed = reserved.as_ref().map_or(&[][..], Reserved::addresses);
            match change(&mut control, claimed).await {
                Ok(()) => return Ok(()),
                Err(Blocked::Refused(error)) => return Err(error),
                Err(Blocked::Short(missing)) => {
                    let count = claimed.len() + missing;
                    let allocator = control.allocator.clone();
                    drop(control);
                    drop(reserved.take());
                    let claimed = tokio::select! {
                        claimed = allocator.reserve(count) => claimed,
                        () = self.gone() => return Err(Error::failed("the client has gone")),
                    };
                    reserved = Some(claimed.map_err(|refusal| allocation_failed(what, &refusal))?);
                }
            }
        }
    }
}

/// The message of Logical Domains ("Automatic Assignment Algorithm"), and who is to blame.
fn allocation_failed(what: &str, refusal: &Refusal) -> Error {
    let mut text = format!("Automatic MAC allocation failed.  Please set the {what} MAC address manually.");
    if let Some((manager, count)) = refusal.denied.iter().max_by_key(|(_, count)| **count) {
        text += &format!(" The manager at {manager} has denied {count} addresses in 30 seconds.");
    }
    Error::failed(text)
}

#[service(
    interface = "io.dlmp.VirtualNetwork",
    types = [
        dlmp_api::ldm::LdmdInfo, dlmp_api::ldm::NewDomain, dlmp_api::ldm::NewSwitch, dlmp_api::ldm::NewVnet,
        dlmp_api::ldm::Setting, dlmp_api::ldm::Domain, dlmp_api::ldm::Switch, dlmp_api::ldm::Vnet,
        dlmp_api::ldm::Netdev, dlmp_api::ldm::Manager, dlmp_api::ldm::ManagerInterface, dlmp_api::ldm::MacCollision,
        dlmp_api::RuleCount
    ],
    vendor = "The dlmp authors",
    product = "ldmd",
    version = env!("CARGO_PKG_VERSION"),
    url = "https://example.org/dlmp"
)]
impl<Sock> Service
where
    Sock::ReadHalf: HasCaller,
{
    async fn get_info(&mut self) -> Result<InfoReply, Error> {
        let info = LdmdInfo {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id().into(),
            config: self.control.lock().await.config_path(),
        };
        Ok(InfoReply { info })
    }

    async fn get_manager(&mut self) -> Result<ManagerReply, Error> {
        let allocator = self.control.lock().await.allocator.clone();
        let report = allocator.report().await;
        Ok(ManagerReply { manager: self.control.lock().await.manager(&report) })
    }

    async fn add_domain(
        &mut self,
        request: NewDomain,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<(), Error> {
        may_change(conn).await?;
        self.control.lock().await.add_domain(request).await
    }

    async fn remove_domain(
        &mut self,
        name: String,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<(), Error> {
        may_change(conn).await?;
        self.control.lock().await.remove_domain(&name)
    }

    async fn stop_domain(
        &mut self,
        name: String,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<(), Error> {
        may_change(conn).await?;
        self.control.lock().await.run_domain(&name, false).await
    }

    async fn start_domain(
        &mut self,
        name: String,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<(), Error> {
        may_change(conn).await?;
        self.control.lock().await.run_domain(&name, true).await
    }

    async fn add_switch(
        &mut self,
        request: NewSwitch,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<(), Error> {
        may_change(conn).await?;
        self.with_addresses("vsw", async |control, claimed| control.add_switch(&request, claimed).await).await
    }

    async fn set_switch(
        &mut self,
        name: String,
        settings: Vec<Setting>,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<(), Error> {
        may_change(conn).await?;
        self.with_addresses("vsw", async |control, claimed| control.set_switch(&name, &settings, claimed).await).await
    }

    async fn remove_switch(
        &mut self,
        name: String,
        force: bool,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<(), Error> {
        may_change(conn).await?;
        self.control.lock().await.remove_switch(&name, force).await
    }

    async fn add_vnet(
        &mut self,
        request: NewVnet,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<(), Error> {
        may_change(conn).await?;
        self.with_addresses("vnet", async |control, claimed| control.add_vnet(&request, claimed).await).await
    }

    async fn set_vnet(
        &mut self,
        name: String,
        domain: String,
        settings: Vec<Setting>,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<(), Error> {
        may_change(conn).await?;
        let change = async |control: &mut Control, claimed: &[MacAddr]| {
            control.set_vnet(&name, &domain, &settings, claimed).await
        };
        self.with_addresses("vnet", change).await
    }

    async fn remove_vnet(
        &mut self,
        name: String,
        domain: String,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> Result<(), Error> {
        may_change(conn).await?;
        self.control.lock().await.remove_vnet(&name, &domain).await
    }

    #[zlink(return_fds)]
    async fn attach_vnet(
        &mut self,
        name: String,
        domain: String,
        #[zlink(connection)] conn: &mut Connection<Sock>,
    ) -> (Result<AttachReply, Error>, Vec<std::os::fd::OwnedFd>) {
        let attached = match may_change(conn).await {
            Ok(()) => self.control.lock().await.attach_vnet(&name, &domain).await,
            Err(denied) => Err(denied.into()),
        };
        match attached {
            Ok(tap) => (Ok(AttachReply { fd: 0 }), vec![tap]),
            Err(error) => (Err(error), Vec::new()),
        }
    }

    #[zlink(more)]
    async fn list_domains(&self, _more: bool) -> impl Stream<Item = Reply<DomainsReply>> + Unpin {
        in_parts(Some(self.control.lock().await.list_domains()), |domains| DomainsReply { domains })
    }

    #[zlink(more)]
    async fn list_switches(&self, _more: bool) -> impl Stream<Item = Reply<SwitchesReply>> + Unpin {
        in_parts(Some(self.control.lock().await.list_switches()), |switches| SwitchesReply { switches })
    }

    #[zlink(more)]
    async fn list_vnets(&self, _more: bool) -> impl Stream<Item = Reply<VnetsReply>> + Unpin {
        in_parts(Some(self.control.lock().await.list_vnets()), |vnets| VnetsReply { vnets })
    }

    #[zlink(more)]
    async fn list_netdevs(
        &self,
        _more: bool,
        domain: Option<String>,
    ) -> impl Stream<Item = Reply<NetdevsReply>> + Unpin {
        let netdevs = self.control.lock().await.list_netdevs(domain.as_deref()).await;
        in_parts(Some(netdevs), |netdevs| NetdevsReply { netdevs })
    }
}

#[cfg(test)]
mod tests {
    /// The description that users read is the one that the service gives of itself.
    /// `UPDATE_DESCRIPTION=1 cargo test -p ldmd` writes it anew.
    #[test]
    fn the_interface_description_in_the_repository_is_the_services_own() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/io.dlmp.VirtualNetwork.varlink");
        // zlink makes the constant: the description that a client gets from org.varlink.service.
        let own = format!("{}\n", super::__Service_INTERFACE_0);
        if std::env::var_os("UPDATE_DESCRIPTION").is_some() {
            std::fs::write(path, &own).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), own);
    }
}
