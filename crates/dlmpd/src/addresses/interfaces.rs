//! IP interfaces: making, deleting and listing them (`ipadm create-ip`).

use dlmp_api::{Error, Interface};
use dlmp_netlink::Link;

use super::failed;
use crate::config::InterfaceConfig;
use crate::control::Control;
use crate::object::interface_of;

impl Control {
    /// The IP interfaces that are kept.
    pub fn list_interfaces(&self) -> Vec<Interface> {
        (self.interfaces().into_iter()).map(|(name, temporary)| Interface { name, temporary }).collect()
    }

    /// Makes an IP interface on a link.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn create_interface(&mut self, name: &str, temporary: bool) -> Result<(), Error> {
        if self.addresses.has_interface(name) {
            return Err(Error::refused(
                format!("the IP interface {name} exists already"),
                format!("ipadm show-if {name}"),
            ));
        }
        let link = self.usable_link(name).await?;
        self.stores.commit(|config, state| {
            let place = if temporary { &mut state.temporary } else { config };
            place.interfaces.insert(name.to_owned(), InterfaceConfig {});
        })?;
        if !link.admin_up
            && let Err(error) = self.netlink.set_up(link.index, true).await
        {
            self.forget_interface(name)?;
            return Err(failed(error));
        }
        self.addresses.interfaces.insert(name.to_owned(), Some(link.index));
        Ok(())
    }

    /// Removes an IP interface with its address objects. DHCP leases are kept, not released.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn delete_interface(&mut self, name: &str) -> Result<(), Error> {
        if !self.addresses.has_interface(name) {
            return Err(Error::refused(format!("there is no IP interface {name}"), "ipadm show-if"));
        }
        let objects: Vec<String> = (self.objects().into_keys()).filter(|object| interface_of(object) == name).collect();
        for object in objects {
            self.delete_address(&object, false).await?;
        }
        self.forget_interface(name)?;
        self.addresses.interfaces.remove(name);
        self.idle_if_empty();
        Ok(())
    }

    /// A link that can have addresses: not the port of an aggregation.
    pub(super) async fn usable_link(&self, name: &str) -> Result<Link, Error> {
        let link = self.netlink.link(name).await.map_err(failed)?;
        let link = link.ok_or_else(|| Error::refused(format!("there is no link {name}"), "dladm show-link"))?;
        for aggregation in self.monitor.list().await? {
            if aggregation.ports.iter().any(|port| port.name == name) {
                return Err(Error::refused(
                    format!("{name} is a port of the aggregation {}: a port keeps no addresses", aggregation.name),
                    format!("ipadm create-ip {}", aggregation.name),
                ));
            }
        }
        Ok(link)
    }

    fn forget_interface(&mut self, name: &str) -> Result<(), Error> {
        self.stores.commit(|config, state| {
            config.interfaces.remove(name);
            state.temporary.interfaces.remove(name);
        })
    }
}
