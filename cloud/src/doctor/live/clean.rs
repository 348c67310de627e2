//! The end of the field test: what the test made and what still exists is ended, too.

use std::time::Duration;

use muster_reconciler::effect::Outcome;
use muster_reconciler::runner::Phase;
use muster_reconciler::view::State;
use tokio::time::Instant;

use super::Kit;
use super::follow::Places;
use super::report::Went;
use muster_github::GitHub;

impl Kit<'_> {
    /// Ends what the test made and what still exists. The controller ends the test's instances. An instance that is idle is
    /// drained.
    pub(super) async fn clean_up(&mut self, at: &Places<'_>, github: &GitHub) {
        let step = "clean-up";
        let mut left = Vec::new();
        for run in std::mem::take(&mut self.runs) {
            let jobs = github.run_jobs(&at.repo, run).await.unwrap_or_default();
            if !jobs.is_empty() && jobs.iter().all(|job| job.status == "completed") {
                continue;
            }
            if let Err(failure) = github.cancel_run(&at.repo, run).await {
                left.push(format!("run {run} ({})", failure.message));
            }
        }
        if let Some(runner) = self.registration.take()
            && let Outcome::Failed(failure) = github.delete(&at.list_id, runner).await
        {
            left.push(format!("registration {runner} ({})", failure.message));
        }
        left.extend(self.wait_for_instances(at).await);
        let file = &self.wish.file;
        let remind = format!("delete .github/workflows/{file} when you need it no more");
        if left.is_empty() {
            self.note(step, Went::Done, format!("nothing of the test is left; {remind}"));
        } else {
            self.note(step, Went::Failed, format!("left: {}; {remind}", left.join(", ")));
        }
    }

    /// Waits for the test's instances that still exist. They are asked to end once they are idle. Returns those that exist when
    /// the user's patience is over.
    async fn wait_for_instances(&mut self, at: &Places<'_>) -> Vec<String> {
        let ids: Vec<String> =
            [&self.first, &self.second].into_iter().flatten().filter_map(|f| Some(f.the_instance()?.0.clone())).collect();
        let deadline = Instant::now() + self.wish.patience;
        let mut asked = false;
        loop {
            let mut alive = Vec::new();
            for id in &ids {
                match at.controller.explain("runner", id).await {
                    Ok(Some(told)) if told.state != State::Runner(Phase::Gone) => {
                        alive.push((id.clone(), told.state, told.reason))
                    }
                    Ok(_) => {}
                    Err(error) => return vec![format!("perhaps instance {id} ({error})")],
                }
            }
            if alive.is_empty() || Instant::now() >= deadline {
                return alive.into_iter().map(|(id, state, reason)| format!("instance {id}, {state}: {reason}")).collect();
            }
            if !asked && at.controller.token.is_some() {
                for (id, ..) in &alive {
                    // This is safe: an instance that has a job runs the job to its end first.
                    drop(at.controller.drain(id).await);
                }
            }
            if !asked {
                self.human.hears(&format!("waiting for {} to end", ids.join(" and ")));
            }
            asked = true;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}
