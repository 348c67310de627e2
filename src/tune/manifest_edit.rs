//! Puts settings into the text of a manifest, and leaves everything else as a person wrote it. The caller proves that the new text means what
//! it should, by reading it again.

use muster_reconciler::manifest::{IdleSchedule, MarketPolicy};
use muster_simulator::tune::knobs::KnobSetting;

/// How the comment begins that this module writes. An older one is replaced.
const MARK: &str = "# muster tune: ";
/// How the further lines of the comment begin.
const MORE: &str = "#   ";

/// The text with these settings in the RunnerPool of this name, and `reason` as a comment before its `spec`. None: the text has no such
/// document, or a form that cannot be changed line by line.
pub fn with_settings(body: &str, pool: &str, settings: &[&KnobSetting], reason: &[String]) -> Option<String> {
    let newline = if body.contains("\r\n") { "\r\n" } else { "\n" };
    let lines: Vec<String> = body.lines().map(str::to_owned).collect();
    let starts: Vec<usize> = std::iter::once(0)
        .chain(lines.iter().enumerate().filter(|(_, line)| bare(line) == "---").map(|(nth, _)| nth + 1))
        .chain([lines.len() + 1])
        .collect();
    for (from, to) in starts.iter().zip(starts.iter().skip(1)) {
        let document = lines.get(*from..to - 1)?;
        if !is_pool(document, pool) {
            continue;
        }
        let mut changed: Vec<String> = without_old_reason(document);
        for setting in settings {
            apply(&mut changed, setting)?;
        }
        let spec = key_line(&changed, 0..changed.len(), 0, "spec")?;
        let comment = reason.iter().enumerate().map(|(nth, line)| format!("{}{line}", if nth == 0 { MARK } else { MORE }));
        changed.splice(spec..spec, comment);
        let all = [lines.get(..*from)?, &changed, lines.get(to - 1..)?].concat();
        return Some(all.join(newline) + if body.ends_with('\n') { newline } else { "" });
    }
    None
}

fn apply(lines: &mut Vec<String>, setting: &KnobSetting) -> Option<()> {
    match setting {
        KnobSetting::Floor(idle, schedules) => {
            set(lines, "capacity", "idle", &[idle.to_string()])?;
            let flow = schedules.iter().map(said).collect::<Vec<_>>();
            set(lines, "capacity", "schedules", &flow_or_lines(&flow))
        }
        KnobSetting::IdleTimeout(timeout) => set(lines, "runner", "idleTimeout", &[timeout.to_string()]),
        KnobSetting::QueueDelay(delay) => set(lines, "runner", "queueDelay", &[delay.to_string()]),
        KnobSetting::Market(market) => {
            let word = match market {
                MarketPolicy::Spot => "spot",
                MarketPolicy::OnDemand => "on-demand",
                MarketPolicy::SpotThenOnDemand => "spot-then-on-demand",
            };
            set(lines, "instance", "market", &[word.to_owned()])
        }
    }
}

fn said(schedule: &IdleSchedule) -> String {
    let IdleSchedule { cron, timezone, hold, idle } = schedule;
    format!("{{cron: \"{cron}\", timezone: {timezone}, hold: {hold}, idle: {idle}}}")
}

/// A value in one line, or the items of a list with an empty line before them.
fn flow_or_lines(items: &[String]) -> Vec<String> {
    match items {
        [] => vec!["[]".into()],
        items => std::iter::once(String::new()).chain(items.iter().cloned()).collect(),
    }
}

/// Sets `spec.SECTION.KEY`. A value is one word, or an empty one and the items of a list.
fn set(lines: &mut Vec<String>, section: &str, key: &str, value: &[String]) -> Option<()> {
    let spec = key_line(lines, 0..lines.len(), 0, "spec")?;
    let spec_end = block_end(lines, spec);
    let inner = first_indent(lines, spec + 1..spec_end)?;
    let Some(at) = key_line(lines, spec + 1..spec_end, inner, section) else {
        let empty = matches!(value, [only] if only == "[]");
        if !empty {
            let mut new = vec![format!("{}{section}:", " ".repeat(inner))];
            new.extend(written(inner + 2, key, value));
            lines.splice(spec_end..spec_end, new);
        }
        return Some(());
    };
    let rest = after_key(lines.get(at)?)?;
    if rest.starts_with('{') {
        let flow = match value {
            [only] => only.clone(),
            [_, items @ ..] => format!("[{}]", items.join(", ")),
            [] => return None,
        };
        let line = flow_set(lines.get(at)?, key, &flow)?;
        lines[at] = line;
        return Some(());
    }
    if !bare(&rest).is_empty() {
        return None;
    }
    let end = block_end(lines, at);
    let indent = first_indent(lines, at + 1..end)?;
    match key_line(lines, at + 1..end, indent, key) {
        Some(old) => {
            let old_end = value_end(lines, old, end);
            let comment = comment_of(lines.get(old)?);
            let mut new = written(indent, key, value);
            if let (Some(first), Some(comment)) = (new.first_mut(), comment) {
                first.push_str(&comment);
            }
            // The comments of a list that goes stay before the key.
            let replaced = lines.get(old + 1..old_end).unwrap_or_default().iter();
            let left = replaced.filter_map(|line| {
                if line.trim_start().starts_with('#') { Some(line.trim().to_owned()) } else { comment_of(line) }
            });
            let left: Vec<String> = left.map(|comment| format!("{}{}", " ".repeat(indent), comment.trim())).collect();
            lines.splice(old..old_end, left.into_iter().chain(new));
        }
        None if matches!(value, [only] if only == "[]") => {}
        None => drop(lines.splice(end..end, written(indent, key, value))),
    }
    Some(())
}

fn written(indent: usize, key: &str, value: &[String]) -> Vec<String> {
    let pad = " ".repeat(indent);
    match value {
        [only] => vec![format!("{pad}{key}: {only}")],
        [_, items @ ..] => {
            std::iter::once(format!("{pad}{key}:")).chain(items.iter().map(|item| format!("{pad}  - {item}"))).collect()
        }
        [] => Vec::new(),
    }
}

/// A line `section: {a: 1, b: 2}  # comment` with another value of a key. None: the mapping does not end on the line.
fn flow_set(line: &str, key: &str, value: &str) -> Option<String> {
    let open = line.find('{')?;
    let (mut depth, mut quote, mut cuts) = (0usize, None, vec![open]);
    let mut close = None;
    for (at, c) in line.char_indices().skip_while(|(at, _)| *at < open) {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']') => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    close = Some(at);
                    break;
                }
            }
            (None, ',') if depth == 1 => cuts.push(at),
            _ => {}
        }
    }
    let close = close?;
    cuts.push(close);
    let parts = cuts.windows(2).filter_map(|pair| line.get(pair.first()? + 1..*pair.get(1)?)).map(str::trim);
    let mut entries: Vec<String> = parts.filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let new = format!("{key}: {value}");
    match entries.iter_mut().find(|entry| entry.split(':').next().map(str::trim) == Some(key)) {
        Some(entry) => *entry = new,
        None if value == "[]" => {}
        None => entries.push(new),
    }
    Some(format!("{}{{{}}}{}", line.get(..open)?, entries.join(", "), line.get(close + 1..)?))
}

fn is_pool(document: &[String], pool: &str) -> bool {
    let kind = key_line(document, 0..document.len(), 0, "kind").and_then(|at| after_key(document.get(at)?));
    let Some(metadata) = key_line(document, 0..document.len(), 0, "metadata") else { return false };
    let quoted = [pool.to_owned(), format!("\"{pool}\""), format!("'{pool}'")];
    let block = document.get(metadata..block_end(document, metadata)).unwrap_or_default();
    let named = block.iter().any(|line| {
        let line = bare(line).replace(['{', '}'], "");
        let name =
            line.trim_start_matches("metadata:").split(',').find_map(|part| part.trim().strip_prefix("name:").map(str::to_owned));
        name.is_some_and(|name| quoted.contains(&name.trim().to_owned()))
    });
    kind.is_some_and(|kind| bare(&kind) == "RunnerPool") && named
}

fn without_old_reason(document: &[String]) -> Vec<String> {
    let mut within = false;
    let mut kept = Vec::with_capacity(document.len());
    for line in document {
        within = line.starts_with(MARK) || within && line.starts_with(MORE);
        if !within {
            kept.push(line.clone());
        }
    }
    kept
}

/// A line without its comment and the spaces around it. A `#` in quotes is taken for a comment only after a space.
fn bare(line: &str) -> String {
    let line = if line.trim_start().starts_with('#') { "" } else { line };
    line.split(" #").next().unwrap_or_default().trim().to_owned()
}

fn comment_of(line: &str) -> Option<String> {
    let at = line.find(" #")?;
    Some(format!("  {}", line.get(at..)?.trim()))
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn key_line(lines: &[String], mut of: std::ops::Range<usize>, depth: usize, key: &str) -> Option<usize> {
    of.find(|at| lines.get(*at).is_some_and(|line| indent(line) == depth && after(line, key).is_some()))
}

fn after(line: &str, key: &str) -> Option<String> {
    let rest = line.trim_start().strip_prefix(key)?.strip_prefix(':')?;
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then(|| rest.trim().to_owned())
}

fn after_key(line: &str) -> Option<String> {
    line.split_once(':').map(|(_, rest)| rest.trim().to_owned())
}

fn first_indent(lines: &[String], of: std::ops::Range<usize>) -> Option<usize> {
    lines.get(of)?.iter().find(|line| !bare(line).is_empty()).map(|line| indent(line))
}

/// The line after the last one of the block that begins at a key. Comments and empty lines at its end belong to what follows.
fn block_end(lines: &[String], at: usize) -> usize {
    let depth = lines.get(at).map_or(0, |line| indent(line));
    let mut end = at + 1;
    for (nth, line) in lines.iter().enumerate().skip(at + 1) {
        if bare(line).is_empty() {
            continue;
        }
        if indent(line) <= depth {
            break;
        }
        end = nth + 1;
    }
    end
}

/// The line after the value of a key. The items of a list may stand as far left as their key.
fn value_end(lines: &[String], at: usize, within: usize) -> usize {
    let depth = lines.get(at).map_or(0, |line| indent(line));
    let mut end = at + 1;
    for (nth, line) in lines.iter().enumerate().take(within).skip(at + 1) {
        if bare(line).is_empty() {
            continue;
        }
        let item = indent(line) == depth && line.trim_start().starts_with("- ");
        if indent(line) <= depth && !item {
            break;
        }
        end = nth + 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_reconciler::manifest::Span;

    const BODY: &str = r#"# The pools of the team.
apiVersion: muster/v1
kind: RunnerPool
metadata:
  name: other
spec:
  capacity: {max: 3}
---
apiVersion: muster/v1
kind: RunnerPool
metadata: {name: linux}   # the busy one
spec:
  labels: [self-hosted, linux]
  capacity:
    max: 20     # the quota
    idle: 1     # somebody is always early
    schedules:
    - cron: "0 8-18 * * MON-FRI"
      idle: 4
    # per team
    perRepository: 5
  instance: {types: [m7i.large, "m6i.large"], market: spot}  # cheap

# the end
"#;

    fn floor(idle: u32) -> KnobSetting {
        let schedule = IdleSchedule { cron: "50 8 * * *".into(), hold: Span::secs(4200), idle: 12, ..IdleSchedule::default() };
        KnobSetting::Floor(idle, vec![schedule])
    }

    #[test]
    fn what_a_person_wrote_stays_and_the_reason_stands_before_the_spec() {
        let all = [floor(0), KnobSetting::QueueDelay(Span::secs(5)), KnobSetting::Market(MarketPolicy::OnDemand)];
        let reason = ["p95 wait <= 30s".to_owned(), "it costs 3".to_owned()];
        let text = with_settings(BODY, "linux", &all.iter().collect::<Vec<_>>(), &reason).expect("a form that can be changed");
        let (before, after) = text.split_once("---\n").expect("two documents");
        assert!(BODY.starts_with(before));
        let expected = r#"apiVersion: muster/v1
kind: RunnerPool
metadata: {name: linux}   # the busy one
# muster tune: p95 wait <= 30s
#   it costs 3
spec:
  labels: [self-hosted, linux]
  capacity:
    max: 20     # the quota
    idle: 0  # somebody is always early
    schedules:
      - {cron: "50 8 * * *", timezone: UTC, hold: 70m, idle: 12}
    # per team
    perRepository: 5
  instance: {types: [m7i.large, "m6i.large"], market: on-demand}  # cheap
  runner:
    queueDelay: 5s

# the end
"#;
        assert_eq!(after, expected);
        let again = with_settings(&text, "linux", &[&floor(2)], &["anew".into()]).expect("again");
        assert_eq!(again.matches("muster tune").count(), 1);
        assert!(again.contains("# muster tune: anew\nspec:\n") && !again.contains("it costs 3"), "{again}");
    }

    #[test]
    fn the_comments_of_a_list_that_is_replaced_stay() {
        let body = "kind: RunnerPool\nmetadata: {name: a}\nspec:\n  capacity:\n    max: 3\n    schedules:\n    # agreed with Bob\n    \
                    - {cron: \"0 3 * * *\", timezone: UTC, hold: 1h, idle: 2}  # nightly\n";
        let new = with_settings(body, "a", &[&floor(0)], &["why".into()]).expect("it can be changed");
        assert!(new.contains("    # agreed with Bob\n    # nightly\n") && !new.contains("0 3 * * *"), "{new}");
    }

    #[test]
    fn a_floor_without_schedules_removes_them() {
        let text = with_settings(BODY, "linux", &[&KnobSetting::Floor(3, vec![])], &[]).expect("changed");
        assert!(text.contains("    idle: 3  # somebody") && text.contains("    schedules: []\n    # per team"), "{text}");
        let flow = with_settings(BODY, "other", &[&KnobSetting::Floor(3, vec![])], &[]).expect("changed");
        assert!(flow.contains("  capacity: {max: 3, idle: 3}\n"), "{flow}");
        let flow = with_settings(BODY, "other", &[&floor(0)], &[]).expect("changed");
        assert!(flow.contains("capacity: {max: 3, idle: 0, schedules: [{cron: \"50 8 * * *\", timezone: UTC"), "{flow}");
    }

    #[test]
    fn other_forms_are_left_alone() {
        assert_eq!(with_settings(BODY, "absent", &[&floor(1)], &[]), None);
        let all_flow = "kind: RunnerPool\nmetadata: {name: a}\nspec: {capacity: {max: 1}}\n";
        assert_eq!(with_settings(all_flow, "a", &[&floor(1)], &[]), None);
        let over_lines = "kind: RunnerPool\nmetadata: {name: a}\nspec:\n  capacity: {max: 1,\n    idle: 2}\n";
        assert_eq!(with_settings(over_lines, "a", &[&floor(1)], &[]), None);
        let windows = "kind: RunnerPool\r\nmetadata:\r\n  name: a\r\nspec:\r\n  capacity:\r\n    max: 9\r\n";
        let text = with_settings(windows, "a", &[&KnobSetting::Floor(1, vec![])], &[]).expect("changed");
        assert_eq!(text.matches("\r\n").count(), text.matches('\n').count(), "{text:?}");
    }
}
