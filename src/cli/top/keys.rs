//! What the keys of `muster top` do.

use console::Key;
use muster_operations::subject::Subject;

use super::rows::{Row, Shown};

/// What is chosen, searched for and typed.
#[derive(Clone, Debug, Default)]
pub(super) struct Controls {
    /// What is shown.
    pub shown: Shown,
    /// The chosen row, among the rows of all sections.
    pub chosen: usize,
    /// Whether the keys are part of the text that is searched for.
    pub typing: bool,
    /// Whether the keys are listed.
    pub help: bool,
}

/// What a key asks of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyOutcome {
    /// Nothing but to draw again.
    Draw,
    /// To explain this.
    Explain(Subject),
    /// To end.
    Quit,
}

/// The last line.
pub(super) const KEYS: &str = "q quit   arrows or j k choose   enter explain   / search   p next pool   esc all   ? keys";

impl Controls {
    /// Takes a key. `rows` are the rows that are shown, and `pools` the names of all pools.
    pub fn press(&mut self, key: &Key, rows: &[Row], pools: &[String]) -> KeyOutcome {
        self.chosen = self.chosen.min(rows.len().saturating_sub(1));
        if *key == Key::CtrlC {
            return KeyOutcome::Quit;
        }
        if self.typing {
            self.type_in(key);
            return KeyOutcome::Draw;
        }
        match key {
            Key::Char('q') => return KeyOutcome::Quit,
            Key::Char('?') => self.help = !self.help,
            Key::Char('/') => self.typing = true,
            Key::Char('p') => self.next_pool(pools),
            Key::ArrowUp | Key::Char('k') => self.chosen = self.chosen.saturating_sub(1),
            Key::ArrowDown | Key::Char('j') => self.chosen += usize::from(self.chosen + 1 < rows.len()),
            Key::PageUp => self.chosen = self.chosen.saturating_sub(10),
            Key::PageDown => self.chosen = (self.chosen + 10).min(rows.len().saturating_sub(1)),
            Key::Home => self.chosen = 0,
            Key::End => self.chosen = rows.len().saturating_sub(1),
            Key::Escape => (self.shown, self.chosen) = (Shown::default(), 0),
            Key::Enter => return rows.get(self.chosen).map_or(KeyOutcome::Draw, |row| KeyOutcome::Explain(row.subject.clone())),
            _ => {}
        }
        KeyOutcome::Draw
    }

    fn type_in(&mut self, key: &Key) {
        match key {
            Key::Enter => self.typing = false,
            Key::Escape => {
                self.typing = false;
                self.shown.text.clear();
            }
            Key::Backspace => drop(self.shown.text.pop()),
            Key::Char(c) if !c.is_control() => self.shown.text.push(*c),
            _ => return,
        }
        self.chosen = 0;
    }

    /// The pool after the one that is shown, and all pools after the last.
    fn next_pool(&mut self, pools: &[String]) {
        let at = self.shown.pool.as_ref().and_then(|pool| pools.iter().position(|name| name == pool));
        self.shown.pool = pools.get(at.map_or(0, |at| at + 1)).cloned();
        self.chosen = 0;
    }

    /// What the last line says.
    pub fn line(&self) -> String {
        let pool = self.shown.pool.as_ref().map(|pool| format!("pool {pool}"));
        let text = (self.typing || !self.shown.text.is_empty()).then(|| format!("/{}", self.shown.text));
        let said: Vec<String> = pool.into_iter().chain(text).collect();
        match (said.is_empty(), self.help) {
            (_, true) => KEYS.to_owned(),
            (true, false) => "? keys".to_owned(),
            (false, false) => format!("{}   esc all", said.join("   ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_operations::terminal::Ink;

    use super::*;

    fn rows() -> Vec<Row> {
        let row = |id| Row { subject: Subject::Job(id), pool: None, cells: Vec::new(), ink: Ink::Plain, why: String::new() };
        (1..=3).map(row).collect()
    }

    #[test]
    fn keys_choose_explain_search_and_quit() {
        let (rows, pools) = (rows(), ["a".to_owned(), "b".to_owned()]);
        let mut controls = Controls::default();
        let mut press = |key: Key| controls.press(&key, &rows, &pools);
        assert_eq!(press(Key::ArrowDown), KeyOutcome::Draw);
        assert_eq!(press(Key::Char('j')), KeyOutcome::Draw);
        assert_eq!(press(Key::ArrowDown), KeyOutcome::Draw, "the last row is chosen already");
        assert_eq!(press(Key::Enter), KeyOutcome::Explain(Subject::Job(3)));
        for key in "/q?".chars().map(Key::Char) {
            assert_eq!(press(key), KeyOutcome::Draw, "a q that is searched for ends nothing");
        }
        assert_eq!(controls.line(), "/q?   esc all");
        controls.press(&Key::Enter, &rows, &pools);
        assert_eq!(controls.press(&Key::Char('q'), &rows, &pools), KeyOutcome::Quit);
        for pool in [Some("a"), Some("b"), None] {
            controls.press(&Key::Char('p'), &rows, &pools);
            assert_eq!(controls.shown.pool.as_deref(), pool);
        }
        controls.press(&Key::Escape, &rows, &pools);
        assert_eq!(controls.line(), "? keys");
        assert_eq!(controls.press(&Key::CtrlC, &rows, &pools), KeyOutcome::Quit);
    }
}
