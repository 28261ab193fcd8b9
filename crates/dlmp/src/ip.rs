//! `ipadm create-ip`, `delete-ip` and `show-if`, and what `ipadm` alone shows.

use std::io::Write;

use clap::Args;
use dlmp_api::client::Dlmpd;

use crate::commands::Run;
use crate::daemon::{self, answer};
use crate::failure::Failure;
use crate::link::is_wanted;
use crate::objects::{self, Interface, Object};
use crate::output::{Cell, Column, Format, Printer};

/// Create an IP interface on a link
#[derive(Debug, Args)]
pub struct Create {
    /// Temporary: do not keep it beyond the next boot
    #[arg(short)]
    temporary: bool,
    /// Name of the link
    #[arg(value_name = "interface")]
    name: String,
}

impl Run for Create {
    async fn run(self, _: &mut dyn Write) -> Result<(), Failure> {
        answer(daemon::started().await?.create_interface(&self.name, self.temporary).await)
    }
}

/// Delete an IP interface with its addresses
#[derive(Debug, Args)]
pub struct Delete {
    /// Name of the interface
    #[arg(value_name = "interface")]
    name: String,
}

impl Run for Delete {
    async fn run(self, _: &mut dyn Write) -> Result<(), Failure> {
        answer(daemon::running()?.delete_interface(&self.name).await)
    }
}

/// Show IP interfaces
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    format: Format,
    /// Only this interface
    #[arg(value_name = "interface")]
    name: Option<String>,
}

const INTERFACE: &[Column<Interface>] = &[
    Column::new("IFNAME", 12, |interface| Cell::text(&interface.name)),
    Column::new("CLASS", 12, |interface| Cell::text(interface.class)),
    Column::new("STATE", 9, |interface| Cell::text(interface.state)),
    Column::new("ACTIVE", 10, |interface| Cell::yes_no(is_active(interface))),
    // The interfaces of an IPMP group, which does not exist here.
    Column::new("OVER", 4, |_| Cell::absent()),
    Column::extra("TEMPORARY", 9, |interface| Cell::yes_no(interface.temporary)),
];

impl Run for Show {
    async fn run(self, out: &mut dyn Write) -> Result<(), Failure> {
        let mut printer = Printer::new(&self.format, INTERFACE)?;
        let (mut interfaces, complete) = objects::read().await?;
        interfaces.retain(|interface| is_wanted(self.name.as_deref(), &interface.name));
        if let (Some(name), true) = (&self.name, interfaces.is_empty()) {
            return complete.and(Err(Failure::request(format!("there is no IP interface {name}"), "ipadm show-if")));
        }
        printer.print(&interfaces, out)?;
        complete
    }
}

/// Whether packets can flow: the link works and an address is in use.
fn is_active(interface: &Interface) -> bool {
    interface.state == "ok" && interface.objects.iter().any(|object| object.state == "ok")
}

/// A row of the overview: an interface, or below it one of its addresses.
enum Row {
    Interface(Interface),
    Address(Object),
}

const OVERVIEW: &[Column<Row>] = &[
    Column::new("NAME", 16, |row| match row {
        Row::Interface(interface) => Cell::text(&interface.name),
        Row::Address(object) => Cell::text(format!("  {}", object.name)),
    }),
    Column::new("CLASS/TYPE", 10, |row| match row {
        Row::Interface(interface) => Cell::text(interface.class),
        Row::Address(object) => Cell::text(&object.kind),
    }),
    Column::new("STATE", 9, |row| match row {
        Row::Interface(interface) => Cell::text(interface.state),
        Row::Address(object) => Cell::text(&object.state),
    }),
    // The IPMP group, which does not exist here.
    Column::new("UNDER", 6, |_| Cell::absent()),
    Column::new("ADDR", 4, |row| match row {
        Row::Interface(_) => Cell::absent(),
        Row::Address(object) => Cell::optional(object.address.as_ref()),
    }),
];

/// What `ipadm` alone shows: the interfaces with their addresses.
///
/// # Errors
/// Why it ends without success.
pub async fn overview(out: &mut dyn Write) -> Result<(), Failure> {
    let (interfaces, complete) = objects::read().await?;
    Printer::new(&Format::default(), OVERVIEW)?.print(&rows(interfaces), out)?;
    complete
}

fn rows(interfaces: Vec<Interface>) -> Vec<Row> {
    let mut rows = Vec::new();
    for mut interface in interfaces {
        let objects = std::mem::take(&mut interface.objects);
        rows.push(Row::Interface(interface));
        rows.extend(objects.into_iter().map(Row::Address));
    }
    rows
}
