//! What the daemon writes on the links that it makes, so that a command knows them without asking.

/// Alias of the link that is an aggregation.
pub const AGGREGATION_ALIAS: &str = "dlmp aggregation";
/// Start of the alias of its lower end, which no command shows; the aggregation's name follows.
pub const LOWER_ALIAS: &str = "dlmp lower end of";
