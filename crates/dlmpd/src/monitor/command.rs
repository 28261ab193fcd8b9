//! Carrying out what the service asks of the monitor.

use std::time::Instant;

use dlmp_api::Error;
use tokio::sync::oneshot;

use super::Task;
use super::chores::Chore;
use super::handle::{Command, Reply};
use super::running::Running;

impl Task {
    /// Does what the service asks for and answers.
    pub(super) async fn command(&mut self, command: Command) {
        match command {
            Command::Start(spec, reply) => {
                let name = spec.name.clone();
                let attachment = self.surroundings.attachment(&name);
                let started = Running::start(spec, self.surroundings.cookie, attachment, &self.tools).await;
                let result = started.map(|mut running| {
                    running.act();
                    self.running.insert(name, running);
                });
                self.look_at_ground();
                self.reply_to_start(reply, result);
            }
            Command::Stop(name, before, reply) => {
                let result = match self.running.remove(&name) {
                    Some(running) => running.stop(&before, &self.tools.netlink, &self.tools.watched).await,
                    None => Ok(()),
                };
                self.forget_asker();
                self.reply_when_done(reply, result);
            }
            Command::AddPorts(name, ports, reply) => {
                let result = match self.running.get_mut(&name) {
                    Some(running) => running.add_ports(&ports, &self.tools.netlink, &self.tools.watched).await,
                    None => Err(not_running(&name)),
                };
                self.act_on(&name);
                self.reply_to_start(reply, result);
            }
            Command::RemovePorts(name, before, reply) => {
                let result = match self.running.get_mut(&name) {
                    Some(running) => running.remove_ports(&before, &self.tools.netlink, &self.tools.watched).await,
                    None => Err(not_running(&name)),
                };
                self.act_on(&name);
                self.reply_when_done(reply, result);
            }
            Command::AddVnic(name, vnic, reply) => {
                let result = match self.running.get_mut(&name) {
                    Some(running) => running.add_vnic(&vnic, &self.tools.netlink).await,
                    None => Err(not_running(&name)),
                };
                self.act_on(&name);
                let _ = reply.send(result);
            }
            Command::RemoveVnic(name, vnic, reply) => {
                if let Some(running) = self.running.get_mut(&name) {
                    running.remove_vnic(&vnic, &self.tools.netlink).await;
                    running.act();
                }
                let _ = reply.send(());
            }
            Command::LearnLimit(name, clients, reply) => {
                let running = self.running.get_mut(&name).ok_or_else(|| not_running(&name));
                let _ = reply.send(running.and_then(|running| running.set_learn_limit(clients)));
            }
            Command::Probe(name, plan, reply) => {
                let _ = reply.send(self.probe(&name, plan));
            }
            Command::List(reply) => {
                let _ = reply.send(self.running.values().map(|running| running.view(Instant::now())).collect());
            }
            Command::Clients(reply) => {
                let _ = reply.send(self.running.values().flat_map(Running::clients).collect());
            }
            Command::Groups(reply) => {
                let _ = reply.send(self.running.values().flat_map(Running::groups).collect());
            }
            Command::GroupPorts(reply) => {
                let _ = reply.send(self.running.values().flat_map(Running::group_ports).collect());
            }
            Command::GroupLimit(link, limit, reply) => {
                self.tools.limits.borrow_mut().set(link.clone(), limit);
                for running in self.running.values_mut() {
                    running.limit_changed(&link);
                    running.act();
                }
                let _ = reply.send(());
            }
            Command::Statistics(reply) => {
                let all: Result<Vec<_>, _> = self.running.values().map(Running::statistics).collect();
                let all = all.map(|nested| nested.into_iter().flatten().collect());
                let _ = reply.send(all.map_err(|error| Error::failed(error.to_string())));
            }
        }
    }

    /// Answers when what was begun on links is done: a port is as before when its command ends.
    fn reply_when_done<T: 'static>(&self, reply: Reply<T>, result: Result<T, Error>) {
        let (done, all_done) = oneshot::channel();
        // If the thread has ended, nothing is waited for.
        let _ = self.tools.chores.send(Chore::Tell(done));
        tokio::task::spawn_local(async move {
            let _ = all_done.await;
            let _ = reply.send(result);
        });
    }

    /// Answers whether links became ports: at once if they did.
    fn reply_to_start(&self, reply: Reply<()>, result: Result<(), Error>) {
        match result {
            Ok(()) => drop(reply.send(Ok(()))),
            Err(_) => self.reply_when_done(reply, result),
        }
    }

    fn act_on(&mut self, name: &str) {
        if let Some(running) = self.running.get_mut(name) {
            running.act();
        }
    }
}

/// What is said of an aggregation that could not be started.
pub(super) fn not_running(name: &str) -> Error {
    Error::failed(format!("the aggregation {name} is configured but does not run; the log of dlmpd says why"))
}
