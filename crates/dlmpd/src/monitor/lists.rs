//! Looks at the kernel's lists of the groups that links want. Many groups are never reported by IGMP or MLD: the
//! all-hosts groups, whatever is no IP, what a program asks of a packet socket. And what a host's report says it has
//! left, others on that host may still want.
//!
//! Only the lists of those links are read, never those of ports or of anybody else, and no more of them than is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use dlmp_netlink::{MulticastList, MulticastReader};
use dlmp_wire::MacAddr;
use tokio::sync::mpsc;

/// How often to look when nothing tells of a change: kernels before 6.14 tell of none, and none tells of all.
const EACH: Duration = Duration::from_secs(1);
/// The least time between looks: changes that follow each other fast are seen together.
const SOON: Duration = Duration::from_millis(2);
/// A look takes at most this part of the time, however long the lists are.
const SHARE: u32 = 30;
/// How many groups are kept of all lists together: what programs of the host and containers with macvlans join, some
/// 15 MiB. A link whose list does not fit gets every group.
pub(super) const LISTED: usize = 131_072;

/// When to look, and what was seen last.
pub(super) struct Looks {
    /// Absent while a look is under way.
    lists: Option<Lists>,
    due: Instant,
    /// When the last look began.
    began: Instant,
    /// How long the last look took.
    took: Duration,
    results: mpsc::UnboundedSender<Looked>,
    /// Groups of links about which something was said that the lists may not show.
    doubtful: Vec<(u32, MacAddr)>,
}

/// What a look has found.
pub(super) struct Looked {
    lists: Lists,
    took: Duration,
    /// What has changed, by link.
    changes: io::Result<BTreeMap<u32, Change>>,
}

/// How a link's list has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) joined: Vec<MacAddr>,
    pub(super) left: Vec<MacAddr>,
    /// It is longer than is kept, and taken for empty.
    pub(super) too_long: bool,
}

/// What the kernel listed for the links that were asked for.
#[derive(Debug, Default)]
struct Lists {
    /// Opened when it is first needed.
    reader: Option<MulticastReader>,
    links: BTreeMap<u32, List>,
}

/// The list of one link.
#[derive(Debug, Default)]
struct List {
    /// In order of addresses.
    groups: Vec<MacAddr>,
    /// Those of them that the last look did not find in a list that is not of one moment: they may be there.
    missed: BTreeSet<MacAddr>,
    too_long: bool,
}

impl Looks {
    /// Nothing was seen yet; what is found goes to `results`, together with [`finish`](Self::finish).
    pub(super) fn new(results: mpsc::UnboundedSender<Looked>) -> Self {
        let (lists, now) = (Some(Lists::default()), Instant::now());
        Self { lists, due: now, began: now, took: Duration::ZERO, results, doubtful: Vec::new() }
    }

    /// When to look next; nothing while a look is under way.
    pub(super) fn due(&self) -> Option<Instant> {
        self.lists.as_ref().map(|_| self.due)
    }

    /// Something tells of a change. `doubtful` is what it is about, if that is known: whether these groups are in
    /// the lists is said in any case.
    pub(super) fn hasten(&mut self, doubtful: impl IntoIterator<Item = (u32, MacAddr)>) {
        self.doubtful.extend(doubtful);
        self.due = self.due.min(self.began + SOON.max(self.took * SHARE));
    }

    /// Has these links looked at, by another thread: the lists can be long.
    pub(super) fn start(&mut self, links: Vec<u32>) {
        let Some(mut lists) = self.lists.take() else { return };
        // A change that comes while the lists are read may be missing there.
        self.began = Instant::now();
        self.due = self.began + EACH.max(self.took * SHARE);
        let (results, doubtful) = (self.results.clone(), std::mem::take(&mut self.doubtful));
        tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let changes = lists.read(&links).map(|now| lists.replace(now, &doubtful));
            let _ = results.send(Looked { lists, took: began.elapsed(), changes });
        });
    }

    /// A look is done.
    pub(super) fn finish(&mut self, looked: Looked) -> io::Result<BTreeMap<u32, Change>> {
        self.took = looked.took;
        if looked.lists.links.values().any(|list| !list.missed.is_empty()) {
            self.hasten([]);
        }
        self.lists = Some(looked.lists);
        looked.changes
    }
}

impl Lists {
    /// Reads the lists of these links.
    fn read(&mut self, links: &[u32]) -> io::Result<BTreeMap<u32, MulticastList>> {
        let mut reader = self.reader.take().map_or_else(MulticastReader::open, Ok)?;
        let (mut lists, mut room) = (BTreeMap::new(), LISTED);
        for &link in links {
            let list = reader.read(link, room)?;
            if !list.more {
                room -= list.groups.len();
            }
            lists.insert(link, list);
        }
        self.reader = Some(reader);
        Ok(lists)
    }

    /// Takes in what is there now and says what has changed. A link that was not asked for before had nothing.
    fn replace(&mut self, now: BTreeMap<u32, MulticastList>, doubtful: &[(u32, MacAddr)]) -> BTreeMap<u32, Change> {
        let mut changes: BTreeMap<u32, Change> = BTreeMap::new();
        self.links.retain(|link, _| now.contains_key(link));
        for (link, list) in now {
            let known = self.links.get(&link).map(|list| list.too_long);
            let change = self.links.entry(link).or_default().replace(list);
            if known != Some(change.too_long) || !change.joined.is_empty() || !change.left.is_empty() {
                changes.insert(link, change);
            }
        }
        for &(link, group) in doubtful {
            let Some(list) = self.links.get(&link) else { continue };
            let change = changes.entry(link).or_insert_with(|| Change { too_long: list.too_long, ..Change::default() });
            match list.groups.binary_search(&group) {
                Ok(_) => change.joined.push(group),
                Err(_) => change.left.push(group),
            }
        }
        changes
    }
}

impl List {
    fn replace(&mut self, now: MulticastList) -> Change {
        let MulticastList { mut groups, more, piecemeal } = now;
        if more {
            groups.clear();
        }
        groups.sort_unstable();
        groups.dedup();
        let mut change = difference(&self.groups, &groups);
        let mut missed = BTreeSet::new();
        if piecemeal && !more {
            // What is missing twice is not there.
            missed = change.left.extract_if(.., |group| !self.missed.contains(group)).collect();
            groups.extend(&missed);
            groups.sort_unstable();
        }
        *self = Self { groups, missed, too_long: more };
        change.too_long = more;
        change
    }
}

/// What is only in one of two sorted lists.
fn difference(before: &[MacAddr], now: &[MacAddr]) -> Change {
    let mut change = Change::default();
    let (mut old, mut new) = (before.iter().copied().peekable(), now.iter().copied().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (Some(one), Some(other)) if one == other => {
                old.next();
                new.next();
            }
            (Some(one), Some(other)) if one > other => change.joined.extend(new.next()),
            (None, Some(_)) => change.joined.extend(new.next()),
            (Some(_), _) => change.left.extend(old.next()),
            (None, None) => return change,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn macs(last: &[u8]) -> Vec<MacAddr> {
        last.iter().map(|&last| MacAddr([1, 0, 0x5e, 0, 0, last])).collect()
    }

    fn change(joined: &[u8], left: &[u8]) -> Change {
        Change { joined: macs(joined), left: macs(left), too_long: false }
    }

    fn list(last: &[u8]) -> MulticastList {
        MulticastList { groups: macs(last), ..MulticastList::default() }
    }

    #[test]
    fn a_look_says_what_has_changed_since_the_last_one() {
        let mut lists = Lists::default();
        let mut look =
            |now: &[(u32, &[u8])]| lists.replace(now.iter().map(|&(link, last)| (link, list(last))).collect(), &[]);
        assert_eq!(
            look(&[(1, &[3, 1, 2]), (2, &[])]),
            BTreeMap::from([(1, change(&[1, 2, 3], &[])), (2, change(&[], &[]))])
        );
        assert_eq!(look(&[(1, &[1, 2, 3]), (2, &[])]), BTreeMap::new());
        assert_eq!(look(&[(1, &[4, 3, 0]), (2, &[])]), BTreeMap::from([(1, change(&[0, 4], &[1, 2]))]));
        assert_eq!(look(&[(1, &[])]), BTreeMap::from([(1, change(&[], &[0, 3, 4]))]));
        assert_eq!(look(&[(2, &[7])]), BTreeMap::from([(2, change(&[7], &[]))]), "it was not asked for in between");
    }

    #[test]
    fn what_is_doubtful_is_said_whether_it_has_changed_or_not() {
        let mut lists = Lists::default();
        lists.replace(BTreeMap::from([(1, list(&[1, 2]))]), &[]);
        let doubtful = [(1, macs(&[1])[0]), (1, macs(&[9])[0]), (5, macs(&[1])[0])];
        let said = lists.replace(BTreeMap::from([(1, list(&[1, 2]))]), &doubtful);
        assert_eq!(said, BTreeMap::from([(1, change(&[1], &[9]))]));
    }

    #[test]
    fn a_list_that_is_too_long_is_taken_for_empty_until_it_is_shorter() {
        let mut lists = Lists::default();
        let mut look = |now| lists.replace(BTreeMap::from([(1, now)]), &[]).remove(&1);
        look(list(&[1, 2]));
        let long = || MulticastList { more: true, piecemeal: true, ..list(&[1, 2, 3]) };
        assert_eq!(look(long()), Some(Change { too_long: true, ..change(&[], &[1, 2]) }));
        assert_eq!(look(long()), None);
        assert_eq!(look(list(&[1, 3])), Some(change(&[1, 3], &[])));
    }

    #[test]
    fn a_group_has_left_a_list_that_is_not_of_one_moment_when_it_is_missing_twice() {
        let mut lists = Lists::default();
        let mut look = |last: &[u8]| {
            let now = MulticastList { piecemeal: true, ..list(last) };
            lists.replace(BTreeMap::from([(1, now)]), &[]).remove(&1)
        };
        assert_eq!(look(&[1, 2, 3]), Some(change(&[1, 2, 3], &[])));
        assert_eq!(look(&[1, 4]), Some(change(&[4], &[])));
        assert_eq!(look(&[1, 2]), Some(change(&[], &[3])), "2 was only missed, 3 is missing twice, 4 once");
        assert_eq!(look(&[1, 2, 4]), None);
        assert_eq!(look(&[1, 2]), None);
        assert_eq!(look(&[1, 2]), Some(change(&[], &[4])));
    }
}
