//! The output of `ldm` for scripts (`-p`): a line a record, `KIND|key=value|...`, with empty values as `key=`.

/// The first line of most lists.
pub const VERSION: &str = "VERSION 1.0\n";

/// A record of a kind.
pub fn record(kind: &str, fields: &[(&str, String)]) -> String {
    format!("{kind}|{}", line(fields))
}

/// A line of fields. In a value `|` and `\` have a `\` in front.
pub fn line(fields: &[(&str, String)]) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('|', "\\|");
    let fields: Vec<_> = fields.iter().map(|(key, value)| format!("{key}={}", escaped(value))).collect();
    fields.join("|") + "\n"
}

/// A value that there may be none of.
pub fn maybe(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// Values, joined by commas.
pub fn joined<T: ToString>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_values_stay_and_what_divides_is_escaped() {
        let fields = [("name", r"a|b\c".into()), ("vid", joined(&[2, 3])), ("maxbw", maybe(None::<i64>))];
        assert_eq!(record("VNET", &fields), "VNET|name=a\\|b\\\\c|vid=2,3|maxbw=\n");
    }
}
