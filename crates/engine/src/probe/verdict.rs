//! Which islands live: the judgement after a burst, as a pure function of what the burst has shown.

use super::ports::PortSet;

/// What a burst has shown of one island: ports that reach each other by transitive probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Island {
    /// Its ports.
    pub(crate) ports: PortSet,
    /// How many of the targets that vouch it reached: given ones, routers, hosts found.
    pub(crate) reached: [u32; 3],
    /// It asked in a way that one of them is known to answer, so that their silence says something.
    pub(crate) tested: bool,
    /// One of its ports was joined before with a port that is not in it.
    pub(crate) parted: bool,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// These ports live; the others of the burst have failed.
    Live(PortSet),
    /// No target answers, but all ports of the burst reach each other: the targets died, not the paths.
    TargetsSilent,
    /// No target answers and the ports are torn apart.
    AllFailed,
    /// Nobody could ask in a way that says anything: nothing follows.
    Unknown,
}

/// Judges the islands of a burst.
///
/// The islands that reach most of the vouching targets live: given ones count before routers, routers
/// before hosts found. So a near switch that answers for itself above a dead uplink does not win
/// against a port that reaches as much and the router besides. Equals live together: nobody is moved
/// by a guess.
///
/// No evidence is not evidence of death. An island that could not ask in a way that says anything fails
/// only if it has lost its join with others while one of them lives, and it is preferred to
/// those that asked and heard nothing.
pub(crate) fn judge(islands: &[Island]) -> Verdict {
    let most = islands.iter().map(|island| island.reached).max().unwrap_or_default();
    let union = |islands: &[&Island]| islands.iter().fold(PortSet::EMPTY, |ports, island| ports.union(island.ports));
    let (asked, unknown): (Vec<&Island>, Vec<&Island>) = islands.iter().partition(|island| island.tested);
    if most == [0; 3] {
        return match (asked.len(), unknown.len()) {
            (0, 1..) => Verdict::Unknown,
            (_, 1..) => Verdict::Live(union(&unknown)),
            (0 | 1, 0) => Verdict::TargetsSilent,
            (_, 0) => Verdict::AllFailed,
        };
    }
    let lives = |island: &&Island| island.reached == most || !(island.tested || island.parted);
    Verdict::Live(union(&islands.iter().filter(lives).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PortIndex;

    fn ports(of: &[u8]) -> PortSet {
        of.iter().copied().map(PortIndex).collect()
    }

    /// Ports of an island, and how many targets of each class it reaches.
    type Shown = (&'static [u8], [u32; 3]);

    fn island(of: &[u8], reached: [u32; 3]) -> Island {
        Island { ports: ports(of), reached, tested: true, parted: true }
    }

    fn islands(of: &[Shown]) -> Vec<Island> {
        of.iter().map(|&(of, reached)| island(of, reached)).collect()
    }

    #[test]
    fn what_could_not_ask_is_preferred_to_what_heard_nothing_and_fails_only_if_it_was_parted_from_what_lives() {
        let silent = |of| island(of, [0; 3]);
        let lives = |of| island(of, [1, 0, 0]);
        let parted = |of| Island { tested: false, ..silent(of) };
        let apart = |of| Island { parted: false, ..parted(of) };
        let cases: [(&str, &[Island], Verdict); 8] = [
            ("parted from one that hears nothing", &[silent(&[0]), parted(&[1])], Verdict::Live(ports(&[1]))),
            ("never joined with it", &[silent(&[0]), apart(&[1])], Verdict::Live(ports(&[1]))),
            ("two that could not ask", &[silent(&[0]), parted(&[1]), parted(&[2])], Verdict::Live(ports(&[1, 2]))),
            ("parted from one that lives", &[lives(&[0]), parted(&[1])], Verdict::Live(ports(&[0]))),
            ("never joined with one that lives", &[lives(&[0]), apart(&[1])], Verdict::Live(ports(&[0, 1]))),
            ("one each", &[silent(&[0]), lives(&[1]), apart(&[2])], Verdict::Live(ports(&[1, 2]))),
            ("nobody could ask", &[parted(&[0]), parted(&[1])], Verdict::Unknown),
            ("one that could not ask", &[parted(&[0])], Verdict::Unknown),
        ];
        for (what, evidence, verdict) in cases {
            assert_eq!(judge(evidence), verdict, "{what}");
        }
    }

    #[test]
    fn the_verdict_for_every_kind_of_evidence() {
        let cases: [(&str, &[Shown], Verdict); 9] = [
            ("one island with a target", &[(&[0, 1], [1, 0, 0])], Verdict::Live(ports(&[0, 1]))),
            ("one island, the target is dead", &[(&[0, 1], [0; 3])], Verdict::TargetsSilent),
            ("a port alone, the target is dead", &[(&[0], [0; 3])], Verdict::TargetsSilent),
            ("split, one side has the target", &[(&[0], [0; 3]), (&[1, 2], [0, 1, 0])], Verdict::Live(ports(&[1, 2]))),
            ("split, nobody has a target", &[(&[0], [0; 3]), (&[1], [0; 3])], Verdict::AllFailed),
            ("split, both have the same", &[(&[0], [0, 1, 0]), (&[1], [0, 1, 0])], Verdict::Live(ports(&[0, 1]))),
            ("a near switch answers for itself", &[(&[0], [0, 0, 1]), (&[1], [0, 0, 2])], Verdict::Live(ports(&[1]))),
            ("a given target outweighs hosts", &[(&[0], [1, 0, 0]), (&[1], [0, 0, 5])], Verdict::Live(ports(&[0]))),
            ("a router outweighs hosts", &[(&[0], [0, 0, 4]), (&[1], [0, 1, 0])], Verdict::Live(ports(&[1]))),
        ];
        for (what, evidence, verdict) in cases {
            assert_eq!(judge(&islands(evidence)), verdict, "{what}");
        }
    }
}
