//! `dlmp discover`: asks the network for managers of virtual networks, and prints each as it answers. It needs no daemon.

mod answers;
mod interfaces;
mod sockets;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use clap::Args;
use dlmp_netlink::Netlink;

use crate::command::Run;
use crate::failure::{Failure, Result};
use crate::output::{Format, Table};
use answers::{Answers, COLUMNS};
use sockets::Asker;

/// Find the managers of virtual networks (ldmd) on the networks of this host
#[derive(Debug, Args)]
pub struct Discover {
    /// How long to listen for answers
    #[arg(short, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    time: u64,
    /// Ask through this interface only; may be given again for another one
    #[arg(short, value_name = "INTERFACE")]
    interface: Vec<String>,
    /// How far a question goes: 1 is the networks of this host, and each multicast router on the way takes one more
    #[arg(long, value_name = "HOPS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=32))]
    hops: u32,
    #[command(flatten)]
    format: Format,
}

/// When the question is sent, from the start: again and again, so that a lost question or answer is made up for, and a
/// switch that snoops has learned meanwhile that answers to the group are wanted here.
const QUESTIONS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(250), Duration::from_millis(500)];

impl Run for Discover {
    async fn run(self) -> Result<()> {
        self.format.check(&COLUMNS)?;
        let netlink = Netlink::connect()?;
        let interfaces = interfaces::chosen(&netlink.links().await?, &netlink.addresses().await?, &self.interface)?;
        let askers = interfaces.iter().map(|interface| Asker::open(interface, self.hops));
        let askers = askers.collect::<Result<Vec<_>>>()?;
        let mut answers = Answers::default();
        let unasked = self.ask(&askers, &mut answers)?;
        for (interface, error) in &unasked {
            tell(&format!("could not ask through {interface}: {error}"));
        }
        if unasked.len() == askers.len() {
            return Err(Failure::refused("no question could be sent", "dladm show-link"));
        }
        let (shown, left_out) = answers.count();
        if left_out > 0 {
            tell(&format!("more than {shown} managers answered; {left_out} answers of further ones are not shown"));
        }
        if shown == 0 {
            let names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
            tell(&format!("nobody answered within {} s; asked through {}", self.time, names.join(", ")));
        }
        Ok(())
    }
}

impl Discover {
    /// Asks, and prints each manager when it answers for the first time, until the time is over. Returns the interfaces
    /// that no question could be sent through, and why.
    fn ask<'a>(&self, askers: &'a [Asker], answers: &mut Answers) -> Result<BTreeMap<&'a str, io::Error>> {
        let start = Instant::now();
        let end = start + Duration::from_secs(self.time);
        let mut questions = QUESTIONS.map(|after| start + after).into_iter().peekable();
        let mut unasked = BTreeMap::new();
        let mut first = true;
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(unasked);
            }
            if questions.next_if(|time| *time <= now).is_some() {
                for asker in askers {
                    match asker.ask() {
                        Ok(()) => drop(unasked.remove(asker.interface())),
                        Err(error) => drop(unasked.insert(asker.interface(), error)),
                    }
                }
            }
            let until = questions.peek().copied().unwrap_or(end);
            sockets::receive(askers, until, |interface, datagram| {
                let Some(row) = answers.take(interface, datagram, start.elapsed()) else { return Ok(()) };
                self.format.print_stream(&Table { columns: &COLUMNS, rows: vec![row] }, first)?;
                first = false;
                Ok(())
            })?;
        }
    }
}

fn tell(message: &str) {
    // With nobody reading standard error there is nobody to tell.
    let _ = writeln!(io::stderr(), "{message}");
}
