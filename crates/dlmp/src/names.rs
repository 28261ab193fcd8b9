//! Names of addresses, as far as a name server tells them before somebody gets impatient.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

/// Names that are being looked for at the same time, at most: each takes a thread.
const AT_ONCE: usize = 16;

/// What is known of names, and what is being looked for.
pub struct Names {
    /// The name that is shown for an address; the address itself when it has none, absent while that is not known.
    known: BTreeMap<String, Option<String>>,
    asked: usize,
    found: Receiver<(String, String)>,
    sender: Sender<(String, String)>,
}

impl Default for Names {
    fn default() -> Self {
        let (sender, found) = mpsc::channel();
        Self { known: BTreeMap::new(), asked: 0, found, sender }
    }
}

impl Names {
    /// What to show for an address: its name if that is known by now, else itself. Anything that is no
    /// address is shown as it is.
    pub fn of(&mut self, address: &str) -> String {
        while let Ok(found) = self.found.try_recv() {
            self.take(found);
        }
        if let Some(known) = self.known.get(address) {
            return known.clone().unwrap_or_else(|| address.to_owned());
        }
        if let Ok(ip) = address.parse::<IpAddr>()
            && self.asked < AT_ONCE
        {
            self.known.insert(address.to_owned(), None);
            self.asked += 1;
            let (address, sender) = (address.to_owned(), self.sender.clone());
            // Left alone when it takes too long: it ends with the process.
            std::thread::spawn(move || {
                let name = dns_lookup::lookup_addr(&ip).unwrap_or_else(|_| address.clone());
                // Nobody listens only while the command ends.
                let _ = sender.send((address, name));
            });
        }
        address.to_owned()
    }

    /// Waits for what was asked for, at most so long.
    pub fn wait(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.asked > 0
            && let Ok(found) = self.found.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.take(found);
        }
    }

    fn take(&mut self, (address, name): (String, String)) {
        self.asked -= 1;
        self.known.insert(address, Some(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_address_is_shown_once_it_is_known() {
        let mut names = Names::default();
        assert_eq!(names.of("127.0.0.1"), "127.0.0.1");
        names.wait(Duration::from_secs(3600));
        assert_eq!(names.asked, 0);
        let name = dns_lookup::lookup_addr(&IpAddr::from([127, 0, 0, 1]));
        assert_eq!(names.of("127.0.0.1"), name.unwrap_or_else(|_| "127.0.0.1".into()));
    }

    #[test]
    fn what_is_no_address_is_not_looked_for() {
        let mut names = Names::default();
        assert_eq!(names.of("net0"), "net0");
        assert_eq!(names.asked, 0);
    }
}
