//! How many connections a user may have, so that nobody keeps others out: a limit for each, one for
//! all who may only look, and none for root.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::permission::{Caller, Denied};

/// Connections of one user, and of all together who may only look, at most.
const EACH: usize = 64;
const LOOKERS: usize = 512;
/// Of the descriptors that the daemon may have open, a part that lookers may take: each connection
/// takes two.
const PART: u64 = 8;
/// How often a refusal is logged.
const LOG: Duration = Duration::from_secs(10);

/// Those who are connected.
#[derive(Debug, Clone)]
pub(crate) struct Crowd(Rc<RefCell<Counts>>);

#[derive(Debug)]
struct Counts {
    daemon: &'static str,
    lookers: usize,
    users: BTreeMap<u32, usize>,
    most: usize,
    /// When something was logged last, and how much was not since.
    logged: Option<Instant>,
    left_out: u64,
}

/// A connection that is counted as long as this lives.
#[derive(Debug)]
pub(crate) struct Seat {
    crowd: Crowd,
    user: u32,
    looks: bool,
}

impl Crowd {
    pub(crate) fn new(daemon: &'static str) -> Self {
        let (descriptors, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
        let most = usize::try_from(descriptors / PART).unwrap_or(usize::MAX).min(LOOKERS);
        Self(Rc::new(RefCell::new(Counts {
            daemon,
            lookers: 0,
            users: BTreeMap::new(),
            most,
            logged: None,
            left_out: 0,
        })))
    }

    /// Takes one more in.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn admit(&self, caller: &Caller) -> Result<Seat, Denied> {
        let (user, looks) = (caller.user(), !caller.may_change());
        let refused = (user != 0 || looks).then(|| self.0.borrow_mut().take_in(user, looks)).flatten();
        match refused {
            None => Ok(Seat { crowd: self.clone(), user, looks }),
            Some(reason) => {
                self.warn(&reason);
                Err(Denied {
                    reason,
                    remedy: "the same command when some of them have ended; ss -xp shows them".into(),
                })
            }
        }
    }

    /// Logs what somebody without permission caused, unless that was done a moment ago.
    pub(crate) fn warn(&self, what: &str) {
        let mut counts = self.0.borrow_mut();
        if counts.logged.is_some_and(|logged| logged.elapsed() < LOG) {
            counts.left_out += 1;
            return;
        }
        counts.logged = Some(Instant::now());
        let left_out = std::mem::take(&mut counts.left_out);
        tracing::warn!(left_out, "control socket: {what}");
    }
}

impl Counts {
    /// Counts one more, or says why not.
    fn take_in(&mut self, user: u32, looks: bool) -> Option<String> {
        let (daemon, most) = (self.daemon, self.most);
        let of_user = self.users.get(&user).copied().unwrap_or(0);
        if of_user >= EACH.min(most) {
            return Some(format!("user {user} has {of_user} connections to {daemon}, and no user may have more"));
        }
        if looks && self.lookers >= most {
            return Some(format!(
                "{most} connections to {daemon} are there of those who may look but not change, and there may not be more"
            ));
        }
        *self.users.entry(user).or_default() += 1;
        self.lookers += usize::from(looks);
        None
    }
}

impl Seat {
    /// As [`Crowd::warn`].
    pub(crate) fn warn(&self, what: &str) {
        self.crowd.warn(&format!("user {}: {what}", self.user));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.user == 0 && !self.looks {
            return;
        }
        let mut counts = self.crowd.0.borrow_mut();
        counts.lookers -= usize::from(self.looks);
        if let Some(count) = counts.users.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                counts.users.remove(&self.user);
            }
        }
    }
}

/// Lets the daemon have as many files open as it may: connections and domains take some each.
pub fn raise_limit_of_files() {
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(crowd: &Crowd, user: u32, may_change: bool, count: usize) -> Vec<Seat> {
        let caller = Caller::of_test(user, may_change);
        std::iter::repeat_with(|| crowd.admit(&caller)).take(count).filter_map(Result::ok).collect()
    }

    #[test]
    fn each_user_has_a_limit_those_who_look_another_and_root_none() {
        let crowd = Crowd::new("dlmpd");
        crowd.0.borrow_mut().most = 100;
        let first = seats(&crowd, 1, false, 200);
        assert_eq!(first.len(), EACH);
        let second = seats(&crowd, 0, false, 200);
        assert_eq!(second.len(), 100 - EACH, "root in a container is a user as others are");
        assert_eq!(seats(&crowd, 3, false, 1).len(), 0);
        let group = seats(&crowd, 3, true, 200);
        assert_eq!(group.len(), EACH, "those who look take nothing from those who change");
        assert_eq!(seats(&crowd, 0, true, 1000).len(), 1000);
        drop(first);
        assert_eq!(seats(&crowd, 2, false, 200).len(), EACH);
        drop((second, group));
        assert!(crowd.0.borrow().users.is_empty());
        assert_eq!(crowd.0.borrow().lookers, 0);
    }
}
