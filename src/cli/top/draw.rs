//! Lays the rows of `muster top` out on a terminal of any width and height. The sentences wrap.

use muster_operations::terminal::{Ink, ScreenLine, visible_line};

use super::rows::{Row, Section};

/// The sentence has a column of its own if so many characters are left for it. Otherwise it stands below its row.
const LEAST_SENTENCE: usize = 34;
/// The indentation of a sentence that stands below its row.
const INDENT: usize = 4;
/// The space between two columns.
const GAP: usize = 2;

/// The lines of all sections, at most `height`. `chosen` counts the rows of all sections. The pools come first; jobs and runners
/// share what is left.
pub(super) fn lay_out(sections: &[Section; 3], chosen: Option<usize>, height: usize, width: usize) -> Vec<ScreenLine> {
    let mut lines = Vec::new();
    let (mut first, mut left) = (0, height);
    for (nth, section) in sections.iter().enumerate() {
        let later: usize = sections[nth + 1..].iter().map(|section| if section.rows.is_empty() { 0 } else { 3 }).sum();
        let share = match nth {
            0 => left.saturating_sub(later),
            1 if !sections[2].rows.is_empty() => left / 2,
            _ => left,
        };
        let within = chosen.and_then(|at| at.checked_sub(first)).filter(|at| *at < section.rows.len());
        let drawn = draw(section, within, share.saturating_sub(1), width);
        first += section.rows.len();
        left = left.saturating_sub(drawn.len() + 1);
        if !drawn.is_empty() {
            lines.extend(drawn);
            lines.push(ScreenLine::default());
        }
    }
    lines.pop();
    lines.truncate(height);
    lines
}

/// The lines of one section: a head, and as many rows as fit, with the chosen one among them.
fn draw(section: &Section, chosen: Option<usize>, height: usize, width: usize) -> Vec<ScreenLine> {
    if section.rows.is_empty() || height < 2 {
        return Vec::new();
    }
    let form = RowForm::new(section, width);
    // There may be thousands of rows. Only those that are shown are laid out.
    let laid = |nth: usize| form.row(&section.rows[nth], chosen == Some(nth));
    let mut from = chosen.unwrap_or_default().min(section.rows.len() - 1);
    let mut above = laid(from).len();
    while from > 0 && chosen.is_some() {
        above += laid(from - 1).len();
        if above > height - 1 {
            break;
        }
        from -= 1;
    }
    let mut lines = vec![form.head()];
    for row in (from..section.rows.len()).map(laid) {
        if lines.len() + row.len() > height && lines.len() > 1 {
            break;
        }
        lines.extend(row);
    }
    lines
}

/// How wide each column of a section is, and where the sentences stand.
struct RowForm<'a> {
    section: &'a Section,
    /// Each shown column, by its place among all, and its width.
    columns: Vec<(usize, usize)>,
    /// The width of the sentences. None: they stand below their rows.
    beside: Option<usize>,
    width: usize,
}

impl<'a> RowForm<'a> {
    fn new(section: &'a Section, width: usize) -> RowForm<'a> {
        let widest = |nth: usize| {
            let cells = section.rows.iter().map(|row| visible_line(&row.cells[nth]).chars().count());
            cells.chain([section.columns[nth].head.len()]).max().unwrap_or_default()
        };
        let shown = section.columns.iter().enumerate().filter(|(_, column)| width >= column.least_width);
        let columns: Vec<(usize, usize)> = shown.map(|(nth, _)| (nth, widest(nth))).collect();
        let taken: usize = columns.iter().map(|(_, wide)| wide + GAP).sum();
        let beside = width.checked_sub(taken).filter(|left| *left >= LEAST_SENTENCE);
        RowForm { section, columns, beside, width }
    }

    fn cell(&self, nth: usize, wide: usize, text: &str) -> String {
        let text = visible_line(text);
        let blank = " ".repeat(wide.saturating_sub(text.chars().count()));
        let gap = " ".repeat(GAP);
        if self.section.columns[nth].number { format!("{blank}{text}{gap}") } else { format!("{text}{blank}{gap}") }
    }

    fn head(&self) -> ScreenLine {
        let mut text: String =
            self.columns.iter().map(|(nth, wide)| self.cell(*nth, *wide, self.section.columns[*nth].head)).collect();
        if self.beside.is_some() {
            text += "WHY";
        }
        line(Ink::Bold, cut(text.trim_end(), self.width), false)
    }

    fn row(&self, row: &Row, chosen: bool) -> Vec<ScreenLine> {
        let cells: String = self.columns.iter().map(|(nth, wide)| self.cell(*nth, *wide, &row.cells[*nth])).collect();
        let indent = if self.beside.is_some() { cells.chars().count() } else { INDENT };
        let sentence = wrap(&visible_line(&row.why), self.beside.unwrap_or_else(|| self.width.saturating_sub(INDENT).max(1)));
        let mut sentence = sentence.into_iter();
        let first = if self.beside.is_some() { sentence.next().unwrap_or_default() } else { String::new() };
        let cells = if self.beside.is_some() { cells } else { cut(cells.trim_end(), self.width) };
        let mut lines = vec![ScreenLine { pieces: vec![(row.ink, cells), (Ink::Plain, first)], chosen }];
        lines.extend(sentence.map(|part| line(Ink::Plain, format!("{}{part}", " ".repeat(indent)), chosen)));
        lines
    }
}

pub(super) fn line(ink: Ink, text: String, chosen: bool) -> ScreenLine {
    ScreenLine { pieces: vec![(ink, text)], chosen }
}

pub(super) fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

/// The text in lines of at most `width` characters. A longer word is cut into pieces.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        let last = lines.last().map_or(0, |line| line.chars().count());
        if last > 0 && last + 1 + word.len() > width {
            lines.push(String::new());
        } else if last > 0 {
            lines.iter_mut().last().into_iter().for_each(|line| line.push(' '));
        }
        while word.len() > width {
            let rest = word.split_off(width);
            lines.iter_mut().last().into_iter().for_each(|line| line.extend(&word));
            lines.push(String::new());
            word = rest;
        }
        lines.iter_mut().last().into_iter().for_each(|line| line.extend(&word));
    }
    lines
}

#[cfg(test)]
mod tests {
    use muster_reconciler::event::JobState;
    use muster_reconciler::view::{JobView, PoolView, RunnerView, Snapshot};

    use super::super::rows::{Shown, sections};
    use super::*;

    fn snapshot() -> Snapshot {
        let reason = "4 wanted (4 queued jobs), 0 supplied, 0 of 6 runners; the pool has been paused by an operator for 5m";
        let pool = PoolView {
            name: "linux-arm64".into(),
            queued: 4,
            wanted: 4,
            max: 6,
            paused: true,
            reason: reason.into(),
            ..PoolView::default()
        };
        let job = |id| JobView { id, state: JobState::Queued, reason: format!("job {id} waits"), ..JobView::default() };
        let runner =
            RunnerView { instance: "i-0a1".into(), pool: "linux-arm64".into(), reason: "boots".into(), ..RunnerView::default() };
        Snapshot { pools: vec![pool], jobs: (1..=40).map(job).collect(), runners: vec![runner], ..Snapshot::default() }
    }

    fn texts(lines: &[ScreenLine]) -> Vec<String> {
        lines.iter().map(|line| line.pieces.iter().map(|(_, text)| text.as_str()).collect()).collect()
    }

    #[test]
    fn sentences_wrap_and_counts_give_way() {
        let all = sections(&snapshot(), &Shown::default());
        for width in [30, 50, 60, 80, 100, 200] {
            let drawn = texts(&lay_out(&all, None, 40, width));
            assert!(drawn.iter().all(|line| line.chars().count() <= width), "{width}: {drawn:#?}");
            let whole: Vec<&str> = drawn.iter().flat_map(|line| line.split_whitespace()).collect();
            assert!(whole.join(" ").contains("paused by an operator") || width < 200, "{width}: {drawn:#?}");
            assert!(whole.contains(&"operator") && whole.contains(&"5m"), "{width}: the whole sentence: {drawn:#?}");
            assert_eq!(drawn[0].contains("WANTED"), width >= 90, "{width}: {drawn:#?}");
        }
    }

    #[test]
    fn the_chosen_row_is_always_shown_and_the_height_is_kept() {
        let all = sections(&snapshot(), &Shown::default());
        for chosen in [0, 1, 20, 40, 41] {
            let drawn = lay_out(&all, Some(chosen), 20, 100);
            assert!(drawn.len() <= 20, "{}", drawn.len());
            assert_eq!(drawn.iter().filter(|line| line.chosen).count().min(1), 1, "{chosen}: {:#?}", texts(&drawn));
        }
    }

    #[test]
    fn words_wrap_and_long_words_are_cut() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("", 4), [""]);
    }

    #[test]
    fn only_what_was_searched_for_is_shown() {
        let shown = |text: &str, pool: Option<&str>| {
            let shown = Shown { text: text.into(), pool: pool.map(str::to_owned) };
            sections(&snapshot(), &shown).map(|section| section.rows.len())
        };
        assert_eq!(shown("JOB 7 ", None), [0, 1, 0]);
        assert_eq!(shown("", Some("linux-arm64")), [1, 0, 1]);
    }
}
