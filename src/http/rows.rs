//! What is sent of a section that changed: all of it, but of its rows only those that changed. The page has the others.

use std::collections::BTreeMap;

const BEGIN: &str = "<tr id=\"";
const END: &str = "</tr>";

/// The section `now`, in which each row that is as it was in `before` is a stub with its id. The page puts its own row there.
pub fn without_known(before: &str, now: &str) -> String {
    let known: BTreeMap<&str, &str> = rows(before).collect();
    let mut out = String::with_capacity(now.len() / 4);
    let mut rest = now;
    for (id, row) in rows(now).filter(|(id, row)| known.get(id) == Some(row)) {
        // Rows are parts of `rest`, in order.
        let Some((head, tail)) = rest.split_once(row) else { continue };
        out.extend([head, BEGIN, id, "\" data-same>", END]);
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// The rows of a section that have an id, with all their text.
fn rows(html: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = html;
    std::iter::from_fn(move || {
        let from = rest.find(BEGIN)?;
        let row = &rest[from..];
        let length = row.find(END)? + END.len();
        rest = &row[length..];
        let id = row[BEGIN.len()..].split('"').next()?;
        Some((id, &row[..length]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_that_changed_are_sent_whole() {
        let before = "<table><tr><th>a</th></tr><tr id=\"r1\"><td>1</td></tr><tr id=\"r2\"><td>2</td></tr></table>";
        let now = "<table><tr><th>b</th></tr><tr id=\"r3\"><td>3</td></tr><tr id=\"r1\"><td>1</td></tr><tr id=\"r2\"><td>x</td></tr></table>";
        let sent = without_known(before, now);
        assert_eq!(
            sent,
            "<table><tr><th>b</th></tr><tr id=\"r3\"><td>3</td></tr><tr id=\"r1\" data-same></tr><tr id=\"r2\"><td>x</td></tr></table>"
        );
        assert_eq!((without_known("", now), without_known(now, "<p>none</p>")), (now.to_owned(), "<p>none</p>".to_owned()));
    }
}
