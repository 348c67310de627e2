//! How labels are told: in one line, and so that odd ones show.

/// The label by which a job says that it wants a self-hosted runner.
pub const SELF_HOSTED: &str = "self-hosted";

/// The labels in one line. A label that would not read as one label is in quotes.
pub fn listed(labels: &[String], between: &str) -> String {
    let odd = |l: &String| l.is_empty() || l.contains(|c: char| c == ',' || c.is_whitespace() || c.is_control());
    labels.iter().map(|l| if odd(l) { format!("{l:?}") } else { l.clone() }).collect::<Vec<_>>().join(between)
}

/// At most this many labels are told, and at most [`TOLD_LETTERS`] characters of each.
const TOLD_LABELS: usize = 10;
const TOLD_LETTERS: usize = 80;

/// The labels in quotes, as they came, so that a comma, a space or a line break in a label shows.
pub fn quoted(labels: &[impl AsRef<str>]) -> String {
    let one = |label: &str| match label.char_indices().nth(TOLD_LETTERS) {
        Some((at, _)) => format!("{:?}…", &label[..at]),
        None => format!("{label:?}"),
    };
    let mut told: Vec<String> = labels.iter().take(TOLD_LABELS).map(|l| one(l.as_ref())).collect();
    let more = labels.len().saturating_sub(TOLD_LABELS);
    told.extend((more > 0).then(|| format!("and {more} more")));
    format!("[{}]", told.join(", "))
}
