//! What is sent of a section that changed: all of it, but of its rows only those that changed, and of their cells only those that did.
//! The page has the others.

use std::collections::BTreeMap;

const BEGIN: &str = "<tr id=\"";
const END: &str = "</tr>";

/// The section `now`, in which each row that is as it was in `before` is a stub with its id, and each cell that is as it was an empty
/// one with a mark. The page puts its own there.
pub fn without_known(before: &str, now: &str) -> String {
    let known: BTreeMap<&str, &str> = rows(before).collect();
    let mut out = String::with_capacity(now.len() / 4);
    let mut rest = now;
    for (id, row) in rows(now) {
        let Some(before) = known.get(id) else { continue };
        // Rows are parts of `rest`, in order.
        let Some((head, tail)) = rest.split_once(row) else { continue };
        out.push_str(head);
        if *before == row {
            out.extend([BEGIN, id, "\" data-same>", END]);
        } else {
            changed_cells(before, row, &mut out);
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// The row, in which a cell that is as it was in `before` is empty.
fn changed_cells(before: &str, row: &str, out: &mut String) {
    let (old, new) = (cells(before), cells(row));
    if old.len() != new.len() || new.is_empty() {
        return out.push_str(row);
    }
    let mut rest = row;
    for (old, new) in old.into_iter().zip(new).filter(|(old, new)| old == new && new.len() > SAME.len()) {
        let _ = old;
        let Some((head, tail)) = rest.split_once(new) else { continue };
        out.extend([head, SAME]);
        rest = tail;
    }
    out.push_str(rest);
}

/// A cell that is as the page has it.
const SAME: &str = "<td data-same></td>";

/// The cells of a row, with all their text.
fn cells(row: &str) -> Vec<&str> {
    let (mut cells, mut rest) = (Vec::new(), row);
    loop {
        let next = ["<td", "<th"].into_iter().filter_map(|tag| rest.find(tag)).min();
        let Some(from) = next else { return cells };
        let end = if rest[from..].starts_with("<td") { "</td>" } else { "</th>" };
        let Some(length) = rest[from..].find(end).map(|at| at + end.len()) else { return cells };
        cells.push(&rest[from..from + length]);
        rest = &rest[from + length..];
    }
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

    #[test]
    fn of_a_row_that_changed_only_the_cells_that_did_are_sent() {
        let row = |class: &str, state: &str, why: &str| {
            format!(
                "<tr id=\"r1\" class=\"{class}\"><th scope=\"row\">job number one</th><td>{state}</td>\n<td class=\"n\">{why}</td></tr>"
            )
        };
        let sent = without_known(&row("", "waits for a runner", "5th of 16"), &row("bad", "waits for a runner", "4th of 16"));
        assert_eq!(
            sent,
            "<tr id=\"r1\" class=\"bad\"><td data-same></td><td data-same></td>\n<td class=\"n\">4th of 16</td></tr>"
        );
        let more = "<tr id=\"r1\"><td>one cell is enough</td></tr>";
        assert_eq!(without_known(&row("", "a", "b"), more), more, "a row with other cells is sent whole");
    }
}
