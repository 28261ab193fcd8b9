//! What streams of the daemon have in common: whom they are about, and how they end.

use std::io::Write;

use dlmp_api::client::{Connection, Dlmpd};

use super::{answer, only};
use crate::failure::{Failure, Result};

/// Refuses an aggregation that there is none of: it would show nothing, for ever.
///
/// # Errors
/// As [`only`](super::only).
pub async fn refuse_unknown(daemon: &mut Connection, link: Option<&str>) -> Result<()> {
    if link.is_some() {
        let aggregations = answer(daemon.list_aggregations().await)?.aggregations;
        only(aggregations, link, |aggregation| &aggregation.name)?;
    }
    Ok(())
}

/// Says how many were missed, if any.
pub fn tell_missed(missed: i64) {
    if missed > 0 {
        // With nobody reading standard error there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{missed} missed: they came faster than they could be printed");
    }
}

/// The stream ended.
pub fn ended() -> Failure {
    Failure::refused("dlmpd has ended", "dladm show-aggr")
}

/// The stream broke.
pub fn broken(error: zlink::Error) -> Failure {
    Failure::Refused(format!("dlmpd did not answer: {error}"))
}
