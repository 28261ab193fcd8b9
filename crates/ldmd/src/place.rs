//! The network of a domain, opened: its namespace and sockets that were made in it.
//!
//! An open namespace stays in the kernel when it is deleted, so whoever holds one has to notice that and let go
//! ([`crate::watch`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use dlmp_netlink::Netlink;
use dlmp_netlink::namespace::{self, Namespace};

use crate::config;
use crate::links::Links;

/// An open network namespace.
#[derive(Debug)]
pub struct Place {
    /// The namespace itself.
    pub namespace: Namespace,
    /// Its links by netlink.
    pub netlink: Netlink,
    /// Its links by ioctl.
    pub links: Arc<Links>,
    /// When it was opened.
    pub since: Instant,
}

impl Place {
    /// Opens the namespace that `ldmd` runs in.
    ///
    /// # Errors
    /// Those of making sockets.
    pub fn own() -> dlmp_netlink::Result<Self> {
        Self::of(Namespace::current()?)
    }

    /// Opens the namespace of a domain; that of a process must have this cookie.
    ///
    /// # Errors
    /// Why it is not there, in words.
    pub fn open(place: &config::Place, cookie: Option<u64>) -> Result<Self, String> {
        let namespace = match place {
            config::Place::Namespace(named) => Namespace::open_named(&named.name).map_err(|error| error.to_string())?,
            config::Place::Path(path) => Namespace::open(path).map_err(|error| error.to_string())?,
            config::Place::Pid(pid) => {
                let namespace = Namespace::of_process(*pid).map_err(|error| error.to_string())?;
                if namespace.cookie().ok() != cookie {
                    return Err(format!("process {pid} is not the one that the domain was made of any more"));
                }
                namespace
            }
            config::Place::Vm(_) => return Err("a virtual machine has no network namespace".into()),
        };
        Self::of(namespace).map_err(|error| error.to_string())
    }

    fn of(namespace: Namespace) -> dlmp_netlink::Result<Self> {
        let sockets = namespace.enter(|| Netlink::connect().and_then(|netlink| Ok((netlink, Links::open()?))))?;
        let (netlink, links) = sockets.map_err(|error| dlmp_netlink::Error::new("open sockets", error))?;
        Ok(Self { namespace, netlink, links: Arc::new(links), since: Instant::now() })
    }
}

/// The file by which a namespace is there, if it is there by one.
pub fn file(place: &config::Place) -> Option<PathBuf> {
    match place {
        config::Place::Namespace(named) => namespace::path_of(&named.name).ok(),
        config::Place::Path(path) => Some(path.clone()),
        config::Place::Pid(pid) => Some(PathBuf::from(format!("/proc/{pid}/ns/net"))),
        config::Place::Vm(_) => None,
    }
}

/// Where a domain is, in words.
pub fn text(place: &config::Place) -> String {
    match place {
        config::Place::Namespace(named) => named.name.clone(),
        config::Place::Path(path) | config::Place::Vm(path) => path.display().to_string(),
        config::Place::Pid(pid) => format!("pid {pid}"),
    }
}
