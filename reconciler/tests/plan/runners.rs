//! Stories of single runners: what is done to them, and what is not, above all when a job on them is easily overlooked.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_reconciler::effect::RunnerSighting;
use muster_reconciler::event::{Ec2EventKind, InstanceState, JobState};
use muster_reconciler::ids::{PoolName, RunnerId};
use muster_reconciler::manifest::{Lifetime, Span};
use muster_reconciler::plan::DRAIN_DEADLINE;
use muster_reconciler::reason::StepReason;
use muster_reconciler::runner::{Act, Phase, Runner};
use muster_reconciler::time::Time;
use muster_reconciler::world::World;

use super::scene::{POOL, START, labels, name};
use super::story::{ACME, Story, gone, list};

fn ends(acts: &[Act]) -> bool {
    acts.iter().any(|a| matches!(a, Act::Terminate))
}

/// Something else that may be known of a runner at a time.
type LaterNews = fn(&mut Runner, Time);

/// An effect on it failed a second before.
fn pauses_until(r: &mut Runner, until: Time) {
    assert_eq!(r.effect_failed("no".into(), None, until - Duration::from_secs(1)), until);
}

#[test]
fn runners_of_a_pool_that_is_gone_are_asked_to_end() {
    let mut story = Story::new();
    story.look(ACME, Some((true, false)));
    story.spec.pools.clear();
    assert_eq!(story.acts(), [Act::Drain]);
}

/// After a restart, nothing tells of the runner's job, and its list is no longer swept. The runner is drained, and never
/// ended.
#[test]
fn a_found_runner_of_a_removed_pool_is_asked_and_never_ended() {
    let mut story = Story::new();
    story.spec.pools.clear();
    let acts = story.pass(30, None, None);
    assert!(acts.contains(&Act::Drain) && !ends(&acts), "{acts:?}");
}

/// The pool now registers elsewhere. The runner works for the old scope, whose list nobody reads any more.
#[test]
fn a_found_runner_of_a_pool_that_moved_is_never_ended() {
    let mut story = Story::new();
    let pool = story.spec.pools.get_mut(&PoolName::from(POOL)).expect("the pool");
    pool.spec.github.scope = "org/other".parse().expect("a scope");
    let acts = story.pass(30, Some("org/other"), None);
    assert!(!ends(&acts), "{acts:?}");
    assert!(!acts.contains(&Act::Configure), "the instance is an hour old, so it was configured long ago: {acts:?}");
}

/// The runner's first job was cancelled before it began. The runner took a second job, whose event was lost, and the list
/// is old.
#[test]
fn the_end_of_one_job_ends_no_runner_that_github_was_not_asked_about_since() {
    let mut story = Story::new();
    story.look(Some("org/acme"), Some((true, false)));
    story.hear(7, JobState::Completed);
    assert!(!ends(&story.pass(5, None, None)), "no list was read since");
    assert!(!ends(&story.pass(5, Some("org/acme"), Some((true, false)))), "the runner is online, and `busy` may be wrong");
    assert!(!ends(&story.pass(5, Some("org/acme"), Some((true, true)))), "the runner is busy");
    assert!(ends(&story.pass(5, Some("org/acme"), None)), "the registration ended with the job");
}

/// The runners of a pool that is no longer in the manifests may have been reusable.
#[test]
fn the_end_of_a_job_is_no_end_of_a_runner_whose_pool_is_unknown() {
    let mut story = Story::new();
    story.look(Some("org/acme"), Some((true, true)));
    story.spec.pools.clear();
    story.hear(7, JobState::Completed);
    assert!(!ends(&story.pass(20, Some("org/acme"), Some((true, false)))));
}

/// A reusable runner: the start of its next job was told before the end of its last one, and GitHub's list is wrong.
#[test]
fn the_late_end_of_one_job_hides_no_other() {
    for (first, next) in [(7, 5), (5, 7)] {
        let mut story = Story::new();
        let pool = story.spec.pools.get_mut(&PoolName::from(POOL)).expect("the pool");
        pool.spec.runner.lifetime = Lifetime::Reusable;
        story.look(Some("org/acme"), Some((true, true)));
        for (job, state) in [(first, JobState::InProgress), (next, JobState::InProgress), (first, JobState::Completed)] {
            story.hear(job, state);
        }
        assert_eq!(story.pass(20, Some("org/acme"), Some((true, false))), [], "job {next} runs");
        story.hear(next, JobState::Completed);
        assert!(story.pass(5, Some("org/acme"), Some((true, false))).contains(&Act::Drain), "the runner has been idle for long");
    }
}

/// Such a list once cost an instance. An idle runner was drained when the job ended, and another one was launched when the
/// old row came (seed 48708).
#[test]
fn a_list_that_is_older_than_a_jobs_end_does_not_show_its_reusable_runner_busy() {
    for (began_after, phase) in [(0, Phase::Idle), (1, Phase::Busy)] {
        let mut story = Story::new();
        story.spec.pools.get_mut(&PoolName::from(POOL)).expect("the pool").spec.runner.lifetime = Lifetime::Reusable;
        story.look(ACME, Some((true, false)));
        story.now = story.now + Duration::from_secs(5);
        story.hear(7, JobState::InProgress);
        story.hear(7, JobState::Completed);
        let began = story.now + Duration::from_millis(began_after);
        let row = RunnerSighting { id: RunnerId(1), name: name(1), online: true, busy: true, labels: labels(), version: None };
        story.now = story.now + Duration::from_secs(1);
        let list_id = list("org/acme");
        story.world.saw_runners(&list_id, Some(&[row]), began, story.now);
        let plan = story.plan();
        assert_eq!(plan.counts.phases, BTreeMap::from([(phase, 1)]));
        assert_eq!(plan.counts.unexplained, u32::from(phase == Phase::Busy));
        // GitHub answers that the list has not changed since then, so the runner has another job.
        story.world.saw_runners(&list_id, None, story.now, story.now);
        assert_eq!(story.plan().counts.phases, BTreeMap::from([(Phase::Busy, 1)]));
    }
}

#[test]
fn an_interruption_that_never_comes_is_believed_for_ten_minutes() {
    let mut story = Story::new();
    story.look(ACME, Some((true, false)));
    story.hear_ec2(Ec2EventKind::SpotInterruption);
    story.watch(599, ACME, Some((true, false)));
    assert_eq!(story.acts(), []);
    story.watch(1, ACME, Some((true, false)));
    assert_eq!(story.acts(), [Act::Drain]);
    let now = story.now;
    story.runner().drain_accepted(&StepReason::InterruptionLapsed, now);
    story.watch(DRAIN_DEADLINE.as_secs() + 60, ACME, Some((true, true)));
    assert_eq!(story.acts(), [], "the runner has a job");
    story.watch(60, ACME, Some((false, false)));
    assert_eq!(story.acts(), [Act::Deregister], "the runner is drained like any other");
}

#[test]
fn nobody_chases_an_instance_that_spot_takes() {
    let mut story = Story::new();
    story.look(ACME, Some((false, false)));
    let asked_at = story.now;
    story.runner().drain_accepted(&StepReason::Outdated, asked_at);
    story.watch(DRAIN_DEADLINE.as_secs() + 60, ACME, Some((false, false)));
    assert_eq!(story.acts(), [Act::Deregister]);
    story.hear_ec2(Ec2EventKind::SpotInterruption);
    assert_eq!(story.acts(), []);
}

/// The runner had a job that no event has told of yet. If no event comes for long, there was no job.
#[test]
fn an_end_without_a_word_explains_a_queued_job_for_a_while() {
    let mut story = Story::new();
    story.look(ACME, Some((true, false)));
    let ended = story.now;
    story.hear_ec2(Ec2EventKind::State(InstanceState::ShuttingDown));
    for (after, unexplained) in [(1, 1), (59, 1), (60, 0)] {
        story.now = ended + Duration::from_secs(after);
        assert_eq!(story.plan().counts.unexplained, unexplained, "{after} s later");
    }
}

/// The webhook of the job's start may be a little late.
#[test]
fn a_runner_that_turns_busy_without_a_word_explains_a_queued_job_for_a_minute() {
    let mut story = Story::new();
    story.look(ACME, Some((true, false)));
    story.watch(15, ACME, Some((true, true)));
    let turned = story.now;
    for (after, unexplained) in [(0, 1), (59, 1), (60, 0)] {
        story.now = turned + Duration::from_secs(after);
        assert_eq!(story.plan().counts.unexplained, unexplained, "{after} s later");
    }
    story.now = turned;
    story.hear(7, JobState::InProgress);
    assert_eq!(story.plan().counts.unexplained, 0, "job 7 explains it");
}

#[test]
fn a_runner_whose_job_is_over_has_half_a_minute_to_end_itself() {
    let mut story = Story::new();
    story.look(ACME, Some((true, true)));
    story.hear(7, JobState::Completed);
    story.watch(29, ACME, None);
    assert_eq!(story.acts(), []);
    story.watch(20, ACME, None);
    assert_eq!(story.acts(), [Act::Terminate], "two lists, twenty seconds apart, lack its row");
}

#[test]
fn a_list_that_was_read_just_after_a_job_ended_does_not_show_that_there_is_no_other() {
    let mut story = Story::new();
    story.look(ACME, Some((true, true)));
    story.hear(7, JobState::Completed);
    for _ in 0..2 {
        story.now = story.now + Duration::from_secs(5);
        story.look(ACME, None);
    }
    story.now = story.now + Duration::from_secs(20);
    assert_eq!(story.acts(), [Act::Drain], "the runner may have got another job");
}

#[test]
fn what_was_seen_holds_for_four_intervals_and_a_minute_at_least() {
    for (interval, holds) in [(5, 60), (30, 120)] {
        let mut story = gone((false, false));
        story.spec.controller.spec.intervals.instances = Span::secs(interval);
        let seen = story.now;
        story.now = seen + Duration::from_secs(holds);
        assert_eq!(story.acts(), [Act::Deregister]);
        story.now = seen + Duration::from_secs(holds + 1);
        assert_eq!(story.acts(), []);
    }
}

/// The instance has booted and registered, and the runner was never online. The registration goes first, and the instance
/// ends once it can get no job.
#[test]
fn a_runner_that_never_came_online_loses_its_registration_first() {
    let mut story = Story::new();
    story.look(ACME, Some((false, false)));
    story.watch(60, ACME, Some((false, false)));
    story.tag = ACME.map(list);
    story.watch(300, ACME, Some((false, false)));
    assert_eq!(story.acts(), [Act::Deregister]);
    // The registration is not listed now, so a deletion would prove nothing. The runner is drained.
    story.look(ACME, None);
    assert_eq!(story.acts(), [Act::Drain]);
    story.runner().deregistered();
    assert_eq!(story.acts(), [Act::Terminate]);
}

#[test]
fn what_a_gone_runner_leaves_is_removed_once_nobody_uses_it() {
    assert_eq!(gone((false, false)).acts(), [Act::Deregister]);
    for seat in [(true, false), (false, true), (true, true)] {
        assert_eq!(gone(seat).acts(), [], "{seat:?}: GitHub has not noticed yet");
    }
    let changes: [(&[Act], LaterNews); 5] = [
        (&[Act::DeleteSecret], |r, _| r.secret_shown()),
        (&[Act::Deregister], |r, now| pauses_until(r, now)),
        (&[], |r, now| pauses_until(r, now + Duration::from_secs(1))),
        (&[], |r, _| r.effect_begins(Act::DeleteSecret)),
        (&[], |r, _| r.deregistered()),
    ];
    for (i, (acts, change)) in changes.iter().enumerate() {
        let mut story = gone((false, false));
        let now = story.now;
        change(story.runner(), now);
        assert_eq!(story.acts(), *acts, "change {i}");
    }
}

#[test]
fn a_gone_runner_is_looked_for_in_a_list_that_was_read_since() {
    for since in [0, 1] {
        let mut story = Story::new();
        story.look(ACME, Some((true, false)));
        story.watch(30, ACME, Some((false, false)));
        story.now = story.now + Duration::from_secs(since);
        story.hear_ec2(Ec2EventKind::State(InstanceState::Terminated));
        story.world.saw_secrets(&[], story.now, story.now);
        assert_eq!(story.acts(), [], "it went {since} s after the list was read");
        story.now = story.now + Duration::from_secs(5);
        assert_eq!(story.acts().contains(&Act::Deregister), since == 0, "it went {since} s after the list was read");
        story.look(ACME, Some((false, false)));
        assert_eq!(story.acts(), [Act::Deregister]);
    }
}

/// The runner was drained, is offline and does not answer. After five minutes and two sweeps its registration goes, and
/// then the instance.
#[test]
fn a_drain_without_an_answer_is_chased_in_two_steps() {
    let mut story = Story::new();
    story.look(ACME, Some((true, false)));
    story.watch(30, ACME, Some((false, false)));
    let asked_at = story.now;
    story.runner().drain_accepted(&StepReason::Outdated, asked_at);
    story.tag = ACME.map(list);
    story.watch(DRAIN_DEADLINE.as_secs(), ACME, Some((false, false)));
    assert_eq!(story.acts(), [], "there was only one sweep since the deadline");
    story.watch(15, ACME, Some((false, false)));
    assert_eq!(story.acts(), [Act::Deregister]);
    story.watch(15, ACME, Some((true, false)));
    assert_eq!(story.acts(), [], "the runner is online, so it may have a job");
    story.watch(15, ACME, Some((false, false)));
    story.runner().deregistered();
    assert_eq!(story.acts(), [Act::Terminate]);
}

#[test]
fn old_age_asks_an_idle_runner_in_time_and_ends_any_at_last() {
    for (limit, early) in [(3_600, 3_600 - DRAIN_DEADLINE.as_secs()), (400, 200)] {
        let mut story = Story::new();
        let pool = story.spec.pools.get_mut(&PoolName::from(POOL)).expect("the pool");
        pool.spec.runner.max_lifetime = Span::secs(limit);
        pool.spec.capacity.idle = 1;
        // The story's instance was launched an hour before the story begins.
        let birth = START - Duration::from_secs(3600);
        let at = |story: &mut Story, age: u64, seat| {
            story.world = World::new(START - Duration::from_secs(3600));
            story.now = birth + Duration::from_secs(age);
            story.look(ACME, Some(seat));
            story.acts()
        };
        assert_eq!(at(&mut story, early - 1, (true, false)), []);
        assert_eq!(at(&mut story, early, (true, false)), [Act::Drain]);
        assert_eq!(at(&mut story, early, (true, true)), []);
        assert_eq!(at(&mut story, limit - 1, (true, true)), []);
        assert_eq!(at(&mut story, limit, (true, true)), [Act::Terminate]);
    }
}

/// A runner that is online may have a job. An instance of which only the secret is known may be another pool's.
#[test]
fn a_runner_of_a_pool_that_is_gone_is_asked_once_and_not_while_something_is_under_way() {
    let mut story = Story::new();
    story.spec.pools.clear();
    story.look_at_instances(None, None);
    assert_eq!(story.acts(), [Act::Drain]);
    let changes: [(&[Act], LaterNews); 3] = [
        (&[Act::Drain], |r, now| pauses_until(r, now)),
        (&[], |r, now| pauses_until(r, now + Duration::from_secs(1))),
        (&[], |r, _| r.effect_begins(Act::Deregister)),
    ];
    for (i, (acts, change)) in changes.iter().enumerate() {
        let mut story = Story::new();
        story.spec.pools.clear();
        story.look_at_instances(None, None);
        let now = story.now;
        change(story.runner(), now);
        assert_eq!(story.acts(), *acts, "change {i}");
    }
    let mut story = Story::new();
    story.spec.pools.clear();
    story.world.saw_instances(&[], story.now, story.now);
    story.world.saw_secrets(&[name(1).instance], story.now, story.now);
    let plan = story.plan_of(&PoolName::default());
    assert_eq!((plan.counts.supply, plan.steps), (0, vec![]), "only its secret is known");
}

/// Either may tell that an earlier process configured the instance.
#[test]
fn a_found_runner_is_configured_once_githubs_list_and_the_secrets_were_seen() {
    for (listed, secrets) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut story = Story::new();
        story.spec.pools.get_mut(&PoolName::from(POOL)).expect("the pool").spec.runner.boot_deadline = Span::secs(10_800);
        if secrets {
            story.world.saw_secrets(&[], story.now, story.now);
        }
        story.look_at_instances(ACME.filter(|_| listed), None);
        assert_eq!(story.acts().contains(&Act::Configure), listed && secrets, "list {listed}, secrets {secrets}");
    }
}

#[test]
fn a_runner_that_a_predecessor_left_halfway_is_configured_by_half_its_boot_deadline() {
    let mut story = Story::new();
    // The story's instance was launched an hour before the story begins.
    story.spec.pools.get_mut(&PoolName::from(POOL)).expect("the pool").spec.runner.boot_deadline = Span::secs(10_800);
    let offline = Some((false, false));
    story.look(ACME, offline);
    assert_eq!(story.acts(), [], "the runner may be about to come online");
    story.now = story.now + Duration::from_secs(5399);
    story.look(ACME, offline);
    assert_eq!(story.acts(), []);
    story.now = story.now + Duration::from_secs(1);
    story.look(ACME, offline);
    assert_eq!(story.acts(), [Act::Configure]);
    let now = story.now;
    let reasons_to_wait: [LaterNews; 4] = [
        |r, now| r.list_swept(&list("org/acme"), Some(false), now),
        |r, _| r.effect_begins(Act::Configure),
        |r, now| pauses_until(r, now + Duration::from_secs(1)),
        |r, now| r.ask_unanswered(&StepReason::Unneeded, now),
    ];
    for (n, reason) in reasons_to_wait.iter().enumerate() {
        let before = story.runner().clone();
        reason(story.runner(), now);
        assert_eq!(story.acts(), [], "reason {n}");
        *story.runner() = before;
    }
}

#[test]
fn nobody_is_past_the_boot_deadline_on_a_list_that_was_not_read_since() {
    let mut story = Story::new();
    story.spec.pools.get_mut(&PoolName::from(POOL)).expect("the pool").spec.runner.boot_deadline = Span::secs(10_800);
    story.look(ACME, Some((false, false)));
    story.now = story.now + Duration::from_secs(10_800);
    story.look(None, None);
    let acts = story.acts();
    assert!(!acts.contains(&Act::Deregister) && !acts.contains(&Act::Terminate), "{acts:?}");
    story.look(ACME, Some((false, false)));
    assert_eq!(story.acts(), [Act::Deregister]);
}
