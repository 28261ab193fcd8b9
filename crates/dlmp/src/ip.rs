//! IP interfaces and addresses: `ipadm`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::{Duration, Instant};

use dlmp_api::client::Dlmpd;
use dlmp_api::{Address as Object, NewAddress};
use dlmp_netlink::{Address, Link, Netlink};

use crate::cli::{CreateAddr, CreateIp, DeleteAddr, DeleteIp, ShowIp, ShowOne};
use crate::daemon;
use crate::failure::Failure;
use crate::output::{Cell, Table};

/// How long `create-addr -T dhcp` waits for a lease when not told.
const WAIT: Duration = Duration::from_secs(120);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(100);

/// `create-ip`: starts the daemon when none runs here.
pub async fn create_interface(arguments: CreateIp) -> Result<(), Failure> {
    Ok(daemon::start().await?.create_interface(&arguments.name, arguments.temporary).await??)
}

/// `delete-ip`.
pub async fn delete_interface(arguments: DeleteIp) -> Result<(), Failure> {
    Ok(daemon::connect()?.delete_interface(&arguments.name).await??)
}

/// `create-addr`: starts the daemon when none runs here; waits for a lease.
pub async fn create_address(arguments: CreateAddr) -> Result<(), Failure> {
    let kind = match (arguments.kind.as_deref(), &arguments.address) {
        (None | Some("static"), Some(_)) => "static",
        (Some("dhcp"), None) => "dhcp",
        (Some("dhcp"), Some(_)) => {
            return Err(Failure::Usage("-a is for static addresses; a DHCP server chooses its own".into()));
        }
        (None | Some("static"), None) => {
            return Err(Failure::Usage("a static address needs -a ADDRESS[/PREFIX]; for DHCP: -T dhcp".into()));
        }
        (Some(other), _) => {
            return Err(Failure::Usage(format!("there is no kind of address {other:?}; there are: static, dhcp")));
        }
    };
    if kind == "static" && (arguments.wait.is_some() || arguments.hostname.is_some()) {
        return Err(Failure::Usage("-w and -h are for DHCP".into()));
    }
    if kind == "dhcp" && arguments.down {
        return Err(Failure::Usage("-d is for static addresses".into()));
    }
    let wait = wait(arguments.wait.as_deref())?;
    let address = arguments.address.map(|text| text.strip_prefix("local=").map_or(text.clone(), str::to_owned));
    let request = NewAddress {
        object: arguments.object,
        kind: kind.into(),
        address,
        hostname: arguments.hostname,
        down: arguments.down,
        temporary: arguments.temporary,
    };
    let mut connection = daemon::start().await?;
    let object = connection.create_address(&request).await??.object;
    if !request.object.contains('/') {
        writeln!(io::stdout(), "{object}")?;
    }
    if kind == "dhcp" {
        await_lease(&mut connection, &object, wait).await?;
    }
    Ok(())
}

/// `delete-addr`.
pub async fn delete_address(arguments: DeleteAddr) -> Result<(), Failure> {
    Ok(daemon::connect()?.delete_address(&arguments.object, arguments.release).await??)
}

/// `show-addr`: all, or an object, or those of an interface.
pub async fn show_addresses(arguments: ShowOne) -> Result<(), Failure> {
    let view = View::take().await?;
    let mut table = Table::new(&["ADDROBJ", "TYPE", "STATE", "ADDR"]);
    let mut found = arguments.name.is_none();
    for row in view.rows() {
        let wanted = arguments
            .name
            .as_deref()
            .is_none_or(|name| row.object == name || row.interface == name.trim_end_matches('/'));
        if wanted {
            found = true;
            table.row([Cell::text(row.object), Cell::text(row.kind), Cell::text(row.state), Cell::maybe(row.address)]);
        }
    }
    if !found {
        let name = arguments.name.unwrap_or_default();
        return Err(Failure::Refused(format!(
            "there is no address object or interface {name} with addresses\n  try: ipadm show-addr"
        )));
    }
    table.put_out(&arguments.output)
}

/// `show-if`.
pub async fn show_interfaces(arguments: ShowOne) -> Result<(), Failure> {
    let view = View::take().await?;
    let mut interfaces = view.interfaces();
    if let Some(name) = &arguments.name {
        interfaces.retain(|interface| interface == name);
        if interfaces.is_empty() {
            return Err(Failure::Refused(format!("there is no IP interface {name}\n  try: ipadm show-if")));
        }
    }
    let rows = view.rows();
    let mut table = Table::new(&["IFNAME", "CLASS", "STATE", "ACTIVE", "OVER"]);
    for name in interfaces {
        let active = rows.iter().any(|row| row.interface == name && row.state == "ok");
        let active = Cell::text(if active { "yes" } else { "no" });
        table.row([
            Cell::text(&name),
            Cell::text(view.class(&name)),
            Cell::text(view.state(&name)),
            active,
            Cell::None,
        ]);
    }
    table.put_out(&arguments.output)
}

/// Bare `ipadm`: interfaces, and their addresses under them.
pub async fn show_all(arguments: ShowIp) -> Result<(), Failure> {
    let view = View::take().await?;
    let rows = view.rows();
    let mut table = Table::new(&["NAME", "CLASS/TYPE", "STATE", "UNDER", "ADDR"]);
    let indent = if arguments.output.json || arguments.output.parseable { "" } else { "  " };
    for name in view.interfaces() {
        table.row([
            Cell::text(&name),
            Cell::text(view.class(&name)),
            Cell::text(view.state(&name)),
            Cell::None,
            Cell::None,
        ]);
        for row in rows.iter().filter(|row| row.interface == name) {
            table.row([
                Cell::text(format!("{indent}{}", row.object)),
                Cell::text(&row.kind),
                Cell::text(&row.state),
                Cell::None,
                Cell::maybe(row.address.as_deref()),
            ]);
        }
    }
    table.put_out(&arguments.output)
}

async fn await_lease(
    connection: &mut dlmp_api::client::Connection,
    object: &str,
    wait: Option<Duration>,
) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
        let addresses = connection.list_addresses().await??.addresses;
        let shown = addresses.into_iter().find(|address| address.object == object);
        let Some(shown) = shown else {
            return Err(Failure::Refused(format!("{object} was deleted meanwhile")));
        };
        if shown.state == "ok" {
            return Ok(());
        }
        if wait.is_some_and(|wait| start.elapsed() >= wait) {
            let problem = shown.problem.map(|problem| format!(" ({problem})")).unwrap_or_default();
            return Err(Failure::Refused(format!(
                "no DHCP server has given {object} an address yet{problem}; dlmpd goes on asking\n  try: ipadm show-addr {object}"
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How long to wait for a lease: `None` is for ever.
fn wait(text: Option<&str>) -> Result<Option<Duration>, Failure> {
    match text {
        None => Ok(Some(WAIT)),
        Some("forever") => Ok(None),
        Some(text) => match text.parse() {
            Ok(seconds) => Ok(Some(Duration::from_secs(seconds))),
            Err(_) => Err(Failure::Usage(format!("-w takes seconds or \"forever\", not {text:?}"))),
        },
    }
}

/// The kernel's addresses and the daemon's objects, at one moment.
struct View {
    links: Vec<Link>,
    addresses: Vec<Address>,
    interfaces: Vec<String>,
    objects: Vec<Object>,
}

/// An address, as it is shown.
struct Row {
    interface: String,
    object: String,
    kind: String,
    state: String,
    address: Option<String>,
}

impl View {
    async fn take() -> Result<Self, Failure> {
        let netlink = Netlink::connect()?;
        let (links, addresses) = (netlink.links().await?, netlink.addresses().await?);
        let (mut interfaces, mut objects) = (Vec::new(), Vec::new());
        if let Some(mut connection) = daemon::look(&links)? {
            interfaces = connection.list_interfaces().await??.interfaces.into_iter().map(|i| i.name).collect();
            objects = connection.list_addresses().await??.addresses;
        }
        Ok(Self { links, addresses, interfaces, objects })
    }

    /// The daemon's interfaces, and every link with an address that somebody gave it.
    fn interfaces(&self) -> Vec<String> {
        let mut names: BTreeSet<&str> = self.interfaces.iter().map(String::as_str).collect();
        for address in self.addresses.iter().filter(|address| !address.kernel_made || self.is_loopback(address.index)) {
            names.extend(self.name(address.index));
        }
        // The loopback first, as everywhere.
        let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        names.sort_by_key(|name| (self.class(name) != "loopback", name.clone()));
        names
    }

    /// Objects by name; the loopback's own addresses as `lo/v4` and `lo/v6`; what nobody named as `IF/?`,
    /// as illumos does.
    fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.objects.iter().map(Row::from).collect();
        let mut loopback = BTreeMap::new();
        for address in &self.addresses {
            let Some(interface) = self.name(address.index) else { continue };
            let text = format!("{}/{}", address.address, address.prefix_len);
            let named = rows.iter().any(|row| row.interface == interface && row.address.as_deref() == Some(&text));
            if named {
                continue;
            }
            let family = if address.address.is_ipv4() { "v4" } else { "v6" };
            let first = self.is_loopback(address.index) && loopback.insert(family, ()).is_none();
            let state = match (address.duplicate, address.tentative) {
                (true, _) => "duplicate",
                (_, true) => "tentative",
                _ => "ok",
            };
            rows.push(Row {
                interface: interface.to_owned(),
                object: if first { format!("{interface}/{family}") } else { format!("{interface}/?") },
                kind: if address.kernel_made && !self.is_loopback(address.index) { "addrconf" } else { "static" }
                    .into(),
                state: state.into(),
                address: Some(text),
            });
        }
        rows.sort_by_key(|row| (self.class(&row.interface) != "loopback", row.interface.clone()));
        rows
    }

    fn class(&self, name: &str) -> &'static str {
        if self.links.iter().any(|link| link.name == name && link.loopback) { "loopback" } else { "ip" }
    }

    fn state(&self, name: &str) -> &'static str {
        match self.links.iter().find(|link| link.name == name) {
            None => "disabled",
            Some(link) if !link.admin_up => "down",
            Some(link) if link.lower_up => "ok",
            Some(_) => "failed",
        }
    }

    fn name(&self, index: u32) -> Option<&str> {
        self.links.iter().find(|link| link.index == index).map(|link| link.name.as_str())
    }

    fn is_loopback(&self, index: u32) -> bool {
        self.links.iter().any(|link| link.index == index && link.loopback)
    }
}

impl From<&Object> for Row {
    fn from(object: &Object) -> Self {
        let interface = object.object.split_once('/').map_or(object.object.as_str(), |(interface, _)| interface);
        Self {
            interface: interface.to_owned(),
            object: object.object.clone(),
            kind: object.kind.clone(),
            state: object.state.clone(),
            address: object.address.clone(),
        }
    }
}
