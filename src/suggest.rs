//! The nearest known name, for errors about an unknown one.

/// How alike two names must be for the one to be a likely misspelling of the other.
const LIKENESS_MIN: f64 = 0.75;

/// The name among `known` that is most like `name`, if any is like it at all.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (strsim::jaro_winkler(name, k), k))
        .filter(|(likeness, _)| *likeness > LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

/// The clause that follows an unknown name in an error: the nearest known name, or nothing.
pub fn clause<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known)
        .map(|k| format!(", did you mean `{k}`?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_finds_its_name_and_nonsense_finds_none() {
        assert_eq!(nearest("ttfx", ["ttft", "e2e"]), Some("ttft"));
        assert_eq!(clause("rat", ["rate", "seed"]), ", did you mean `rate`?");
        assert_eq!(nearest("zzz", ["ttft", "e2e"]), None);
    }
}
