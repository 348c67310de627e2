//! `muster top`: pools, jobs and runners on a terminal, drawn anew every two seconds and with each key.

mod draw;
mod keys;
mod rows;

use std::process::ExitCode;
use std::time::Duration;

use clap_complete::engine::ArgValueCompleter;
use console::{Key, Term};
use muster_operations::meter::CostView;
use muster_operations::subject::Subject;
use muster_operations::terminal::{Ink, Screen, ScreenLine, visible_line};
use muster_reconciler::event::JobState;
use muster_reconciler::reason::count;
use muster_reconciler::runner::Phase;
use muster_reconciler::view::{Explanation, Snapshot};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::ask::{ControllerUrl, block_on};
use super::complete;
use super::explain;
use super::pasted::{self, pool_name};
use super::{show, stop};
use keys::{Controls, KeyOutcome};
use rows::{Row, Shown};

/// The time between two requests.
const EVERY: Duration = Duration::from_secs(2);
/// The number of lines if the height of the terminal is not known.
const LINES: usize = 40;
/// The width if that of the terminal is not known: wide enough for every sentence.
const WIDE: usize = 10_000;

/// `muster top`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print once and end. This is the default when the output is no terminal.
    #[arg(long)]
    once: bool,
    /// Show only this pool.
    #[arg(long, value_name = "NAME", value_parser = pool_name, add = ArgValueCompleter::new(complete::pools))]
    pool: Option<String>,
    #[command(flatten)]
    ask: ControllerUrl,
}

#[derive(Deserialize)]
struct Now {
    snapshot: Snapshot,
    cost: CostView,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let term = Term::stdout();
        let once = self.once || !term.is_term();
        block_on(async {
            if let Some(pool) = &self.pool {
                pasted::check_pool(&self.ask, pool).await?;
            }
            let now = self.look().await?;
            let controls = Controls { shown: Shown { pool: self.pool.clone(), text: String::new() }, ..Controls::default() };
            if once {
                let (height, width) = size(&term);
                show::print(&plain(&lines(&now, &controls, None, height, width)))?;
            } else {
                self.watch(now, controls, &term).await?;
            }
            Ok(ExitCode::SUCCESS)
        })
    }

    async fn look(&self) -> anyhow::Result<Now> {
        self.ask.get("snapshot").await
    }

    async fn look_later(&self) -> anyhow::Result<Now> {
        tokio::time::sleep(EVERY).await;
        self.look().await
    }

    /// Draws until somebody quits. A controller that does not answer for a while is told in the last line.
    async fn watch(&self, mut now: Now, mut controls: Controls, term: &Term) -> anyhow::Result<()> {
        let stop = stop::on_signal()?;
        let screen = Screen::enter(console::colors_enabled())?;
        let mut keys = Keys::read(term.clone());
        let mut next = Box::pin(self.look_later());
        let (mut trouble, mut opened): (Option<String>, Option<OpenPage>) = (None, None);
        loop {
            let (height, width) = size(term);
            let mut drawn = match &opened {
                Some(page) => page.lines(height - 1, width),
                None => lines(&now, &controls, Some(controls.chosen), height - 1, width),
            };
            let last = match (&trouble, &opened) {
                (Some(error), _) => draw::line(Ink::Red, draw::cut(error, width), false),
                (None, Some(_)) => draw::line(Ink::Dim, "arrows scroll   any other key goes back".into(), false),
                (None, None) => draw::line(Ink::Dim, draw::cut(&controls.line(), width), false),
            };
            drawn.resize(height - 1, ScreenLine::default());
            drawn.push(last);
            screen.draw(&drawn)?;
            tokio::select! {
                got = &mut next => {
                    match got {
                        Ok(newer) => (now, trouble) = (newer, None),
                        Err(error) => trouble = Some(format!("{error:#}")),
                    }
                    next = Box::pin(self.look_later());
                }
                Some(key) = keys.next() => {
                    if let Some(page) = &mut opened {
                        if key == Key::CtrlC {
                            return Ok(());
                        }
                        if !page.scroll(&key) {
                            opened = None;
                        }
                    } else {
                        let names: Vec<String> = now.snapshot.pools.iter().map(|pool| pool.name.clone()).collect();
                        match controls.press(&key, &shown_rows(&now, &controls), &names) {
                            KeyOutcome::Draw => {}
                            KeyOutcome::Quit => return Ok(()),
                            KeyOutcome::Explain(subject) => match self.explain(&subject).await {
                                Ok(page) => opened = Some(page),
                                Err(error) => trouble = Some(format!("{error:#}")),
                            },
                        }
                    }
                    keys.go_on();
                }
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    async fn explain(&self, subject: &Subject) -> anyhow::Result<OpenPage> {
        let told: Explanation = self.ask.get(&format!("explain/{subject}")).await?;
        Ok(OpenPage { text: explain::for_people(&told, None)?, from: 0 })
    }
}

/// An explanation that is read.
struct OpenPage {
    text: String,
    /// The first line that is shown.
    from: usize,
}

impl OpenPage {
    fn lines(&self, height: usize, width: usize) -> Vec<ScreenLine> {
        let wrapped = self.text.lines().flat_map(|line| {
            let seen = visible_line(line);
            let (blank, words) = seen.split_at(seen.bytes().take_while(|b| *b == b' ').count().min(width / 2));
            let lines: Vec<String> =
                draw::wrap(words, width - blank.len()).into_iter().map(|part| format!("{blank}{part}")).collect();
            lines
        });
        wrapped.skip(self.from).take(height).map(|text| draw::line(Ink::Plain, text, false)).collect()
    }

    /// Whether the key scrolled. Any other key closes the page.
    fn scroll(&mut self, key: &Key) -> bool {
        let most = self.text.lines().count().saturating_sub(1);
        self.from = match key {
            Key::ArrowUp | Key::Char('k') => self.from.saturating_sub(1),
            Key::ArrowDown | Key::Char('j') => (self.from + 1).min(most),
            Key::PageUp => self.from.saturating_sub(10),
            Key::PageDown | Key::Char(' ') => (self.from + 10).min(most),
            _ => return false,
        };
        true
    }
}

/// The keys that are pressed. A thread reads one key, and the next one when [`Keys::go_on`] says so: while a key is read, the terminal
/// is in another mode, and must not be left in it.
struct Keys {
    pressed: mpsc::Receiver<Key>,
    go_on: std::sync::mpsc::Sender<()>,
}

impl Keys {
    fn read(term: Term) -> Keys {
        let ((send, pressed), (go_on, wait)) = (mpsc::channel(1), std::sync::mpsc::channel());
        std::thread::spawn(move || {
            while let Ok(key) = term.read_key_raw() {
                if send.blocking_send(key).is_err() || wait.recv().is_err() {
                    return;
                }
            }
        });
        Keys { pressed, go_on }
    }

    async fn next(&mut self) -> Option<Key> {
        self.pressed.recv().await
    }

    fn go_on(&self) {
        // A thread that has ended reads no more keys, and there is nothing to do about that.
        let _ = self.go_on.send(());
    }
}

/// The height and the width of the terminal.
fn size(term: &Term) -> (usize, usize) {
    term.size_checked().map_or((LINES, WIDE), |(height, width)| (usize::from(height).max(4), usize::from(width).max(20)))
}

fn shown_rows(now: &Now, controls: &Controls) -> Vec<Row> {
    rows::sections(&now.snapshot, &controls.shown).into_iter().flat_map(|section| section.rows).collect()
}

/// The first line says how many there are. The rows stand below.
fn lines(now: &Now, controls: &Controls, chosen: Option<usize>, height: usize, width: usize) -> Vec<ScreenLine> {
    let Now { snapshot: s, cost } = now;
    let (queued, running) = (in_state(s, JobState::Queued), in_state(s, JobState::InProgress));
    let runners = s.runners.iter().filter(|runner| runner.phase != Phase::Gone).count();
    let mut first =
        format!("{} UTC  {} queued, {running} running; {}", show::when(s.now), count(queued, "job"), count(runners, "runner"));
    if !cost.prices.is_empty() {
        first += &format!("; {:.2} {} today, estimated", cost.total, cost.currency);
    }
    let sections = rows::sections(s, &controls.shown);
    let rows: usize = sections.iter().map(|section| section.rows.len()).sum();
    let chosen = chosen.map(|at| at.min(rows.saturating_sub(1)));
    let mut all = vec![draw::line(Ink::Plain, draw::cut(&first, width), false), ScreenLine::default()];
    all.extend(draw::lay_out(&sections, chosen, height.saturating_sub(2), width));
    all
}

/// The lines as a text without ink.
fn plain(lines: &[ScreenLine]) -> String {
    let text = |line: &ScreenLine| line.pieces.iter().map(|(_, text)| text.as_str()).collect::<String>();
    lines.iter().map(|line| text(line).trim_end().to_owned() + "\n").collect()
}

fn in_state(s: &Snapshot, state: JobState) -> usize {
    s.jobs.iter().filter(|job| job.state == state).count()
}
