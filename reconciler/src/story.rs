//! The story of one job or runner in a few steps, each with its seconds and the pool's usual ones, and links to where there is more.

use std::time::Duration;

use crate::controller::Seen;
use crate::demand::Job;
use crate::ids::{InstanceId, JobId, PoolName, RunId};
use crate::journal::{Entry, What};
use crate::reason::EventReason;
use crate::stage::Stage;
use crate::time::Time;
use crate::view::{LinkView, StepView};

/// So many cases must have been seen before something is called usual.
const ENOUGH: u32 = 5;
/// A shorter hold is not told: muster heard of a job that late.
const HELD: Duration = Duration::from_secs(60);

impl Seen<'_> {
    /// How long each part of a job's life took. `entries` are the job's.
    pub(crate) fn job_steps(&self, job: Option<&Job>, entries: &[&Entry], now: Time) -> Vec<StepView> {
        let at = |what: What| entries.iter().find(|e| e.what == what).map(|e| e.at);
        let told = job.and_then(|job| job.event.queued_at);
        let Some(queued) = told.or(job.map(|job| job.first_seen)).or(at(What::JobQueued)) else { return Vec::new() };
        let (started, over) = (job.and_then(|job| job.started).or(at(What::JobStarted)), at(What::JobCompleted));
        let begun = entries.iter().find(|e| e.what == What::JobStarted);
        let pool = begun.and_then(|e| e.whom.pool.as_ref()).or(job.and_then(Job::pool));
        let usual = pool.and_then(|pool| self.waits(pool)?.jobs.day(now)).filter(|seen| seen.count >= ENOUGH);
        let left = started.or(over);
        let until = left.unwrap_or(now);
        let holds = left.is_none() && job.is_some_and(|job| job.held(now));
        // As in the pool's usual waits, the time for which GitHub held the job back is told apart.
        let counted = if holds { until } else { job.map_or(queued, Job::counted_since).clamp(queued, until.max(queued)) };
        let mut steps = Vec::new();
        if counted.since(queued) >= HELD {
            let what = if holds { "is held back by GitHub" } else { "was held back by GitHub" };
            steps.push(StepView { what: what.into(), going: holds, ..step(counted.since(queued)) });
        }
        // Of a job that is over, nobody remembers when a hold ended.
        let mixed = job.is_none() && at(What::JobHeld).is_some();
        if !holds {
            let what = match (left.is_some(), mixed) {
                (_, true) => "waited for a runner, and while GitHub held it back",
                (true, false) => "waited for a runner",
                (false, false) => "waits for a runner",
            };
            steps.push(StepView {
                what: what.into(),
                usual_seconds: usual.filter(|_| !mixed).map(|seen| seen.median.as_secs_f64()),
                going: left.is_none(),
                ..step(until.since(counted))
            });
        }
        if let (Some(pool), Some(id)) = (pool, begun.and_then(|e| e.whom.instance.as_ref())) {
            steps.extend(self.start_of(pool, id, now).into_iter().map(|step| StepView { of_runner: true, ..step }));
        }
        if let Some(started) = started {
            let what = if over.is_some() { "ran" } else { "runs" };
            steps.push(StepView { what: what.into(), going: over.is_none(), ..step(over.unwrap_or(now).since(started)) });
        }
        steps
    }

    /// How long each stage of a runner's start took. Empty: this process did not launch the runner, or has forgotten it.
    pub(crate) fn start_of(&self, pool: &PoolName, id: &InstanceId, now: Time) -> Vec<StepView> {
        let mut reached: Vec<(Duration, Stage)> = match self.world.runners().get(id) {
            Some(r) => r.stages().map(|(stage, at)| (at.since(r.first_seen()), stage)).collect(),
            None => self.journal.of_runner(id).iter().filter_map(|e| reached(e)).collect(),
        };
        reached.sort_unstable();
        let stages = self.waits(pool).map(|waits| &waits.stages);
        let usual = |stage: Stage| Some(stages?.get(&stage)?.day(now).filter(|seen| seen.count >= ENOUGH)?.median);
        let (mut before, mut usually) = (Duration::ZERO, Some(Duration::ZERO));
        let mut steps = Vec::new();
        // The wait for the first job says nothing of the start.
        for (after, stage) in reached.into_iter().filter(|(_, stage)| *stage != Stage::Started) {
            let known = usual(stage);
            let usual_seconds = usually.zip(known).map(|(from, to)| to.saturating_sub(from).as_secs_f64());
            steps.push(StepView { what: stage.doing().into(), usual_seconds, ..step(after.saturating_sub(before)) });
            (before, usually) = (after, known);
        }
        steps
    }

    /// Pages elsewhere about a job.
    pub(crate) fn job_links(&self, repo: &str, run: RunId, job: JobId, pool: Option<&PoolName>) -> Vec<LinkView> {
        let app = pool.and_then(|pool| self.spec.pools.get(pool)).map(|pool| pool.list_id().app);
        let app = app.or_else(|| self.spec.apps.keys().next().cloned());
        let Some(site) = app.and_then(|app| self.spec.api_url(&app)).and_then(site_of) else { return Vec::new() };
        let run = format!("{site}/{repo}/actions/runs/{run}");
        let job_page = format!("{run}/job/{job}");
        vec![link("the job at GitHub", job_page), link("its run at GitHub", run)]
    }

    /// Pages elsewhere about an instance.
    pub(crate) fn instance_links(&self, id: &InstanceId) -> Vec<LinkView> {
        // Other partitions have other consoles.
        let region = self.spec.controller.spec.region.as_deref();
        let region = region.filter(|region| !region.starts_with("cn-") && !region.starts_with("us-gov-"));
        let page =
            |region| format!("https://{region}.console.aws.amazon.com/ec2/home?region={region}#InstanceDetails:instanceId={id}");
        region.map(|region| link("the instance in EC2's console", page(region))).into_iter().collect()
    }
}

fn step(d: Duration) -> StepView {
    StepView { seconds: d.as_secs_f64(), ..StepView::default() }
}

fn link(what: &str, href: String) -> LinkView {
    LinkView { what: what.into(), href }
}

fn reached(e: &Entry) -> Option<(Duration, Stage)> {
    match &e.why {
        EventReason::Reached { stage, after } => Some((*after, *stage)),
        _ => None,
    }
}

/// The address of the site whose API this is: `https://github.com` of `https://api.github.com`, and `https://ghe.example` of
/// `https://ghe.example/api/v3`.
fn site_of(api_url: &str) -> Option<String> {
    let rest = api_url.strip_prefix("https://")?.trim_end_matches('/');
    let host = rest.split('/').next()?;
    Some(format!("https://{}", host.strip_prefix("api.").unwrap_or(host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_found_by_its_api() {
        for (api, site) in [
            ("https://api.github.com", Some("https://github.com")),
            ("https://api.acme.ghe.com/", Some("https://acme.ghe.com")),
            ("https://ghe.example/api/v3", Some("https://ghe.example")),
            ("http://127.0.0.1:1", None),
        ] {
            assert_eq!(site_of(api).as_deref(), site, "{api}");
        }
    }
}
