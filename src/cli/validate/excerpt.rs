//! The line of a manifest on which a problem stands, with a caret under the place. A line that may hold a secret is not shown: a
//! key or a token in the wrong place is a common slip.

use muster_operations::terminal;
use muster_reconciler::manifest::Problem;

/// The longest line that is shown, in characters. A longer one is no manifest's.
const LONGEST: usize = 200;
/// Words in the names of fields that hold secrets, or references to them.
const SECRET_WORDS: [&str; 6] = ["secr", "token", "passw", "key", "credential", "-----"];
/// From this length on, a run of letters and digits may be a part of a key.
const KEY_LIKE: usize = 32;

/// The excerpt of a problem, two lines with a line break each. Empty: the problem has no line, or the line is better not shown.
pub(super) fn of(problem: &Problem, body: &str) -> String {
    let Some(line) = problem.line.checked_sub(1).and_then(|nth| body.lines().nth(nth)) else { return String::new() };
    let tells = !line.trim().is_empty() && line.chars().count() <= LONGEST;
    if !tells || may_hold_secret(body, problem.line) {
        return String::new();
    }
    let before = &line[..start(problem, line)];
    // A tab is as wide in the caret's line as in the line above.
    let blank: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let (number, margin) = (problem.line.to_string(), " ".repeat(problem.line.to_string().len()));
    format!("  {number} | {}\n  {margin} | {blank}^\n", terminal::visible(line))
}

/// Where the caret points: at the place where the YAML parser gave up, at the field, or at the first word.
fn start(problem: &Problem, line: &str) -> usize {
    let first = line.len() - line.trim_start().len();
    if problem.column > 0 {
        return line.char_indices().nth(problem.column - 1).map_or(first, |(at, _)| at);
    }
    let field = problem.path.rsplit('.').next().unwrap_or_default();
    let name = field.split('[').next().unwrap_or_default();
    let key = (!name.is_empty()).then(|| line.find(&format!("{name}:"))).flatten();
    key.unwrap_or(first)
}

/// Whether the line, or the nearest field at it or above, sounds as if it held a secret.
fn may_hold_secret(body: &str, number: usize) -> bool {
    let sounds_secret = |line: &str| {
        let line = line.to_lowercase();
        SECRET_WORDS.iter().any(|word| line.contains(word))
    };
    let upwards = body.lines().take(number).collect::<Vec<_>>().into_iter().rev();
    let until_field = upwards.scan(false, |done, line| {
        let before = *done;
        *done = line
            .trim_start()
            .split_once(':')
            .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b' '));
        (!before).then_some(line)
    });
    let key_like =
        |line: &str| line.split(|c: char| !c.is_ascii_alphanumeric() && !"+/=_".contains(c)).any(|run| run.len() >= KEY_LIKE);
    let mut lines = until_field.peekable();
    lines.peek().is_some_and(|line| key_like(line)) || lines.any(sounds_secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize, column: usize, path: &str, body: &str) -> String {
        of(&Problem { line, column, path: path.into(), ..Problem::default() }, body)
    }

    #[test]
    fn the_caret_stands_under_the_field_or_where_the_parser_gave_up() {
        let body = "spec:\n  capacity: {idle: 1, max: -1}\n  cron: * 8\n";
        assert_eq!(at(2, 0, "spec.capacity.max", body), "  2 |   capacity: {idle: 1, max: -1}\n    |                       ^\n");
        assert_eq!(at(3, 9, "", body), "  3 |   cron: * 8\n    |         ^\n");
        assert_eq!(at(2, 0, "spec.labels[3]", body), "  2 |   capacity: {idle: 1, max: -1}\n    |   ^\n");
        assert_eq!(at(0, 0, "", body), "");
        assert_eq!(at(9, 0, "", body), "");
        assert_eq!(at(1, 40, "", "größe: [1\n"), "  1 | größe: [1\n    | ^\n");
    }

    #[test]
    fn a_line_that_may_hold_a_secret_is_not_shown() {
        let key = "MIIEpAIBAAKCAQEA7bq2l0sdfkjhsdkfjhsdkjfhsdkjfh";
        for (line, body) in [
            (1, "privateKey: hunter2\n"),
            (1, "{webhookSecret: hunter2, x: [}\n"),
            (1, "private-key: hunter2\n"),
            (1, "webhookSecrt: hunter2\n"),
            (1, "apiKey: hunter2\n"),
            (2, "token:\n  hunter2\n"),
            (3, "privateKey: |\n  hunter1\n  hunter2\n"),
            (1, &*format!("value: {key}\n")),
            (2, "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n"),
        ] {
            assert_eq!(at(line, 0, "", body), "", "{body}");
        }
        assert_ne!(at(2, 0, "", "token: env:X\nmax: -1\n"), "");
    }

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        assert!(at(1, 0, "", "name: \u{202e}x\u{1b}[2J\n").contains("\\u202ex\\u001b[2J"));
    }
}
