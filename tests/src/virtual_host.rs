//! A host with `ldmd`: the scene of the seed, from its uplinks on built by `ldm`.

use std::collections::BTreeMap;
use std::mem;
use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use dlmp_testbed::{End, Environment, Flow, Namespace, Scene};
use serde_json::Value;

use crate::command::{ip_json, json, refused, run, typed, wait_for};

/// The address that the guest gets, in the /24 of [`Scene::DOMAIN`].
pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 84, 6));

/// Longer than the kernel holds carrier events back (net/core/link_watch.c).
const REST: Duration = Duration::from_millis(1200);

/// The scene with its `ldmd` running.
#[derive(Debug)]
pub struct VirtualHost {
    /// The namespaces.
    pub scene: Scene,
}

impl VirtualHost {
    /// A host on which nothing is built yet.
    pub fn bare() -> Self {
        let scene = Scene::new("ee").unwrap();
        scene.primary.start().unwrap();
        Self { scene }
    }

    /// With the switches and vnets of the seed.
    pub fn built() -> Self {
        let host = Self::bare();
        for line in host.scene.lines() {
            host.typed(&line);
        }
        host
    }

    /// Where lines are typed.
    pub fn dlmp(&self) -> &Environment {
        self.scene.primary.dlmp()
    }

    /// The namespace of the domain `primary`.
    pub fn primary(&self) -> &Namespace {
        self.dlmp().namespace()
    }

    /// Types a line in `primary` that has to succeed.
    pub fn typed(&self, line: &str) -> String {
        typed(self.dlmp(), line)
    }

    /// Types a line in `primary` that has to be refused and name each of these; nothing at all may have changed. Returns
    /// the message.
    pub fn refused(&self, line: &str, names: &[&str]) -> String {
        let before = self.everything();
        let message = refused(self.dlmp(), line);
        for name in names {
            assert!(message.contains(name), "`{line}` does not name {name:?}: {message}");
        }
        let after = self.everything();
        assert_eq!(after.len(), before.len(), "`{line}` made or removed a link: {message}");
        for (what, now) in after {
            assert_eq!(Some(&now), before.get(&what), "`{line}` changed {what}: {message}");
        }
        message
    }

    /// What `ldm ... -j` says.
    pub fn json(&self, line: &str) -> Value {
        json(self.dlmp(), line)
    }

    /// What `ldm list -o network -j` says of all vnets, but for what counts their traffic.
    pub fn vnets(&self) -> Value {
        let mut vnets = self.json("ldm list -o network -j");
        for vnet in vnets.as_array_mut().unwrap() {
            vnet.as_object_mut().unwrap().retain(|field, _| !["macs", "vlans", "counters"].contains(&field.as_str()));
        }
        vnets
    }

    /// What `ldm list -o network -j` says of a vnet of `ldg6`.
    pub fn vnet(&self, name: &str) -> Value {
        row(&self.json("ldm list -o network -j ldg6"), name)
    }

    /// What `ldm list-services -j` says of a switch.
    pub fn switch(&self, name: &str) -> Value {
        row(&self.json("ldm list-services -j"), name)
    }

    /// What `ldm list -j` says of a domain.
    pub fn domain(&self, name: &str) -> Value {
        row(&self.json("ldm list -j"), name)
    }

    /// Waits until a vnet of `ldg6` is `up` or `down`, for the guest and in `ldm list-netdev`.
    pub fn wait_for_link(&self, port: &str, state: &str) {
        wait_for(&format!("{port} is {state}"), || self.link_state(port) == Some(state));
        let shown = || row(&self.json("ldm list-netdev -j ldg6"), port)["state"] == state;
        wait_for(&format!("{port} is shown as {state}"), shown);
    }

    /// Whether the kernel shows a carrier on a link of `ldg6`: `up` or `down`; absent when there is no such link.
    pub fn link_state(&self, port: &str) -> Option<&'static str> {
        let link = link(&self.scene.ldg6, port)?;
        let up = link["flags"].as_array().unwrap().contains(&Value::from("LOWER_UP"));
        Some(if up { "up" } else { "down" })
    }

    /// Gives a link of `ldg6` the address [`ADDRESS`] instead of any other link.
    pub fn give_address(&self, port: &str) {
        for other in ["net0", "net1"] {
            // Fails where there is none.
            let _ = self.scene.ldg6.ip(&format!("address flush dev {other} scope global"));
        }
        self.scene.ldg6.ip(&format!("address add {ADDRESS}/24 dev {port}")).unwrap();
    }

    /// Waits until nothing changes by itself any more: the kernel takes its time over carriers of links that were just made.
    pub fn wait_until_at_rest(&self) {
        let mut before = self.everything();
        wait_for("the links are at rest", || {
            thread::sleep(REST);
            let now = self.everything();
            mem::replace(&mut before, now.clone()) == now
        });
    }

    /// Waits until the external host answers `ldg6`.
    pub fn wait_until_reachable(&self) {
        wait_for("the guest reaches outside", || self.reaches(&self.scene.ldg6));
    }

    /// Whether the external host answers a guest's echo.
    pub fn reaches(&self, guest: &Namespace) -> bool {
        let domain = Scene::DOMAIN.to_string();
        run(guest.command("ping").args(["-q", "-c", "1", "-W", "1", &domain])).code == 0
    }

    /// A flow between `ldg6` at [`ADDRESS`] and the external host, 1000 packets a second each way.
    pub fn flow(&self, duration: Duration) -> Flow<'_> {
        let (guest, domain) = (End::new(&self.scene.ldg6, ADDRESS), End::new(&self.scene.domain, Scene::DOMAIN));
        Flow::new(guest, domain, 1000, duration)
    }

    /// Takes the carrier of an uplink away, as when its cable is pulled. `port` is `to0` or `to2`.
    pub fn unplug(&self, port: &str) {
        self.scene.switch.ip(&format!("link set dev {port} down")).unwrap();
    }

    /// Gives it back.
    pub fn plug(&self, port: &str) {
        dlmp_testbed::up(&self.scene.switch, port).unwrap();
    }

    /// All that a refused line may not change: every link of every namespace, which namespaces there are, the configuration
    /// file and what `ldm` lists.
    fn everything(&self) -> BTreeMap<String, String> {
        let scene = &self.scene;
        let mut everything = BTreeMap::new();
        for namespace in [self.primary(), &scene.ldg5, &scene.ldg6, &scene.switch] {
            for link in links(namespace).as_array().unwrap() {
                everything.insert(format!("{} in {}", link["ifname"], namespace.name()), link.to_string());
            }
        }
        let config = std::fs::read_to_string(scene.primary.config()).unwrap_or_default();
        everything.insert("ldmd.toml".into(), config);
        everything.insert("vnets".into(), self.vnets().to_string());
        for line in ["ldm list -p", "ldm list-services -j"] {
            everything.insert(line.into(), without_uptime(&self.typed(line)));
        }
        everything
    }
}

impl Drop for VirtualHost {
    /// A test that fails shows what `ldmd` had to say.
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the log of ldmd:\n{}", self.scene.primary.log());
        }
    }
}

/// A link of a namespace as `ip -d -j link` shows it; absent when there is none.
pub fn link(namespace: &Namespace, name: &str) -> Option<Value> {
    let found = ip_json(namespace, &format!("link show dev {name}"));
    found.as_array().and_then(|links| links.first()).cloned()
}

/// All links of a namespace, without what passes by itself: the running timers of bridges.
pub fn links(namespace: &Namespace) -> Value {
    let mut links = ip_json(namespace, "link show");
    stop_timers(&mut links);
    links
}

fn stop_timers(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !name.ends_with("_timer"));
            fields.values_mut().for_each(stop_timers);
        }
        Value::Array(all) => all.iter_mut().for_each(stop_timers),
        _ => {}
    }
}

fn without_uptime(listing: &str) -> String {
    listing.split('|').filter(|field| !field.starts_with("uptime=")).collect::<Vec<_>>().join("|")
}

/// The entry of a list that has this name.
fn row(list: &Value, name: &str) -> Value {
    let found = list.as_array().unwrap().iter().find(|row| row["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {list}")).clone()
}
