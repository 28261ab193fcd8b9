//! The service's side of the monitor: requests are sent to its thread and answered from there.

use std::collections::BTreeMap;

use dlmp_api::{Client, Error, Group, GroupPort, PortStatistics, ProbeNews, StateNews};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::clock;
use super::news::News;
use super::probing::nanoseconds;
use super::{Spec, Surroundings, Task, VnicSpec, prefer_this_thread};
use crate::plan::ProbePlan;
use crate::state::Before;

/// What the monitor is asked to do; it answers through the sender.
pub(super) enum Command {
    Start(Spec, Reply<()>),
    Stop(String, BTreeMap<String, Before>, Reply<()>),
    AddPorts(String, BTreeMap<String, Before>, Reply<()>),
    RemovePorts(String, BTreeMap<String, Before>, Reply<()>),
    AddVnic(String, VnicSpec, Reply<()>),
    RemoveVnic(String, String, oneshot::Sender<()>),
    Probe(String, Option<ProbePlan>, Reply<()>),
    LearnLimit(String, usize, Reply<()>),
    List(oneshot::Sender<Vec<dlmp_api::Aggregation>>),
    Clients(oneshot::Sender<Vec<Client>>),
    Groups(oneshot::Sender<Vec<Group>>),
    GroupPorts(oneshot::Sender<Vec<GroupPort>>),
    GroupLimit(String, Option<usize>, oneshot::Sender<()>),
    Statistics(Reply<Vec<PortStatistics>>),
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// The service's side of the monitor.
#[derive(Debug, Clone)]
pub struct Monitor {
    commands: mpsc::UnboundedSender<Command>,
    news: News,
}

impl Monitor {
    /// Starts the thread. It ends when the last clone of the handle is dropped, and leaves the
    /// datapath in place.
    ///
    /// # Errors
    /// Those of making sockets and threads.
    pub fn start(surroundings: Surroundings) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (ready, started) = std::sync::mpsc::channel();
        let news = News::default();
        let thread_news = news.clone();
        let thread = std::thread::Builder::new().name("monitor".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            tokio::task::LocalSet::new().block_on(&runtime, async {
                match Task::new(surroundings, thread_news) {
                    Ok(task) => {
                        prefer_this_thread();
                        let _ = ready.send(Ok(()));
                        task.run(receiver).await;
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            });
        })?;
        started.recv().map_err(std::io::Error::other)??;
        Ok((Self { commands, news }, thread))
    }

    /// Makes an aggregation, or takes over one that runs already.
    ///
    /// # Errors
    /// What failed; everything that had been done is undone.
    pub async fn start_aggregation(&self, spec: Spec) -> Result<(), Error> {
        self.ask(|reply| Command::Start(spec, reply)).await?
    }

    /// Removes an aggregation with its link; its ports become what they were before.
    ///
    /// # Errors
    /// What failed.
    pub async fn stop_aggregation(&self, name: &str, before: BTreeMap<String, Before>) -> Result<(), Error> {
        self.ask(|reply| Command::Stop(name.to_owned(), before, reply)).await?
    }

    /// Adds ports to an aggregation.
    ///
    /// # Errors
    /// What failed; everything that had been done is undone.
    pub async fn add_ports(&self, name: &str, ports: BTreeMap<String, Before>) -> Result<(), Error> {
        self.ask(|reply| Command::AddPorts(name.to_owned(), ports, reply)).await?
    }

    /// Takes ports out of an aggregation; they become what they were before.
    ///
    /// # Errors
    /// What failed.
    pub async fn remove_ports(&self, name: &str, before: BTreeMap<String, Before>) -> Result<(), Error> {
        self.ask(|reply| Command::RemovePorts(name.to_owned(), before, reply)).await?
    }

    /// Connects a VNIC whose links are there to the aggregation.
    ///
    /// # Errors
    /// What failed; everything that had been done is undone.
    pub async fn add_vnic(&self, aggregation: &str, vnic: VnicSpec) -> Result<(), Error> {
        self.ask(|reply| Command::AddVnic(aggregation.to_owned(), vnic, reply)).await?
    }

    /// Disconnects a VNIC; its links stay.
    ///
    /// # Errors
    /// The monitor has ended.
    pub async fn remove_vnic(&self, aggregation: &str, vnic: &str) -> Result<(), Error> {
        self.ask(|reply| Command::RemoveVnic(aggregation.to_owned(), vnic.to_owned(), reply)).await
    }

    /// Lets the datapath of an aggregation learn so many clients and no more.
    ///
    /// # Errors
    /// What failed; the limit is as before.
    pub async fn set_learn_limit(&self, name: &str, clients: usize) -> Result<(), Error> {
        self.ask(|reply| Command::LearnLimit(name.to_owned(), clients, reply)).await?
    }

    /// Has an aggregation probed by this plan, or not any more.
    ///
    /// # Errors
    /// What failed; the aggregation is probed as before.
    pub async fn set_probing(&self, name: &str, plan: Option<ProbePlan>) -> Result<(), Error> {
        self.ask(|reply| Command::Probe(name.to_owned(), plan, reply)).await?
    }

    /// Every probe from now on, of all aggregations, until the receiver is dropped.
    pub fn probe_news(&self) -> broadcast::Receiver<ProbeNews> {
        self.news.probes()
    }

    /// Every change of state from now on, of all aggregations, until the receiver is dropped.
    pub fn state_news(&self) -> broadcast::Receiver<StateNews> {
        self.news.states()
    }

    /// Tells whoever watches that something is wrong with a port, or no longer.
    pub fn tell_problem(&self, aggregation: &str, link: &str, wrong: bool, reason: String) {
        self.news.state(|| StateNews {
            time: nanoseconds(clock::realtime()),
            aggregation: aggregation.to_owned(),
            port: Some(link.to_owned()),
            state: if wrong { "problem" } else { "solved" }.to_owned(),
            reason,
        });
    }

    /// All aggregations, without speeds: those take the kernel's lock to read.
    ///
    /// # Errors
    /// The monitor has ended.
    pub async fn list(&self) -> Result<Vec<dlmp_api::Aggregation>, Error> {
        self.ask(Command::List).await
    }

    /// The clients of all aggregations.
    ///
    /// # Errors
    /// The monitor has ended.
    pub async fn clients(&self) -> Result<Vec<Client>, Error> {
        self.ask(Command::Clients).await
    }

    /// The groups that are wanted above all aggregations.
    ///
    /// # Errors
    /// The monitor has ended.
    pub async fn groups(&self) -> Result<Vec<Group>, Error> {
        self.ask(Command::Groups).await
    }

    /// The ports of all aggregations, as far as groups go.
    ///
    /// # Errors
    /// The monitor has ended.
    pub async fn group_ports(&self) -> Result<Vec<GroupPort>, Error> {
        self.ask(Command::GroupPorts).await
    }

    /// Says how many groups a link can hold in its filter when it is a port; nothing: what its driver is known for.
    ///
    /// # Errors
    /// The monitor has ended.
    pub async fn set_group_limit(&self, link: &str, limit: Option<usize>) -> Result<(), Error> {
        self.ask(|reply| Command::GroupLimit(link.to_owned(), limit, reply)).await
    }

    /// The counters of all ports.
    ///
    /// # Errors
    /// What failed.
    pub async fn statistics(&self) -> Result<Vec<PortStatistics>, Error> {
        self.ask(Command::Statistics).await?
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let ended = || Error::failed("the monitor of dlmpd has ended: restart dlmpd");
        self.commands.send(command(reply)).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }
}
