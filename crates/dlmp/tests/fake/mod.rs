//! A daemon that knows one aggregation and gives one fixed answer to each request.

use std::sync::mpsc;
use std::thread;

use dlmp_api::{
    Address, AddressesReply, Aggregation, AggregationsReply, DaemonInfo, Error, InfoReply, Interface, InterfacesReply,
    NewAddress, NewAggregation, ObjectReply, Port, PortChange, PortStatistics, StatisticsReply,
};
use zlink::service;

/// Looks after which a DHCP address is there.
const LOOKS: u32 = 3;

struct Fake {
    /// How often the addresses were asked for.
    looks: u32,
}

/// Serves the namespace of the calling thread until the test program ends.
pub fn serve() {
    let listener = dlmp_api::socket::bind().unwrap();
    listener.set_nonblocking(true).unwrap();
    let (ready, is_ready) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            let server = zlink::Server::new(zlink::tokio::unix::Listener::from(listener), Fake { looks: 0 });
            ready.send(()).unwrap();
            server.run().await.unwrap();
        });
    });
    is_ready.recv().unwrap();
}

/// Takes connections and drops them.
pub fn serve_silence() {
    let listener = dlmp_api::socket::bind().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            drop(connection);
        }
    });
}

#[service(
    interface = "io.dlmp.Aggregation",
    types = [
        dlmp_api::DaemonInfo, dlmp_api::NewAggregation, dlmp_api::PortChange, dlmp_api::Aggregation, dlmp_api::Port,
        dlmp_api::PortStatistics, dlmp_api::RuleCount, dlmp_api::Interface, dlmp_api::NewAddress, dlmp_api::Address
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
            flags: "u---".into(),
            targets: vec![],
            xtargets: vec![],
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
                detection: "link".into(),
                multicast_port: None,
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
