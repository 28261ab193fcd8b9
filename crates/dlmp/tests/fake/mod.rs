//! A daemon that knows one aggregation and gives one fixed answer to each request; [`ldm`] has the other daemon.

pub mod ldm;

use std::sync::mpsc;
use std::thread;

use dlmp_api::{
    Address, AddressesReply, Aggregation, AggregationsReply, Client, ClientsReply, DaemonInfo, Error, InfoReply,
    Interface, InterfacesReply, LinkProperty, NewAddress, NewAggregation, NewVnic, ObjectReply, Port, PortChange,
    PortStatistics, ProbeNews, ProbeReply, PropertiesReply, PropertyRequest, StateNews, StateReply, StatisticsReply,
    Vnic, VnicsReply,
};
use futures_util::{Stream, StreamExt, stream};
use zlink::{Reply, service};

/// Looks after which a DHCP address is there.
const LOOKS: u32 = 3;

struct Fake {
    /// How often the addresses were asked for.
    looks: u32,
}

/// Serves the namespace of the calling thread until the test program ends.
pub fn serve() {
    serve_as(dlmp_api::socket::DLMPD, Fake { looks: 0 });
}

fn serve_as(socket: &str, service: impl zlink::Service<zlink::tokio::unix::Stream> + Send + 'static) {
    let listener = dlmp_api::socket::bind(socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (ready, is_ready) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            let server = zlink::Server::new(zlink::tokio::unix::Listener::from(listener), service);
            ready.send(()).unwrap();
            server.run().await.unwrap();
        });
    });
    is_ready.recv().unwrap();
}

/// Takes connections and drops them.
pub fn serve_silence() {
    drop_connections(dlmp_api::socket::DLMPD);
}

fn drop_connections(socket: &str) {
    let listener = dlmp_api::socket::bind(socket).unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            drop(connection);
        }
    });
}

/// A reply that more replies follow.
fn reply<R>(parameters: R) -> Reply<R> {
    Reply::new(Some(parameters)).set_continues(Some(true))
}

#[service(
    interface = "io.dlmp.Aggregation",
    types = [
        dlmp_api::DaemonInfo, dlmp_api::NewAggregation, dlmp_api::PortChange, dlmp_api::Aggregation, dlmp_api::Port,
        dlmp_api::NewVnic, dlmp_api::Vnic, dlmp_api::Client, dlmp_api::PortStatistics, dlmp_api::RuleCount, dlmp_api::LinkProperty, dlmp_api::PropertyChange,
        dlmp_api::PropertyRequest, dlmp_api::ProbeNews, dlmp_api::StateNews, dlmp_api::Interface, dlmp_api::NewAddress, dlmp_api::Address
    ]
)]
impl Fake {
    async fn get_info(&mut self) -> Result<InfoReply, Error> {
        Ok(InfoReply {
            info: DaemonInfo { version: "0".into(), pid: 1, config: "/none".into(), attachment: "tcx".into() },
        })
    }

    async fn list_aggregations(&mut self) -> Result<AggregationsReply, Error> {
        let port = |name: &str, mac: &str| Port {
            name: name.into(),
            mac: Some(mac.into()),
            state: "up".into(),
            speed: Some(1000),
            duplex: "full".into(),
            health: "active".into(),
            reason: "its link is up".into(),
            portstate: "attached".into(),
            clients: vec![],
            flags: if name == "net0" { "u--3" } else { "u-2-" }.into(),
            targets: if name == "net0" { vec!["192.0.2.1".into()] } else { vec![] },
            xtargets: vec![if name == "net0" { "net1" } else { "net0" }.into()],
            vlans: None,
        };
        Ok(AggregationsReply {
            aggregations: vec![Aggregation {
                name: "aggr0".into(),
                mode: "dlmp".into(),
                mac: "02:08:20:88:84:ba".into(),
                mtu: 1500,
                state: "up".into(),
                speed: Some(1000),
                duplex: "full".into(),
                temporary: false,
                detection: "link and probes".into(),
                multicast_port: None,
                problems: vec![],
                ports: vec![port("net0", "00:14:4f:f9:cf:47"), port("net1", "00:14:4f:fb:f5:33")],
            }],
        })
    }

    /// Refuses, and gives back what it was asked for.
    async fn create_aggregation(&mut self, request: NewAggregation) -> Result<(), Error> {
        Err(Error::refused(format!("{request:?}"), "dladm show-phys"))
    }

    async fn delete_aggregation(&mut self, name: String, temporary: bool) -> Result<(), Error> {
        Err(Error::NotPermitted { reason: format!("not {name} {temporary}"), remedy: String::new() })
    }

    async fn add_ports(&mut self, request: PortChange) -> Result<(), Error> {
        Err(Error::failed(format!("{request:?}")))
    }

    async fn remove_ports(&mut self, request: PortChange) -> Result<(), Error> {
        Err(Error::failed(format!("{request:?}")))
    }

    async fn list_vnics(&mut self) -> Result<VnicsReply, Error> {
        let vnic = |name: &str, vlan: i64| Vnic {
            name: name.into(),
            link: "aggr0".into(),
            speed: Some(1000),
            mac: "02:08:20:00:00:02".into(),
            mackind: "fixed".into(),
            vlan,
            state: "up".into(),
            temporary: false,
        };
        Ok(VnicsReply { vnics: vec![vnic("vnic1", 0), vnic("vnic2", 7)] })
    }

    async fn create_vnic(&mut self, request: NewVnic) -> Result<(), Error> {
        Err(Error::refused(format!("{request:?}"), "dladm show-aggr"))
    }

    async fn delete_vnic(&mut self, name: String, temporary: bool) -> Result<(), Error> {
        Err(Error::refused(format!("not {name} {temporary}"), ""))
    }

    async fn list_clients(&mut self) -> Result<ClientsReply, Error> {
        let client = |aggregation: &str, link: Option<&str>, kind: &str| Client {
            aggregation: aggregation.into(),
            link: link.map(Into::into),
            address: "02:08:20:00:00:02".into(),
            vlan: 0,
            kind: kind.into(),
            port: Some("net0".into()),
        };
        let clients = vec![
            client("aggr0", Some("vnic1"), "vnic"),
            client("aggr0", None, "learned"),
            client("aggr1", Some("aggr1"), "primary"),
        ];
        Ok(ClientsReply { clients })
    }

    async fn get_statistics(&mut self) -> Result<StatisticsReply, Error> {
        let port = |port: &str, packets: i64| PortStatistics {
            aggregation: "aggr0".into(),
            port: port.into(),
            ipackets: packets,
            rbytes: packets * 100,
            opackets: packets,
            obytes: packets * 100,
            rules: vec![],
        };
        Ok(StatisticsReply { ports: vec![port("net0", 5000), port("net1", 7), port("", 0)] })
    }

    async fn list_link_properties(&mut self) -> Result<PropertiesReply, Error> {
        let property = |name: &str, value: Option<&str>, default: Option<&str>| LinkProperty {
            link: "aggr0".into(),
            property: name.into(),
            value: value.map(Into::into),
            effective: value.or(default).map(Into::into),
            default: default.map(Into::into),
            possible: "anything".into(),
        };
        let properties = vec![
            property("probe-fdt", None, Some("1s")),
            property("probe-ip", Some("+192.0.2.1,[aggr0]+"), None),
            property("probe-vlan-id", None, Some("0")),
        ];
        Ok(PropertiesReply { properties })
    }

    async fn change_link_properties(&mut self, request: PropertyRequest) -> Result<(), Error> {
        let change = |change: &dlmp_api::PropertyChange| match &change.value {
            Some(value) => format!("{} to {value}", change.property),
            None => format!("{} reset", change.property),
        };
        let changes: Vec<_> = request.changes.iter().map(change).collect();
        Err(Error::refused(format!("{} {}: {}", request.link, request.temporary, changes.join("; ")), ""))
    }

    /// A probe that goes out and is answered, one that goes out, and that some were missed; then nothing more.
    #[zlink(more)]
    async fn watch_probes(&self, _more: bool) -> impl Stream<Item = Reply<ProbeReply>> + Unpin {
        let probe = |aggregation: &str, probe: &str, target: &str, rtt| ProbeNews {
            time: 0,
            aggregation: aggregation.into(),
            port: "net0".into(),
            local: "net0".into(),
            target: target.into(),
            probe: probe.into(),
            netrtt: rtt,
            rtt,
        };
        let all = [
            (Some(probe("aggr0", "i7", "192.0.2.1", None)), 0),
            (Some(probe("aggr0", "i7", "192.0.2.1", Some(620_000))), 0),
            (Some(probe("aggr1", "i8", "192.0.2.1", None)), 0),
            (Some(probe("aggr0", "t9", "net1", None)), 0),
            (None, 12),
        ];
        stream::iter(all.map(|(probe, missed)| reply(ProbeReply { probe, missed }))).chain(stream::pending())
    }

    /// Two changes, and the end.
    #[zlink(more)]
    async fn watch_states(&self, _more: bool) -> impl Stream<Item = Reply<StateReply>> + Unpin {
        let change = |aggregation: &str| StateNews {
            time: 0,
            aggregation: aggregation.into(),
            port: Some("net1".into()),
            state: "failed".into(),
            reason: "its link is down".into(),
        };
        let replies = ["aggr0", "aggr1"].map(|name| reply(StateReply { change: Some(change(name)), missed: 0 }));
        let last = Reply::new(Some(StateReply { change: None, missed: 0 })).set_continues(Some(false));
        stream::iter(replies).chain(stream::iter([last]))
    }

    async fn list_interfaces(&mut self) -> Result<InterfacesReply, Error> {
        Ok(InterfacesReply { interfaces: vec![Interface { name: "aggr0".into(), temporary: false }] })
    }

    async fn create_interface(&mut self, name: String, temporary: bool) -> Result<(), Error> {
        Err(Error::refused(format!("{name} {temporary} exists already"), ""))
    }

    async fn delete_interface(&mut self, name: String) -> Result<(), Error> {
        Err(Error::refused(format!("no interface {name}"), ""))
    }

    /// `aggr0/late` gets its lease after some looks, `aggr0/never` does not.
    async fn list_addresses(&mut self) -> Result<AddressesReply, Error> {
        self.looks += 1;
        let address = |object: &str, bound: bool| Address {
            object: object.into(),
            kind: "dhcp".into(),
            state: if bound { "ok" } else { "tentative" }.into(),
            address: bound.then(|| "192.0.2.7/24".into()),
            lease: bound.then_some(3600),
            problem: (!bound).then(|| "nobody answers".into()),
            temporary: false,
        };
        Ok(AddressesReply {
            addresses: vec![address("aggr0/late", self.looks >= LOOKS), address("aggr0/never", false)],
        })
    }

    async fn create_address(&mut self, request: NewAddress) -> Result<ObjectReply, Error> {
        match (request.object.as_str(), &request.address) {
            ("aggr0", Some(address)) => Err(Error::refused(format!("{address} is in use"), "")),
            ("aggr0", None) => Ok(ObjectReply { object: "aggr0/late".into() }),
            (object, _) => Ok(ObjectReply { object: object.into() }),
        }
    }

    async fn delete_address(&mut self, object: String, release: bool) -> Result<(), Error> {
        Err(Error::refused(format!("no object {object} to release: {release}"), ""))
    }
}
