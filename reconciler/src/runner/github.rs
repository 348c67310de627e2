//! What GitHub shows of a runner: its registration, in one list.

use std::sync::Arc;

use super::{ABSENT_SWEEPS, BURIED_SWEEPS, Configured, Runner, Seat, Terms};
use crate::effect::RunnerSighting;
use crate::ids::{Forge, RunnerId};
use crate::manifest::RunnerPool;
use crate::time::Time;

/// What GitHub shows of a runner.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct GitHubView {
    row: Row,
    /// The one list in which the runner must be looked for. The tag says so from the launch on, and the runner is configured for no
    /// other list. Without the tag, it is the list in which a sweep showed the runner before this process touched it.
    ///
    /// None for a found runner with neither. Its pool may have moved, so no list's silence says anything of it, and it is never
    /// ended on such silence.
    bound_to: Option<Forge>,
    /// When the last complete look at that list began.
    list_seen: Option<Time>,
    /// What it was registered with, by this process or else as GitHub lists it.
    terms: Option<Arc<Terms>>,
    /// When it was first known to be online. Proof that it booted.
    online_at: Option<Time>,
    /// Idle without a break since then.
    idle_since: Option<Time>,
    /// GitHub's list turned busy then, before our eyes: its job may still be queued as far as events told. None for a runner that was
    /// found busy: its job is a predecessor's story.
    busy_since: Option<Time>,
}

/// A runner's row in GitHub's list.
#[derive(Clone, Debug, Default, PartialEq)]
enum Row {
    /// No list has shown one, and muster has made none.
    #[default]
    Unseen,
    Listed(Registration),
    /// We deleted it: the runner can't get a job any more.
    Deleted,
}

/// GitHub's sighting of a runner.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    id: RunnerId,
    list: Forge,
    online: bool,
    busy: bool,
    first_seen: Time,
    missed: u8,
}

impl Registration {
    /// GitHub's id.
    pub fn id(&self) -> RunnerId {
        self.id
    }

    /// The list that it is in.
    pub fn list(&self) -> &Forge {
        &self.list
    }

    /// Has a job, says GitHub; may lie.
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Whether GitHub shows it online or busy: a job may be running on it.
    pub fn is_in_use(&self) -> bool {
        self.online || self.busy
    }

    /// Whether GitHub shows it online without a job.
    pub fn is_idle(&self) -> bool {
        self.online && !self.busy
    }

    /// Complete sweeps in a row that did not list it.
    pub fn missed(&self) -> u8 {
        self.missed
    }

    /// Whether so many sweeps did not list it that it is taken for gone, even when its runner's instance is gone as well.
    pub(crate) fn is_buried(&self) -> bool {
        self.missed >= BURIED_SWEEPS
    }

    fn shown(&mut self, s: &RunnerSighting) {
        (self.online, self.busy, self.missed) = (s.online, s.busy, 0);
    }

    /// Decision 0010, row 23.
    fn missed_by_list(&mut self) {
        self.missed = self.missed.saturating_add(1);
        // One list without it is no news: pages are cut while the list moves, and rows fail to show.
        if self.missed >= ABSENT_SWEEPS {
            (self.online, self.busy) = (false, false);
        }
    }
}

impl GitHubView {
    fn registration(&self) -> Option<&Registration> {
        match &self.row {
            Row::Listed(registration) => Some(registration),
            Row::Unseen | Row::Deleted => None,
        }
    }

    /// This is the one list in which the runner must be looked for.
    pub(super) fn bind(&mut self, list: &Forge) {
        self.bound_to = Some(list.clone());
    }

    /// Whether its list, if it is known, was looked at in a sweep that began at or after `since`.
    pub(super) fn looked_for_since(&self, since: Time) -> bool {
        self.bound_to.is_none() || self.list_seen.is_some_and(|seen| seen >= since)
    }

    /// There is a registration of this id, new or known.
    fn register(&mut self, id: RunnerId, list: &Forge, now: Time) {
        if self.registration().is_none_or(|r| r.id != id || r.list != *list) {
            let new = Registration { id, list: list.clone(), online: false, busy: false, first_seen: now, missed: 0 };
            self.row = Row::Listed(new);
        }
    }

    /// A list shows these labels. What this process registered the runner with, it knows better: the list has no group.
    fn labels_shown(&mut self, list: &Forge, labels: &Arc<[String]>) {
        if self.terms.as_ref().is_none_or(|t| t.group.is_none() && (t.labels != *labels || t.forge != *list)) {
            self.terms = Some(Arc::new(Terms { forge: list.clone(), group: None, labels: labels.clone() }));
        }
    }

    /// The list shows the row. `known`: this process knows all that the runner has done.
    fn shown(&mut self, s: &RunnerSighting, known: bool, now: Time) {
        let Row::Listed(r) = &mut self.row else { return };
        // Only a change that this process saw can be news of a queued job.
        let began_working = s.busy && !r.busy && (r.first_seen < now || known);
        r.shown(s);
        self.busy_since = if began_working { Some(now) } else { self.busy_since.filter(|_| s.busy) };
    }

    /// A list was read whole. `shown`: whether it has the runner; None: nothing changed since the last time.
    fn swept(&mut self, list: &Forge, shown: Option<bool>, began: Time) {
        let Row::Listed(r) = &mut self.row else { return };
        // Unchanged means: whoever was missing still is.
        let missing = shown.map_or(r.missed > 0, |shown| !shown);
        if r.list == *list && missing && r.first_seen < began {
            r.missed_by_list();
        }
    }
}

impl Runner {
    /// GitHub's sighting.
    pub fn registration(&self) -> Option<&Registration> {
        self.github.registration()
    }

    /// GitHub's sighting, if the last complete sweep of its list has it.
    pub fn listed(&self) -> Option<&Registration> {
        self.registration().filter(|r| r.missed == 0)
    }

    /// We deleted its registration: it can't get a job any more.
    pub fn is_deregistered(&self) -> bool {
        self.github.row == Row::Deleted
    }

    /// The one list in which it must be looked for. None: no list's silence says anything of it.
    pub fn bound_to(&self) -> Option<&Forge> {
        self.github.bound_to.as_ref()
    }

    /// The list that has something to tell of it.
    pub fn list(&self) -> Option<&Forge> {
        self.registration().map(Registration::list).or(self.bound_to())
    }

    /// Whether it was ever known to be online: it has booted.
    pub fn was_online(&self) -> bool {
        self.github.online_at.is_some()
    }

    /// Idle without a break since then.
    pub fn idle_since(&self) -> Option<Time> {
        self.github.idle_since
    }

    /// GitHub's list turned busy then, before our eyes: the job may still be queued as far as events told.
    pub fn busy_since(&self) -> Option<Time> {
        self.github.busy_since
    }

    /// Its pool's labels, group or scope changed since it was registered: GitHub gives it none, or not all, of the pool's jobs.
    pub fn outdated(&self, pool: &RunnerPool) -> bool {
        self.bound_to().is_some_and(|list| *list != pool.forge()) || self.github.terms.as_ref().is_some_and(|t| !t.serve(pool))
    }

    /// Decision 0010, rows 16, 38.
    pub(super) fn seat(&self) -> Seat {
        let g = &self.github;
        let listed = self.registration().filter(|r| r.missed < ABSENT_SWEEPS);
        // A list that was begun before its job's end was told may show it with that job. Should it have another one, the next list
        // or the job's own event says so; it is let go on neither's silence (see `may_have_job`).
        let freed = g.list_seen.is_some_and(|seen| self.job().freed_since(seen));
        match (listed, g.online_at) {
            (Some(r), _) if r.busy && !freed => Seat::Busy,
            (Some(r), _) if r.online => Seat::Idle,
            // An event told that it is online, and nobody has looked since.
            (_, Some(at)) if g.bound_to.is_some() && g.list_seen.is_none_or(|seen| seen <= at) => Seat::Idle,
            (_, Some(_)) => Seat::Lost,
            (Some(_), None) if self.configured() == Configured::Unsure => Seat::None,
            (Some(_), None) => Seat::Waiting,
            (None, None) => Seat::None,
        }
    }

    /// Its configuration lies ready. `registration`: GitHub's id, if GitHub told it.
    pub(crate) fn configuration_ready(&mut self, terms: &Arc<Terms>, registration: Option<RunnerId>, now: Time) {
        self.configuration.ready(now);
        if let Some(id) = registration {
            self.github.register(id, &terms.forge, now);
        }
        self.github.terms = Some(Arc::clone(terms));
    }

    /// A complete sweep of a list has its row.
    ///
    /// Decision 0010, row 29.
    pub(crate) fn shown_by_list(&mut self, list: &Forge, s: &RunnerSighting, now: Time) {
        self.github.register(s.id, list, now);
        self.configuration.seen();
        self.github.labels_shown(list, &s.labels);
        // Of a found runner that we registered anew, our own row proves nothing until the runner uses it.
        if self.bound_to().is_none() && (self.configured() == Configured::Seen || s.online) {
            self.github.bind(list);
        }
        let known = self.launched_here() || matches!(self.configured(), Configured::Yes(_));
        self.github.shown(s, known, now);
    }

    /// A complete sweep of a list, which began at `began`, is taken in. `shown`: whether it has this runner's row; None: nothing
    /// changed since the last sweep.
    pub fn list_swept(&mut self, list: &Forge, shown: Option<bool>, began: Time) {
        if self.list() == Some(list) {
            self.github.list_seen = Some(began);
        }
        self.github.swept(list, shown, began);
    }

    /// Brings together what lists and job events say. Whether the runner is online for the first time.
    pub(crate) fn note_presence(&mut self, now: Time) -> bool {
        let (online, busy) = self.registration().map_or((false, false), |r| (r.online, r.busy));
        let working = busy || !self.job().is_none();
        let first = !self.was_online() && (online || working);
        if first {
            self.github.online_at = Some(now);
            self.configuration.used(now);
        }
        self.github.idle_since = (online && !working).then(|| self.github.idle_since.unwrap_or(now));
        first
    }

    /// Its registration was deleted.
    pub fn deregistered(&mut self) {
        self.github.row = Row::Deleted;
    }
}
