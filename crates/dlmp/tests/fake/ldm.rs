//! A manager that knows a control domain, a guest, a switch and two devices, and refuses every change with what it
//! was asked for.

use dlmp_api::ldm::{
    Domain, DomainsReply, Error, InfoReply, LdmdInfo, Netdev, NetdevsReply, NewDomain, NewSwitch, NewVnet, PRIMARY,
    Setting, Switch, SwitchesReply, Vnet, VnetsReply,
};
use futures_util::{Stream, stream};
use zlink::{Reply, service};

struct Fake;

/// Serves the namespace of the calling thread until the test program ends.
pub fn serve() {
    super::serve_as(dlmp_api::socket::LDMD, Fake);
}

/// Takes connections and drops them.
pub fn serve_silence() {
    super::drop_connections(dlmp_api::socket::LDMD);
}

/// Entries, each in a reply of its own.
fn parts<T: 'static, R: 'static>(
    entries: Vec<T>,
    reply: impl Fn(Vec<T>) -> R + 'static,
) -> impl Stream<Item = Reply<R>> + Unpin {
    let last = entries.len() - 1;
    stream::iter(
        entries
            .into_iter()
            .enumerate()
            .map(move |(number, entry)| Reply::new(Some(reply(vec![entry]))).set_continues(Some(number < last))),
    )
}

fn said(settings: &[Setting]) -> String {
    let said: Vec<_> = settings.iter().map(|setting| format!("{} to {:?}", setting.property, setting.value)).collect();
    said.join(", ")
}

fn domain(name: &str, kind: &str, problem: Option<&str>) -> Domain {
    Domain {
        name: name.into(),
        state: if problem.is_none() { "active" } else { "inactive" }.into(),
        kind: kind.into(),
        place: if name == PRIMARY { "this host" } else { name }.into(),
        switches: i64::from(name == PRIMARY),
        vnets: 2,
        uptime: problem.is_none().then_some(60),
        problem: problem.map(Into::into),
    }
}

fn vnet(name: &str, id: i64) -> Vnet {
    Vnet {
        name: name.into(),
        domain: "ldg6".into(),
        switch: "primary-vsw0".into(),
        service: PRIMARY.into(),
        mac: format!("00:14:4f:f9:cf:{id:02x}"),
        alternates: vec![],
        pvid: 1,
        vids: vec![],
        id,
        physstate: true,
        mtu: 1500,
        maxbw: None,
        custom: true,
        maxmacs: 4096,
        maxvlans: 4096,
        priority: None,
        cos: None,
        protection: vec![],
        allowedips: vec![],
        state: "up".into(),
        speed: Some(1000),
        duplex: "full".into(),
        macs: 1,
        vlans: 0,
        counters: vec![],
        problem: None,
    }
}

fn netdev(domain: &str, name: &str) -> Netdev {
    Netdev {
        domain: domain.into(),
        name: name.into(),
        class: "PHYS".into(),
        media: "ETHER".into(),
        state: "up".into(),
        speed: Some(1000),
        over: vec![],
        location: None,
        mac: None,
        mtu: 1500,
    }
}

#[service(
    interface = "io.dlmp.VirtualNetwork",
    types = [
        dlmp_api::ldm::LdmdInfo, dlmp_api::ldm::NewDomain, dlmp_api::ldm::NewSwitch, dlmp_api::ldm::NewVnet,
        dlmp_api::ldm::Setting, dlmp_api::ldm::Domain, dlmp_api::ldm::Switch, dlmp_api::ldm::Vnet,
        dlmp_api::ldm::Netdev, dlmp_api::RuleCount
    ]
)]
impl Fake {
    async fn get_info(&mut self) -> Result<InfoReply, Error> {
        Ok(InfoReply { info: LdmdInfo { version: "0".into(), pid: 1, config: "/none".into() } })
    }

    async fn add_domain(&mut self, request: NewDomain) -> Result<(), Error> {
        Err(Error::refused(format!("{request:?}"), "ldm list"))
    }

    async fn remove_domain(&mut self, name: String) -> Result<(), Error> {
        Err(Error::refused(format!("remove {name}"), ""))
    }

    async fn stop_domain(&mut self, name: String) -> Result<(), Error> {
        Err(Error::NotPermitted { reason: format!("stop {name}"), remedy: String::new() })
    }

    async fn start_domain(&mut self, name: String) -> Result<(), Error> {
        Err(Error::failed(format!("start {name}")))
    }

    async fn add_switch(&mut self, request: NewSwitch) -> Result<(), Error> {
        Err(Error::refused(format!("{} in {}: {}", request.name, request.domain, said(&request.settings)), ""))
    }

    async fn set_switch(&mut self, name: String, settings: Vec<Setting>) -> Result<(), Error> {
        Err(Error::refused(format!("{name}: {}", said(&settings)), ""))
    }

    async fn remove_switch(&mut self, name: String, force: bool) -> Result<(), Error> {
        Err(Error::refused(format!("remove {name} {force}"), ""))
    }

    async fn add_vnet(&mut self, request: NewVnet) -> Result<(), Error> {
        let NewVnet { name, switch, domain, settings } = request;
        Err(Error::refused(format!("{name} on {switch} in {domain}: {}", said(&settings)), ""))
    }

    async fn set_vnet(&mut self, name: String, domain: String, settings: Vec<Setting>) -> Result<(), Error> {
        Err(Error::refused(format!("{name} in {domain}: {}", said(&settings)), ""))
    }

    async fn remove_vnet(&mut self, name: String, domain: String) -> Result<(), Error> {
        Err(Error::refused(format!("remove {name} in {domain}"), ""))
    }

    #[zlink(more)]
    async fn list_domains(&self, _more: bool) -> impl Stream<Item = Reply<DomainsReply>> + Unpin {
        let gone = Some("the network namespace ldg6 is not there");
        let domains = vec![domain("ldg6", "namespace", gone), domain(PRIMARY, "control", None)];
        parts(domains, |domains| DomainsReply { domains })
    }

    #[zlink(more)]
    async fn list_switches(&self, _more: bool) -> impl Stream<Item = Reply<SwitchesReply>> + Unpin {
        let switch = Switch {
            name: "primary-vsw0".into(),
            domain: PRIMARY.into(),
            mac: "00:14:4f:fb:9f:0d".into(),
            netdev: Some("net0".into()),
            id: 0,
            physstate: true,
            defaultvlan: 1,
            pvid: 1,
            vids: vec![],
            mtu: 1500,
            intervnet: "auto".into(),
            state: "up".into(),
            speed: Some(1000),
            duplex: "full".into(),
            problem: None,
        };
        parts(vec![switch], |switches| SwitchesReply { switches })
    }

    #[zlink(more)]
    async fn list_vnets(&self, _more: bool) -> impl Stream<Item = Reply<VnetsReply>> + Unpin {
        parts(vec![vnet("vnet6", 0), vnet("vnet1", 1)], |vnets| VnetsReply { vnets })
    }

    #[zlink(more)]
    async fn list_netdevs(
        &self,
        _more: bool,
        domain: Option<String>,
    ) -> impl Stream<Item = Reply<NetdevsReply>> + Unpin {
        let mut netdevs = vec![netdev("ldg6", "net0"), netdev("ldg6", "net1"), netdev(PRIMARY, "net0")];
        netdevs.retain(|netdev| domain.as_ref().is_none_or(|domain| *domain == netdev.domain));
        parts(netdevs, |netdevs| NetdevsReply { netdevs })
    }
}
