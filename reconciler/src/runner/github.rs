//! What GitHub shows of a runner: its registration, in one list.

use std::sync::Arc;
use std::time::Duration;

use super::{ABSENT_SWEEPS, BURIED_SWEEPS, Configured, Runner, Seat, Terms};
use crate::effect::RunnerSighting;
use crate::ids::{ListId, RunnerId};
use crate::manifest::RunnerPool;
use crate::time::Time;
use crate::versions::is_version;

/// What GitHub shows of a runner.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct GitHubView {
    row: ListedRow,
    /// The one list in which the runner must be looked for. The tag names the list from the launch on, and the runner is
    /// configured for no other list. Without the tag: the list in which a sweep showed the runner before this process touched it.
    ///
    /// None for a found runner with neither. Its pool may have moved, so no list's silence says anything of the runner. Such a
    /// runner is never ended on a list's silence.
    bound_to: Option<ListId>,
    /// When the last complete sweep of that list began.
    list_seen: Option<Time>,
    /// The terms that this process registered the runner with, or else those that GitHub lists.
    terms: Option<Arc<Terms>>,
    /// When the runner was first known to be online. This proves that the runner booted.
    online_at: Option<Time>,
    /// Since when the runner has been idle without a break.
    idle_since: Option<Time>,
    /// When this process saw the runner turn busy in GitHub's list. Its job may still look queued, as far as events told. None
    /// for a runner that was found busy, because its job is a predecessor's story.
    busy_since: Option<Time>,
    /// When muster first asked GitHub to delete the row, of the calls that did or may have. A job that GitHub gave the runner in that
    /// moment ended with it.
    delete_asked: Option<Time>,
}

/// A runner's row in GitHub's list.
#[derive(Clone, Debug, Default, PartialEq)]
enum ListedRow {
    /// No list has shown a row, and muster has made none.
    #[default]
    Unseen,
    Listed(Registration),
    /// muster deleted the row, so the runner can get no job any more.
    Deleted,
}

/// A runner's row, as GitHub's list last showed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    id: RunnerId,
    list: ListId,
    online: bool,
    busy: bool,
    /// The version of the runner program, as the list last told it.
    version: Option<Arc<str>>,
    first_seen: Time,
    missed: u8,
    /// When the first of these sweeps began.
    missing_since: Option<Time>,
    /// Whether the sweeps without the row are enough to say that GitHub has no such row.
    absent: bool,
    /// Since when, and in how many complete sweeps in a row, the list has shown the runner offline.
    offline: Option<(Time, u8)>,
    /// Whether these sweeps are enough to say that the runner is offline.
    surely_offline: bool,
}

/// A runner that was online is offline once this many complete sweeps in a row, over at least [`OFFLINE_LAG`], have shown it so. The
/// same holds when [`ABSENT_SWEEPS`] sweeps lack its row.
const OFFLINE_SWEEPS: u8 = 2;
const OFFLINE_LAG: Duration = Duration::from_secs(20);

impl Registration {
    /// GitHub's id of the runner.
    pub fn id(&self) -> RunnerId {
        self.id
    }

    /// The list that has the row.
    pub fn list(&self) -> &ListId {
        &self.list
    }

    /// The version of the runner program. None: GitHub has not told it.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Whether GitHub says that the runner has a job. GitHub is wrong now and then.
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Whether GitHub shows the runner online or busy. If so, a job may be running on the runner.
    pub fn is_in_use(&self) -> bool {
        self.online || self.busy
    }

    /// Whether the newest list that has the row shows the runner online or busy. This is enough once EC2 or an event has told the
    /// runner's end.
    pub fn last_shown_in_use(&self) -> bool {
        self.is_in_use() && self.offline.is_none()
    }

    /// Whether enough lists have shown the runner offline. One list may show every runner so, and this process may not know yet that
    /// the runner was online.
    pub fn is_surely_offline(&self) -> bool {
        self.surely_offline
    }

    /// Since when enough lists in a row have shown the runner offline, or have lacked its row. None: they have not.
    pub(crate) fn silent_since(&self) -> Option<Time> {
        let offline = self.offline.filter(|_| self.surely_offline).map(|(since, _)| since);
        offline.into_iter().chain(self.missing_since.filter(|_| self.absent)).min()
    }

    /// Whether GitHub shows the runner online and without a job.
    pub fn is_idle(&self) -> bool {
        self.online && !self.busy
    }

    /// Complete sweeps in a row that did not show the row.
    pub fn missed(&self) -> u8 {
        self.missed
    }

    /// Whether the row was missing from [`BURIED_SWEEPS`] sweeps. The registration then counts as gone, if the runner's instance
    /// is gone as well.
    pub(crate) fn is_buried(&self) -> bool {
        self.missed >= BURIED_SWEEPS
    }

    fn shown(&mut self, s: &RunnerSighting, now: Time) {
        (self.missed, self.missing_since, self.absent) = (0, None, false);
        // A runner that updates itself has another version afterwards. One that goes offline keeps its last one.
        self.version = s.version.clone().filter(|version| is_version(version)).or(self.version.take());
        if s.online || s.busy {
            (self.online, self.busy, self.offline, self.surely_offline) = (s.online, s.busy, None, false);
        } else {
            self.shown_offline(now);
        }
    }

    /// One list that shows the runner offline proves nothing: a drain cannot be taken back, and one answer of GitHub may show every
    /// runner offline.
    fn shown_offline(&mut self, now: Time) {
        let (since, lists) = self.offline.map_or((now, 1), |(since, lists)| (since, lists.saturating_add(1)));
        self.offline = Some((since, lists));
        if lists >= OFFLINE_SWEEPS && now.since(since) >= OFFLINE_LAG {
            (self.online, self.busy, self.surely_offline) = (false, false, true);
        }
    }

    /// Decision 0010, row 23.
    fn missed_by_list(&mut self, began: Time) {
        self.missed = self.missed.saturating_add(1);
        let since = *self.missing_since.get_or_insert(began);
        // One list without the row proves nothing. GitHub cuts pages while the list moves, and rows fail to show.
        if self.missed >= ABSENT_SWEEPS && began.since(since) >= OFFLINE_LAG {
            self.absent = true;
            (self.online, self.busy) = (false, false);
        }
    }
}

impl GitHubView {
    fn registration(&self) -> Option<&Registration> {
        match &self.row {
            ListedRow::Listed(registration) => Some(registration),
            ListedRow::Unseen | ListedRow::Deleted => None,
        }
    }

    /// Sets the one list in which the runner must be looked for.
    ///
    /// Decision 0010, row 12.
    pub(super) fn bind(&mut self, list: &ListId) {
        self.bound_to = Some(list.clone());
        // A row in another list is somebody else's, who chose this name.
        if self.registration().is_some_and(|row| row.list != *list) {
            (self.row, self.list_seen) = (ListedRow::Unseen, None);
            self.forget_presence();
        }
    }

    /// What was seen of another registration with this name says nothing of the runner.
    fn forget_presence(&mut self) {
        (self.online_at, self.idle_since, self.busy_since) = (None, None, None);
    }

    /// Whether a sweep of the runner's list began at or after `since`. True when no list is known.
    pub(super) fn looked_for_since(&self, since: Time) -> bool {
        self.bound_to.is_none() || self.list_seen.is_some_and(|seen| seen >= since)
    }

    /// The runner had a job until now, so its idle time begins anew.
    pub(super) fn has_worked(&mut self) {
        self.idle_since = None;
    }

    /// Notes a registration of this id, new or known. An event may have told that the runner is online, before any list did. Then
    /// one list that shows it offline proves nothing either.
    fn register(&mut self, id: RunnerId, list: &ListId, now: Time) {
        if self.registration().is_none_or(|r| r.id != id || r.list != *list) {
            self.row = ListedRow::Listed(Registration {
                id,
                list: list.clone(),
                online: self.online_at.is_some(),
                busy: false,
                version: None,
                first_seen: now,
                missed: 0,
                missing_since: None,
                absent: false,
                offline: None,
                surely_offline: false,
            });
        }
    }

    /// A list shows these labels. The terms that this process registered the runner with stay, because the list does not tell the
    /// group.
    fn labels_shown(&mut self, list: &ListId, labels: &Arc<[String]>) {
        if self.terms.as_ref().is_none_or(|t| t.group.is_none() && (t.labels != *labels || t.list_id != *list)) {
            self.terms = Some(Arc::new(Terms { list_id: list.clone(), group: None, labels: labels.clone() }));
        }
    }

    /// The list shows the row. `known` says that this process knows all that the runner has done.
    fn shown(&mut self, s: &RunnerSighting, known: bool, now: Time) {
        let ListedRow::Listed(r) = &mut self.row else { return };
        // Only a change that this process saw can be news of a queued job.
        let began_working = s.busy && !r.busy && (r.first_seen < now || known);
        r.shown(s, now);
        self.busy_since = if began_working { Some(now) } else { self.busy_since.filter(|_| r.busy) };
    }

    /// A list was swept whole. `shown` says whether the list has the runner. None: nothing changed since the last sweep.
    fn swept(&mut self, list: &ListId, shown: Option<bool>, began: Time) {
        let ListedRow::Listed(r) = &mut self.row else { return };
        if r.list == *list && shown.is_none() && r.offline.is_some() {
            r.shown_offline(began);
        }
        // When nothing changed, a row that was missing is still missing.
        let missing = shown.map_or(r.missed > 0, |shown| !shown);
        if r.list == *list && missing && r.first_seen < began {
            r.missed_by_list(began);
        }
    }
}

impl Runner {
    /// Whether a complete sweep of the runner's list that began at `then` or later shows the runner online or busy. A list without the
    /// runner's row does not: GitHub deletes the row of a single-use runner with its job, also when the machine went under it.
    pub(crate) fn was_online_after(&self, then: Time) -> bool {
        let looked = self.github.list_seen.is_some_and(|began| began >= then);
        looked && self.listed().is_some_and(Registration::last_shown_in_use)
    }

    /// The runner's row in GitHub's list. None: no list has shown one, or muster deleted it.
    pub fn registration(&self) -> Option<&Registration> {
        self.github.registration()
    }

    /// The runner's row, if the last complete sweep of its list showed it.
    pub fn listed(&self) -> Option<&Registration> {
        self.registration().filter(|r| r.missed == 0)
    }

    /// Whether muster deleted the registration, so that the runner can get no job any more.
    pub fn is_deregistered(&self) -> bool {
        self.github.row == ListedRow::Deleted
    }

    /// The one list in which the runner must be looked for. None: no list's silence says anything of the runner.
    pub fn bound_to(&self) -> Option<&ListId> {
        self.github.bound_to.as_ref()
    }

    /// Whether a sweep of the runner's list has ended since this process knows the runner.
    pub(super) fn was_looked_for(&self) -> bool {
        self.github.list_seen.is_some()
    }

    /// The list that has the runner's row, or else the list in which the runner must be looked for.
    pub fn list(&self) -> Option<&ListId> {
        self.registration().map(Registration::list).or(self.bound_to())
    }

    /// Whether the runner was ever known to be online, which proves that it has booted.
    pub fn was_online(&self) -> bool {
        self.github.online_at.is_some()
    }

    /// Since when the runner has been idle without a break. None: the runner is not idle.
    pub fn idle_since(&self) -> Option<Time> {
        self.github.idle_since
    }

    /// When this process saw the runner turn busy in GitHub's list. The job may still look queued, as far as events told. None
    /// for a runner that is not busy, or that was found busy.
    pub fn busy_since(&self) -> Option<Time> {
        self.github.busy_since
    }

    /// Whether the pool's labels, group or scope changed since the runner was registered. GitHub then gives the runner no job of
    /// the pool, or not every one.
    pub fn outdated(&self, pool: &RunnerPool) -> bool {
        self.bound_to().is_some_and(|list| *list != pool.list_id()) || self.github.terms.as_ref().is_some_and(|t| !t.serve(pool))
    }

    /// Decision 0010, rows 16, 38.
    pub(super) fn seat(&self) -> Seat {
        let g = &self.github;
        let listed = self.registration().filter(|r| !r.absent);
        // A list that was begun before muster heard of the job's end may show the runner busy with that job. If the runner has
        // another job, the next list or that job's event says so. The runner is not ended on the silence of either; see
        // `may_have_job`.
        let freed = g.list_seen.is_some_and(|seen| self.job().freed_since(seen));
        match (listed, g.online_at) {
            (Some(r), _) if r.busy && !freed => Seat::Busy,
            (Some(r), _) if r.online => Seat::Idle,
            // An event told that the runner is online, and its list was not swept since.
            (_, Some(at)) if g.bound_to.is_some() && g.list_seen.is_none_or(|seen| seen <= at) => Seat::Idle,
            (_, Some(_)) => Seat::Lost,
            (Some(_), None) if self.configured() == Configured::Unsure => Seat::None,
            (Some(_), None) => Seat::Waiting,
            (None, None) => Seat::None,
        }
    }

    /// The configuration is ready. `registration` is GitHub's id of the runner, if GitHub told the id.
    pub(crate) fn configuration_ready(&mut self, terms: &Arc<Terms>, registration: Option<RunnerId>, now: Time) {
        self.configuration.ready(now);
        if let Some(id) = registration {
            self.github.register(id, &terms.list_id, now);
            self.told.registered_as(id);
        }
        self.github.terms = Some(Arc::clone(terms));
    }

    /// A complete sweep of a list shows the runner's row.
    ///
    /// Decision 0010, row 29.
    pub(crate) fn shown_by_list(&mut self, list: &ListId, s: &RunnerSighting, now: Time) {
        if self.told.registered_as(s.id) {
            self.github.forget_presence();
        }
        self.github.register(s.id, list, now);
        self.configuration.seen();
        self.github.labels_shown(list, &s.labels);
        // This process may have registered a found runner again. Its row is then our own, and proves nothing until the runner is
        // online.
        if self.bound_to().is_none() && (self.configured() == Configured::Seen || s.online) {
            self.github.bind(list);
        }
        let known = self.launched_here() || matches!(self.configured(), Configured::Yes(_));
        self.github.shown(s, known, now);
    }

    /// Takes in a complete sweep of a list, which began at `began`. `shown` says whether the list has this runner's row. None:
    /// nothing changed since the last sweep.
    pub fn list_swept(&mut self, list: &ListId, shown: Option<bool>, began: Time) {
        if self.list() == Some(list) {
            self.github.list_seen = Some(began);
        }
        self.github.swept(list, shown, began);
    }

    /// Combines what lists and job events say. Returns whether the runner is online for the first time.
    pub(crate) fn note_presence(&mut self, now: Time) -> bool {
        let (online, busy) = self.registration().map_or((false, false), |r| (r.online, r.busy));
        let working = busy || !self.job().is_none();
        let first = !self.was_online() && (online || working);
        if first {
            self.github.online_at = Some(now);
            if let ListedRow::Listed(r) = &mut self.github.row {
                r.online = true;
            }
            self.configuration.used(now);
        }
        self.github.idle_since = (online && !working).then(|| self.github.idle_since.unwrap_or(now));
        first
    }

    /// A call that began at `began` deleted the runner's registration, or may have.
    pub fn perhaps_deregistered(&mut self, began: Time) {
        self.github.delete_asked.get_or_insert(began);
    }

    /// When muster asked for the deletion of the runner's registration. None: it did not, or GitHub refused.
    pub(super) fn delete_asked(&self) -> Option<Time> {
        self.github.delete_asked
    }

    /// The runner's registration was deleted.
    pub fn deregistered(&mut self) {
        self.github.row = ListedRow::Deleted;
    }
}
