//! Crashes after every effect, on all cores.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use anyhow::{anyhow, bail};
use muster_reconciler::reason::count;
use muster_reconciler::time::Time;
use muster_simulator::CrashMode;
use muster_simulator::crash::{CrashPoint, Example, Judged, Reference, RequestKind};

use super::out::{bar, say};
use super::seeds::caught;
use super::{LINES, NAMED, SeedRun, TRACE_LINES, code, first_words, told};

/// Crashes all built-in scenarios at every point.
pub(super) fn examples(threads: usize) -> anyhow::Result<ExitCode> {
    let (began, mut right, mut all, mut kinds) = (Instant::now(), 0, 0, BTreeSet::new());
    for example in Example::ALL {
        let (run_right, run_all) = crash(&SeedRun::example(example), threads, &mut kinds)?;
        (right, all) = (right + run_right, all + run_all);
    }
    let missing: Vec<String> = RequestKind::ALL.iter().filter(|k| !kinds.contains(k)).map(|k| format!("{k:?}")).collect();
    if !missing.is_empty() {
        say(format_args!("kinds of effects that no run crashed after: {}", missing.join(", ")))?;
    }
    say(format_args!(
        "{right} of {all} crashes were right, after {} of {} kinds of effects, in {:.1} s",
        kinds.len(),
        RequestKind::ALL.len(),
        began.elapsed().as_secs_f64()
    ))?;
    Ok(code(right == all && missing.is_empty()))
}

/// Crashes one scenario at every point.
pub(super) fn each(run: &SeedRun, threads: usize) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let (right, all) = crash(run, threads, &mut BTreeSet::new())?;
    say(format_args!("{right} of {all} crashes were right, in {:.1} s", began.elapsed().as_secs_f64()))?;
    Ok(code(right == all))
}

/// Crashes one scenario at one point.
pub(super) fn one(run: &SeedRun, at: CrashPoint, trace: bool) -> anyhow::Result<ExitCode> {
    let reference = reference(run)?;
    let effects = reference.effects.len();
    if at.effect > effects as u64 {
        bail!("cannot crash after effect {}: this run has {effects}", at.effect);
    }
    let crashed = match caught(|| reference.crash(at, TRACE_LINES)) {
        Ok(crashed) => crashed,
        Err(panic) => {
            say(format_args!("WRONG crash at {at}: the run panicked: {panic}\n\nreplay it:  {}", replay(run, at)))?;
            return Ok(code(false));
        }
    };
    let right = crashed.wrong.is_none();
    if trace {
        say(crashed.report.timeline_until(Time::FAR, TRACE_LINES))?;
    } else if !right {
        say(format_args!("the last {LINES} lines:\n{}\n", crashed.report.timeline(LINES)))?;
    }
    say(told(&crashed.report))?;
    say(format_args!("{} {crashed}", if right { "right:" } else { "WRONG" }))?;
    Ok(code(right))
}

fn reference(run: &SeedRun) -> anyhow::Result<Reference> {
    let fails = |what: String| anyhow!("the run without a crash fails already ({} shows it): {what}", run.replay());
    match caught(|| Reference::of(&run.scenario, run.judged)) {
        Ok(reference) => reference.map_err(|violation| fails(violation.to_string())),
        Err(panic) => Err(fails(format!("it panicked: {panic}"))),
    }
}

fn replay(run: &SeedRun, at: CrashPoint) -> String {
    format!("muster sim {} --crash-at {at} --trace", run.flags)
}

/// Crashes a scenario at every point, and prints the result. Returns how many crashes were right, and how many there were.
fn crash(run: &SeedRun, threads: usize, covered: &mut BTreeSet<RequestKind>) -> anyhow::Result<(usize, usize)> {
    let reference = reference(run)?;
    let points: Vec<CrashPoint> = reference.points().collect();
    let kinds: Vec<String> = reference.kinds().iter().map(|(kind, n)| format!("{n} {kind:?}")).collect();
    covered.extend(&reference.effects);
    say(format_args!(
        "{}: {} ({}), each followed by a crash in {}: {}, judged by {}",
        run.flags.trim_start_matches('-'),
        count(reference.effects.len(), "effect"),
        kinds.join(", "),
        count(CrashMode::ALL.len(), "way"),
        count(points.len(), "run"),
        match reference.judged {
            Judged::ByEnd { .. } => "their end and the invariants",
            Judged::ByInvariants =>
                "the invariants only: something strikes or changes here, and may strike otherwise after a crash",
        }
    ))?;
    let mut wrong = all_wrong(&reference, &points, threads);
    wrong.sort();
    for (at, what) in wrong.iter().take(NAMED) {
        say(format_args!("WRONG {what}\n  replay it:  {}", replay(run, *at)))?;
    }
    if let Some((first, _)) = wrong.first()
        && let Ok(crashed) = caught(|| reference.crash(*first, 4000))
    {
        say(format_args!("\nthe last {LINES} lines of the first:\n{}\n", crashed.report.timeline(LINES)))?;
    }
    Ok((points.len() - wrong.len(), points.len()))
}

/// The points at which something goes wrong, each with what is wrong.
fn all_wrong(reference: &Reference, points: &[CrashPoint], threads: usize) -> Vec<(CrashPoint, String)> {
    let bar = bar(Some(points.len() as u64));
    let next = AtomicUsize::new(0);
    let (results, heard) = mpsc::channel();
    let mut wrong = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (results, next) = (results.clone(), &next);
            scope.spawn(move || {
                while let Some(at) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = match caught(|| reference.crash(*at, 0)) {
                        Ok(crashed) => crashed.wrong.is_some().then(|| (*at, first_words(&crashed.to_string()))),
                        Err(panic) => Some((*at, format!("crash at {at}: the run panicked: {}", first_words(&panic)))),
                    };
                    if results.send(found).is_err() {
                        return;
                    }
                }
            });
        }
        drop(results);
        for found in heard {
            bar.inc(1);
            wrong.extend(found);
        }
    });
    bar.finish_and_clear();
    wrong
}
