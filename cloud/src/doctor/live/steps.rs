//! The steps of the field test, in their order. For each step the user is asked, each has a time limit, and each ends as a line
//! of the report.

use std::time::Duration;

use muster_reconciler::effect::Outcome;
use muster_reconciler::failure::FailureKind;
use muster_reconciler::manifest::RunnerPool;
use muster_reconciler::reason::count;
use muster_reconciler::runner::Phase;
use tokio::time::Instant;

use super::follow::{Follow, Places, now_ms};
use super::report::Went;
use super::seen::Sight;
use super::{FILE_EVERY, Kit, MINUTES, Stop, Verdict, workflow};

impl Kit<'_> {
    pub(super) async fn steps(&mut self, at: &Places<'_>, pool: &RunnerPool) -> Result<(), Stop> {
        self.meet_controller(at).await?;
        let failed = self.report.checks.iter().filter(|check| check.verdict == Verdict::Failed).count();
        let checks = count(self.report.checks.len(), "check").to_string();
        if failed > 0 {
            // With the module's policy `operator`, some checks fail by design. The test can be made all the same.
            self.note("checks", Went::Done, format!("{failed} of {checks} failed; `muster doctor` tells them"));
            self.ask("checks", &format!("{} failed. Go on all the same?", count(failed, "check"))).await?;
        } else {
            self.note("checks", Went::Done, format!("none of {checks} failed"));
        }
        self.find_workflow(at, pool).await?;
        self.run_job(at, pool).await?;
        self.drain_idle(at, pool).await?;
        self.probe_github(at, pool).await
    }

    async fn meet_controller(&mut self, at: &Places<'_>) -> Result<(), Stop> {
        let about = match at.controller.about().await {
            Ok(about) => about,
            Err(error) => {
                self.note("controller", Went::Failed, format!("{error}; name its admin listener with --controller"));
                return Err(Stop::Pointless("the running controller does not answer".into()));
            }
        };
        self.report.controller_version.clone_from(&about.version);
        if about.cluster != at.cluster {
            let seen = format!("it is of cluster {}, the manifests are of {}", about.cluster, at.cluster);
            self.note("controller", Went::Failed, seen);
            return Err(Stop::Pointless("the controller is of another cluster than the manifests".into()));
        }
        self.note("controller", Went::Done, format!("muster {} answers", about.version));
        Ok(())
    }

    /// Waits until GitHub knows the workflow's file. The user commits the file and deletes it: doctor writes nothing into a
    /// repository.
    async fn find_workflow(&mut self, at: &Places<'_>, pool: &RunnerPool) -> Result<(), Stop> {
        let (step, file) = ("workflow file", self.wish.file.clone());
        let deadline = Instant::now() + self.wish.patience;
        let mut asked = false;
        loop {
            match at.github.has_workflow(&at.repo, &file).await {
                Ok(true) => {
                    self.note(step, Went::Done, format!("GitHub knows {file}"));
                    return Ok(());
                }
                Ok(false) if !asked => {
                    let text = workflow::text(&pool.spec.labels);
                    let place = format!("commit this as .github/workflows/{file} to the default branch of {}:", at.repo.name);
                    self.human.hears(&format!("{place}\n\n{text}"));
                    self.ask(step, "Is it committed? (Doctor waits until GitHub knows it.)").await?;
                    asked = true;
                }
                Ok(false) => {}
                Err(failure) => {
                    self.failed(step, &failure);
                    return Err(Stop::Pointless(format!("GitHub does not say whether there is the workflow {file}")));
                }
            }
            if Instant::now() >= deadline {
                self.note(step, Went::Failed, format!("GitHub knows of no {file} on the default branch"));
                return Err(Stop::Pointless("there is no workflow to run".into()));
            }
            self.pause(FILE_EVERY.min(self.wish.patience / 4)).await;
        }
    }

    async fn pause(&self, span: Duration) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(span) => {}
        }
    }

    /// What one instance of the test costs at most, by the controller's own prices.
    async fn cost(&self, at: &Places<'_>) -> String {
        let Ok(book) = at.controller.prices().await else { return "a few cents (no price is known)".into() };
        let hours = book.types.iter().flat_map(|t| [&t.on_demand, &t.spot]).flatten().map(|price| price.hour);
        match hours.fold(None, |most: Option<f64>, hour| Some(most.map_or(hour, |most| most.max(hour)))) {
            Some(hour) => {
                format!("at most {:.3} {}, for {MINUTES:.0} minutes of the dearest type", hour * MINUTES / 60.0, book.currency)
            }
            None => "a few cents (no price is known)".into(),
        }
    }

    /// Starts a run, or asks the user to start one.
    async fn start_run(&mut self, at: &Places<'_>, step: &str) -> Result<Follow, Stop> {
        let begun = Follow::begin(at).await;
        let mut follow = match begun {
            Ok(follow) => follow,
            Err(error) => {
                self.note(step, Went::Failed, format!("{error}"));
                return Err(Stop::Pointless("the running controller does not answer".into()));
            }
        };
        let (file, git_ref) = (self.wish.file.clone(), self.wish.git_ref.clone());
        follow.mark(Sight::Dispatched, now_ms());
        match at.github.dispatch(&at.repo, &file, &git_ref).await {
            Ok(run) => {
                follow.run = run;
                self.runs.extend(run);
            }
            Err(failure) if failure.kind == FailureKind::Refused => {
                let said = format!("the App may not start it ({}): start it by hand", failure.message);
                self.note(&format!("{step}, started by muster's App"), Went::Refused, said);
                self.human.hears(&format!("run this now:\n\n  gh workflow run {file} --repo {} --ref {git_ref}\n", at.repo.name));
            }
            Err(failure) => {
                self.failed(step, &failure);
                return Err(Stop::Pointless("the run was not started".into()));
            }
        }
        Ok(follow)
    }

    async fn run_job(&mut self, at: &Places<'_>, pool: &RunnerPool) -> Result<(), Stop> {
        let (step, cost) = ("a job on an instance", self.cost(at).await);
        let kind = pool.spec.instance.types.join(" or ");
        self.ask(step, &format!("Run one job in {}? The controller launches one instance ({kind}): {cost}.", at.repo.name))
            .await?;
        let mut follow = self.start_run(at, step).await?;
        let over = self.watch(at, &mut follow, |seen| ended(seen) || failed_to_boot(seen)).await;
        if matches!(over, Ok(true)) && !failed_to_boot(&follow) {
            // GitHub's row and EC2's last state may come a little later than what the controller knows.
            let rest = |seen: &Follow| seen.has(Sight::RegistrationGone) && seen.has(Sight::InstanceTerminated);
            let grace = Instant::now() + (self.wish.patience / 10).min(Duration::from_secs(60));
            drop(self.watch(at, &mut follow, |seen| rest(seen) || Instant::now() >= grace).await);
        }
        self.runs.extend(follow.run.filter(|run| !self.runs.contains(run)));
        let (went, seen) = told_of_run(&follow, matches!(over, Ok(true)));
        if let Some((id, _)) = follow.the_instance().filter(|_| went == Went::Done) {
            self.last_words = at.controller.last_words(&id.clone()).await.ok();
        }
        if follow.has(Sight::JobEnded) {
            let run = follow.run;
            self.runs.retain(|known| Some(*known) != run);
        }
        self.tell_unasked(&follow);
        self.first = Some(follow);
        over?;
        self.note(step, went, seen.clone());
        if went == Went::Done { Ok(()) } else { Err(Stop::Pointless(format!("the job did not come to its end: {seen}"))) }
    }

    /// Starts a second job and cancels it as soon as its instance is launched. This leaves an idle instance that belongs to the
    /// test, and this instance is drained.
    async fn drain_idle(&mut self, at: &Places<'_>, pool: &RunnerPool) -> Result<(), Stop> {
        let step = "drain of an idle instance";
        if at.controller.token.is_none() {
            self.note(step, Went::Skipped, "no token for orders was given (MUSTER_TOKEN or --token-file)");
            return Ok(());
        }
        let cost = self.cost(at).await;
        let question =
            "Queue a second job, cancel it as soon as its instance is launched, and drain that instance when it is idle?";
        let kind = pool.spec.instance.types.join(" or ");
        self.ask(step, &format!("{question} One more instance ({kind}): {cost}.")).await?;
        let mut follow = self.start_run(at, step).await?;
        let went = self.drained(at, &mut follow).await;
        self.runs.extend(follow.run.filter(|run| !self.runs.contains(run)));
        self.tell_unasked(&follow);
        self.second = Some(follow);
        let (went, seen) = went?;
        self.note(step, went, seen);
        Ok(())
    }

    async fn drained(&mut self, at: &Places<'_>, follow: &mut Follow) -> Result<(Went, String), Stop> {
        if !self.watch(at, follow, |seen| seen.has(Sight::Launched) && seen.run.is_some()).await? {
            return Ok((Went::Failed, format!("no instance was launched: {}", follow.reason)));
        }
        let only = follow.the_instance().filter(|_| follow.instances.len() == 1).map(|(id, _)| id.clone());
        let Some((id, run)) = only.zip(follow.run) else {
            return Ok((Went::Skipped, "other instances were launched at the same time; which is ours cannot be told".into()));
        };
        if let Err(failure) = at.github.cancel_run(&at.repo, run).await {
            let hint = format!("cancel it by hand: gh run cancel {run} --repo {}", at.repo.name);
            self.human.hears(&hint);
            if failure.kind != FailureKind::Refused {
                return Ok((Went::Failed, format!("{}; {hint}", failure.message)));
            }
        }
        let idle = |seen: &Follow| seen.instances.get(&id).is_some_and(|b| b.view.phase == Phase::Idle);
        let busy =
            |seen: &Follow| seen.instances.get(&id).is_some_and(|b| matches!(b.view.phase.as_str(), "busy" | "gone" | "failed"));
        follow.mark(Sight::Cancelled, now_ms());
        if !self.watch(at, follow, |seen| idle(seen) || busy(seen)).await? || busy(follow) {
            let phase = follow.instances.get(&id).map(|b| b.view.phase).unwrap_or_default();
            return Ok((Went::Skipped, format!("the instance was not idle but {phase}: it is left to the controller")));
        }
        let now = now_ms();
        let said = match at.controller.drain(&id).await {
            Ok(said) => said,
            Err(error) => return Ok((Went::Refused, error.to_string())),
        };
        if let Some(seen) = follow.instances.get_mut(&id) {
            seen.mark(Sight::Idle, now);
            seen.mark(Sight::DrainAsked, now);
        }
        let gone = self.watch(at, follow, |seen| seen.has(Sight::InstanceGone)).await?;
        Ok(if gone { (Went::Done, said) } else { (Went::Failed, format!("{said}, and it is still there: {}", follow.reason)) })
    }

    /// Makes one configuration, whose registration is deleted at once, and lists the runners twice. Both cost nothing.
    async fn probe_github(&mut self, at: &Places<'_>, pool: &RunnerPool) -> Result<(), Stop> {
        let step = "GitHub's limits";
        self.ask(step, "Mint one configuration that nobody uses, and delete its registration at once? It costs nothing.").await?;
        let name = format!("muster-field-test-{:x}", now_ms());
        let group = pool.spec.github.runner_group.clone();
        match at.github.probe_jit(&at.list_id, &group, &name, &pool.spec.labels).await {
            Ok((runner, headers)) => {
                self.registration = Some(runner);
                self.jit = Some(headers);
                if let Outcome::Failed(failure) = at.github.delete(&at.list_id, runner).await {
                    self.failed(step, &failure);
                    return Ok(());
                }
                self.registration = None;
            }
            Err(failure) => {
                self.failed(step, &failure);
                return Ok(());
            }
        }
        match at.github.list_twice(&at.list_id).await {
            Ok(twice) => {
                self.twice = Some(twice);
                self.note(step, Went::Done, "seen; the registration is deleted");
            }
            Err(failure) => self.failed(step, &failure),
        }
        Ok(())
    }

    fn tell_unasked(&mut self, follow: &Follow) {
        for (what, why) in &follow.unasked {
            self.note(&format!("look at {what}"), Went::Refused, why.clone());
        }
    }
}

fn ended(seen: &Follow) -> bool {
    seen.has(Sight::JobEnded) && seen.has(Sight::InstanceGone)
}

fn failed_to_boot(seen: &Follow) -> bool {
    !seen.has(Sight::JobStarted) && (seen.boot_failed.is_some() || seen.instances.values().any(|b| b.failed))
}

/// How the first job went, and what was seen of it.
fn told_of_run(follow: &Follow, in_time: bool) -> (Went, String) {
    let last = follow.the_instance().map(|(id, b)| {
        let why = b.trouble.clone().unwrap_or_else(|| b.view.reason.clone());
        format!("instance {id} is {}: {why}", b.view.phase)
    });
    let last = last.unwrap_or_else(|| format!("no instance of it was seen; {}", follow.reason));
    if failed_to_boot(follow) {
        let why = follow.boot_failed.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
        return (Went::Failed, format!("its instance never came online{why}; {last}"));
    }
    if !in_time {
        let what = match () {
            () if follow.job.is_none() => "GitHub's job was never seen".to_owned(),
            () if !follow.has(Sight::WebhookHeard) => {
                "GitHub queued the job, and the controller never heard of it: see the App's webhook".to_owned()
            }
            () if !follow.has(Sight::JobStarted) => format!("the job was not taken: {}", follow.reason),
            () if !follow.has(Sight::JobEnded) => "the job runs and did not end".to_owned(),
            () => "the job is over, and its instance is still there".to_owned(),
        };
        return (Went::Failed, format!("{what}; {last}"));
    }
    match follow.conclusion.as_deref() {
        Some("success") => (Went::Done, "the job ran to its end, and its instance is gone".into()),
        how => (Went::Failed, format!("the job ended, but not well: {}", how.unwrap_or("nobody says how"))),
    }
}
