//! `dlmp`: the one command. Called as `dladm`, `dlstat`, `ipadm` or `ldm` it shows that name's part of
//! the same table, so that the lines of the Solaris manuals run word for word.

mod aggr;
mod cli;
mod daemon;
mod failure;
mod ip;
mod link;
mod output;
mod stat;

use std::io::{self, Write};
use std::process::ExitCode;

use cli::{Command, Dladm, Invocation, Ipadm};
use failure::Failure;

fn main() -> ExitCode {
    let invocation = match Invocation::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(error) => error.exit(),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{}: {error}", invocation.called);
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(invocation.command)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has had enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "{}: {}: {failure}", invocation.called, invocation.subcommand);
            failure.exit_code()
        }
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Dladm(command) => match command {
            Dladm::CreateAggr(arguments) => aggr::create(arguments).await,
            Dladm::DeleteAggr(arguments) => aggr::delete(arguments).await,
            Dladm::AddAggr(arguments) => aggr::add(arguments).await,
            Dladm::RemoveAggr(arguments) => aggr::remove(arguments).await,
            Dladm::ShowAggr(arguments) => aggr::show(arguments).await,
            Dladm::ShowLink(arguments) => link::show_links(arguments).await,
            Dladm::ShowPhys(arguments) => link::show_devices(arguments).await,
        },
        Command::Ipadm(command) => match command {
            Ipadm::CreateIp(arguments) => ip::create_interface(arguments).await,
            Ipadm::DeleteIp(arguments) => ip::delete_interface(arguments).await,
            Ipadm::CreateAddr(arguments) => ip::create_address(arguments).await,
            Ipadm::DeleteAddr(arguments) => ip::delete_address(arguments).await,
            Ipadm::ShowAddr(arguments) => ip::show_addresses(arguments).await,
            Ipadm::ShowIf(arguments) => ip::show_interfaces(arguments).await,
            Ipadm::ShowIp(arguments) => ip::show_all(arguments).await,
        },
        Command::StatLink(arguments) => stat::show_links(arguments).await,
        Command::StatAggr(arguments) => stat::show_aggregations(arguments).await,
    }
}
