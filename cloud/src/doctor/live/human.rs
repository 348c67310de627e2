//! Whoever is asked before each step and told what happens: a person at a terminal, or nobody (`--yes`).

use std::io::BufRead as _;

use muster_operations::terminal;
use tokio::sync::mpsc;

/// The person. Questions and news go to standard error, because the report goes to standard output.
#[derive(Debug)]
pub struct Person {
    /// The lines that the person types. None: every answer is yes.
    typed: Option<mpsc::UnboundedReceiver<String>>,
}

impl Person {
    /// Nobody, for whom every answer is yes.
    pub fn absent() -> Person {
        Person { typed: None }
    }

    /// A person at a terminal. A thread of its own reads standard input, so that a question can be interrupted. The thread ends
    /// with the process.
    pub fn at_terminal() -> Person {
        let (line, typed) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let lines = std::io::stdin().lock().lines().map_while(Result::ok);
            lines.take_while(|typed| line.send(typed.clone()).is_ok()).for_each(drop);
        });
        Person { typed: Some(typed) }
    }

    /// Asks whether to go on. The end of the input counts as no.
    pub(super) async fn agrees(&mut self, question: &str) -> bool {
        let Some(typed) = &mut self.typed else {
            terminal::say(&format!("{question} yes (--yes)"));
            return true;
        };
        terminal::ask(&format!("{question} [y/N]"));
        match typed.recv().await {
            Some(line) => matches!(line.trim().to_lowercase().as_str(), "y" | "yes"),
            None => {
                terminal::say("no answer; --yes answers every question with yes");
                false
            }
        }
    }

    /// Prints one line for the person.
    pub(super) fn hears(&self, line: &str) {
        terminal::say(line);
    }
}
