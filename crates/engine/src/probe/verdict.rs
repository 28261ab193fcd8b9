//! Which islands live: the judgement after a burst, as a pure function of what the burst has shown.

use super::ports::PortSet;

/// What a burst has shown of one island: ports that reach each other by transitive probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Island {
    /// Its ports.
    pub(crate) ports: PortSet,
    /// How many of the targets that vouch it reached: given ones, routers, hosts found.
    pub(crate) reached: [u32; 3],
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
}

/// Judges the islands of a burst.
///
/// The islands that reach most of the vouching targets live: given ones count before routers, routers
/// before hosts found. So a near switch that answers for itself above a dead uplink does not win
/// against a port that reaches as much and the router besides. Equals live together: nobody is moved
/// by a guess.
pub(crate) fn judge(islands: &[Island]) -> Verdict {
    let most = islands.iter().map(|island| island.reached).max().unwrap_or_default();
    if most == [0; 3] {
        return if islands.len() > 1 { Verdict::AllFailed } else { Verdict::TargetsSilent };
    }
    let live = islands.iter().filter(|island| island.reached == most);
    Verdict::Live(live.fold(PortSet::EMPTY, |ports, island| ports.union(island.ports)))
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

    fn islands(of: &[Shown]) -> Vec<Island> {
        of.iter().map(|&(of, reached)| Island { ports: ports(of), reached }).collect()
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
