//! Requests about domains.

use std::path::PathBuf;

use dlmp_api::ldm::{Error, NewDomain, PRIMARY};
use dlmp_netlink::Namespace;

use crate::config::{DomainConfig, Named, Place};
use crate::control::{Control, check_name};
use crate::place;

/// The longest name of a domain: that of a host.
const NAME_MAX: usize = 63;

impl Control {
    /// Adds a domain. A named namespace that is missing is made.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn add_domain(&mut self, request: NewDomain) -> Result<(), Error> {
        let name = request.name.clone();
        check_name("domain", &name, NAME_MAX)?;
        if name == PRIMARY || self.config.domains.contains_key(&name) {
            return Err(Error::refused(format!("the domain {name} exists already"), format!("ldm list {name}")));
        }
        let place = place_of(request).await?;
        let own_cookie = match &place {
            Place::Pid(pid) => Namespace::of_process(*pid).and_then(|namespace| namespace.cookie()).ok(),
            Place::Namespace(Named { name, made: true }) => cookie_of(name),
            _ => None,
        };
        let opened = match &place {
            Place::Vm(_) => None,
            place => match place::Place::open(place, own_cookie) {
                Ok(opened) => Some(opened),
                Err(error) => {
                    unmake(place);
                    return Err(Error::refused(error, "ip netns list"));
                }
            },
        };
        let cookie = opened.as_ref().and_then(|opened| opened.namespace.cookie().ok());
        let twin = self.places.iter().find(|(_, other)| cookie.is_some() && other.namespace.cookie().ok() == cookie);
        if let Some((other, _)) = twin {
            return Err(Error::refused(format!("that network namespace is the domain {other} already"), "ldm list"));
        }
        let kept = self.keep_cookie(&name, own_cookie).and_then(|()| {
            self.commit(|config| {
                config.domains.insert(name.clone(), DomainConfig { place: place.clone(), stopped: false });
            })
        });
        if let Err(error) = kept {
            drop(opened);
            unmake(&place);
            return Err(error);
        }
        match (opened, place) {
            (Some(opened), _) => drop(self.places.insert(name, opened)),
            (None, Place::Vm(socket)) => drop(self.machines.insert(name, self.emulators.follow(socket))),
            (None, _) => {}
        }
        Ok(())
    }

    /// Removes a domain, and the namespace that was made for it.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub fn remove_domain(&mut self, name: &str) -> Result<(), Error> {
        self.not_primary(name, "removed")?;
        self.known_domain(name)?;
        if let Some((switch, _)) = self.config.switches.iter().find(|(_, switch)| switch.domain == name) {
            return Err(Error::refused(
                format!("the domain {name} has the virtual switch {switch}"),
                format!("ldm rm-vsw {switch}"),
            ));
        }
        if let Some(key) = self.config.vnets.keys().find(|key| key.domain == name) {
            return Err(Error::refused(
                format!("the domain {name} has the vnet {}", key.name),
                format!("ldm rm-vnet {} {name}", key.name),
            ));
        }
        let domain = self.config.domains.get(name).cloned();
        self.commit(|config| drop(config.domains.remove(name)))?;
        self.places.remove(name);
        self.machines.remove(name);
        self.problems.domains.remove(name);
        // Only the one that was made: somebody may have put another one in its place.
        if let Some(DomainConfig { place: place @ Place::Namespace(named), .. }) = &domain
            && cookie_of(&named.name).is_some_and(|cookie| self.state.cookies.get(name) == Some(&cookie))
        {
            unmake(place);
        }
        if let Err(error) = self.keep_cookie(name, None) {
            tracing::warn!(domain = name, %error, "what is kept of the removed domain stays");
        }
        Ok(())
    }

    /// Stops a domain: the links of its switches and vnets go down, and stay down until it is started. Starts it again.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn run_domain(&mut self, name: &str, run: bool) -> Result<(), Error> {
        self.not_primary(name, "stopped")?;
        self.known_domain(name)?;
        if self.runs(name) == run {
            let state = if run { "runs" } else { "is stopped" };
            return Err(Error::refused(format!("the domain {name} {state} already"), format!("ldm list {name}")));
        }
        self.commit(|config| {
            if let Some(domain) = config.domains.get_mut(name) {
                domain.stopped = !run;
            }
        })?;
        self.show_links_of(name).await;
        Ok(())
    }

    fn not_primary(&self, name: &str, what: &str) -> Result<(), Error> {
        match name == PRIMARY {
            true => Err(Error::refused(format!("{PRIMARY} is the domain that ldmd runs in: it cannot be {what}"), "")),
            false => Ok(()),
        }
    }
}

/// Where a new domain is to be; a named namespace is made if it is missing.
async fn place_of(request: NewDomain) -> Result<Place, Error> {
    let NewDomain { name, namespace, path, pid, vm } = request;
    let places = [namespace.is_some(), path.is_some(), pid.is_some(), vm.is_some()];
    if places.iter().filter(|given| **given).count() > 1 {
        return Err(Error::refused("a domain has one place: a namespace's name, its file, a process or a VM", ""));
    }
    if let Some(path) = path {
        return absolute("file of a network namespace", path).map(Place::Path);
    }
    if let Some(vm) = vm {
        return absolute("control socket of an emulator", vm).map(Place::Vm);
    }
    if let Some(number) = pid {
        let pid = u32::try_from(number).map_err(|error| Error::refused(format!("{number}: {error}"), ""))?;
        return Ok(Place::Pid(pid));
    }
    let name = namespace.unwrap_or(name);
    match Namespace::make_named(&name).await {
        Ok(_) => Ok(Place::Namespace(Named { name, made: true })),
        Err(error) if error.errno() == Some(libc::EEXIST) => Ok(Place::Namespace(Named { name, made: false })),
        Err(error) => Err(Error::failed(error.to_string())),
    }
}

fn absolute(what: &str, path: String) -> Result<PathBuf, Error> {
    match path.starts_with('/') {
        true => Ok(PathBuf::from(path)),
        false => Err(Error::refused(format!("the {what} is given from the root on, not as {path}"), "")),
    }
}

/// Cookie of a named namespace, if there is one.
pub fn cookie_of(name: &str) -> Option<u64> {
    Namespace::open_named(name).and_then(|namespace| namespace.cookie()).ok()
}

/// Removes a namespace that was made for a domain; what stays is logged.
fn unmake(place: &Place) {
    if let Place::Namespace(Named { name, made: true }) = place
        && let Err(error) = Namespace::delete_named(name)
        && error.errno() != Some(libc::ENOENT)
    {
        tracing::warn!(namespace = name, %error, "the network namespace stays");
    }
}
