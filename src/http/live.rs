//! The live page, and the page that explains one thing. Both are made here, from templates. Server-sent events carry the
//! sections that changed, and so keep the live page up to date, at no more than [`RATE`] bytes a second. Without scripts the page is
//! complete, but it does not change.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::LazyLock;
use std::time::Duration;

use askama::Template;
use futures_util::stream;
use muster_operations::subject::Subject;
use muster_reconciler::ids::InstanceId;
use muster_reconciler::mark::StateMark;
use muster_reconciler::runner::Phase;
use muster_reconciler::view::{Explanation, Snapshot, State};
use tokio::sync::{Semaphore, SemaphorePermit};
use warp::Reply;
use warp::http::StatusCode;
use warp::http::header::{HeaderValue, LOCATION};
use warp::reply::Response;
use warp::sse::{self, Event};

use super::console::Console;
use super::live_told::ToldPage;
use super::live_view::{AttentionRow, Live};
use super::rewind::RewindView;
use super::rows;
use super::state::{About, Admin};
use super::wish::{self, Wish};

/// How often an open page gets what has changed.
const EVERY: Duration = Duration::from_secs(1);
/// What an open page gets in a second, in bytes, on average and beside what is urgent. A busy cluster changes more than that. What finds
/// no room waits, and is then sent as it is by then. The first look is sent whole.
const RATE: i64 = 16 << 10;
/// The sections that are sent at once. They are small.
const URGENT: [&str; 2] = ["attention", "totals"];
/// The drawings, and what the cost is, are made once in so many looks.
const DRAWN_BEATS: u32 = 10;
/// Of so many instances that failed to start, the last words stand under "Needs attention".
const MOST_WORDS: usize = 5;
/// The most characters of them.
const MOST_SAID: usize = 300;
/// The sections that can wait so long.
const DRAWN: [&str; 3] = ["falls", "history", "cost"];
/// After so many beats, the page of one thing is made anew. No two such pages share what the core answers.
const TOLD_BEATS: u32 = 3;
/// How many pages may be open at the same time.
const STREAMS: usize = 64;
static PLACES: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(STREAMS));

/// <https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Content-Security-Policy>
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'";

#[derive(Template)]
#[template(path = "live.html")]
struct LivePage<'a> {
    about: &'a About,
    v: Live,
    rewind: Option<RewindView>,
}

#[derive(Template)]
#[template(path = "explain.html")]
struct Explained<'a> {
    about: &'a About,
    t: &'a ToldPage,
    /// Whether the page follows what becomes of the thing.
    live: bool,
    rewind: Option<RewindView>,
}

#[derive(Template)]
#[template(path = "live/told.html")]
struct ToldSection<'a> {
    t: &'a ToldPage,
}

macro_rules! sections {
    ($($type:ident $name:literal $path:literal)*) => {
        $(#[derive(Template)] #[template(path = $path)] struct $type<'a> { v: &'a Live })*
        /// The id of each section, and what makes its HTML.
        const SECTIONS: &[(&str, fn(&Live) -> askama::Result<String>)] = &[$(($name, |v| $type { v }.render()),)*];
    };
}

sections! {
    Attention "attention" "live/attention.html"
    Totals "totals" "live/totals.html"
    Waits "waits" "live/waits.html"
    Pools "pools" "live/pools.html"
    Jobs "jobs" "live/jobs.html"
    Runners "runners" "live/runners.html"
    History "history" "live/history.html"
    Falls "falls" "live/falls.html"
    Cost "cost" "live/cost.html"
    Events "events" "live/events.html"
    Budgets "budgets" "live/budgets.html"
}

/// The page as it is now.
pub async fn page(admin: Admin, query: String) -> Response {
    let v = match view(&admin, &Wish::of(&query), true).await {
        Ok(v) => v,
        Err(why) => Live { trouble: why, ..Live::default() },
    };
    let rewind = admin.rewind.as_ref().map(|rewind| rewind.view(format!("/?{query}")));
    super::made(move || html(StatusCode::OK, LivePage { about: &admin.about, v, rewind }.render())).await
}

/// Leads from the field "Find" to what was asked for.
pub async fn find(admin: Admin, query: String) -> Response {
    let snapshot = match &admin.watch {
        Some(watch) => watch.snapshot().await.unwrap_or_default(),
        None => Default::default(),
    };
    let address = wish::find(&Wish::of(&query).q, &snapshot);
    let mut response = Response::new(String::new().into());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let address = HeaderValue::from_str(&address).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(LOCATION, address);
    response
}

/// The page that explains one job, runner or pool.
pub async fn explained(kind: String, id: String, admin: Admin) -> Response {
    let (status, t) = match format!("{kind}/{id}").parse::<Subject>() {
        Ok(subject) => match told(&admin, subject).await {
            Ok(t) => (StatusCode::OK, Ok(t)),
            Err((status, why)) => (status, Err(why)),
        },
        Err(why) => (StatusCode::BAD_REQUEST, Err(why)),
    };
    let live = t.is_ok();
    let t = t.unwrap_or_else(|reason| {
        let e = Explanation { kind, id, reason, mark: StateMark::Ends, ..Explanation::default() };
        ToldPage::new(e, None, None)
    });
    let rewind = admin.rewind.as_ref().map(|rewind| rewind.view(format!("/explain/{}/{}", t.e.kind, t.e.id)));
    html(status, Explained { about: &admin.about, t: &t, live, rewind }.render())
}

/// What there is to say of one job, runner or pool, or why nothing can be said.
async fn told(admin: &Admin, subject: Subject) -> Result<ToldPage, (StatusCode, String)> {
    let Some(inspect) = &admin.inspect else {
        return Err((StatusCode::NOT_FOUND, "this process runs the webhook only".into()));
    };
    let asked = match admin.lanes.readers.turn().await {
        Ok(_turn) => inspect.explain(subject.clone()).await,
        Err(_) => return Err((StatusCode::SERVICE_UNAVAILABLE, "too many readers at once".into())),
    };
    let explained = asked.map_err(|e| (StatusCode::SERVICE_UNAVAILABLE, e.to_string()))?;
    let unknown = || (StatusCode::NOT_FOUND, format!("the controller knows of no {subject}: {}", subject.unknown()));
    let explained = explained.ok_or_else(unknown)?;
    let ended = match (&admin.console, &subject) {
        (Some(console), Subject::Runner(id)) if explained.state.is_over() || explained.state == State::Runner(Phase::Failed) => {
            let (console, id) = (console.clone(), id.as_str().into());
            // A task of its own, because an answer that may be streamed must be shareable between threads.
            let asked = tokio::spawn(async move { console.ended(id).await });
            asked.await.ok().and_then(Result::ok).flatten()
        }
        _ => None,
    };
    let seen = match &admin.watch {
        Some(watch) => watch.snapshot().await.ok(),
        None => None,
    };
    Ok(ToldPage::new(explained, ended, seen.as_deref()))
}

/// What an open page has, and what it may still get.
#[derive(Default)]
struct ShownPage {
    /// Section -> its HTML, and the number of the look by which it was sent.
    sections: BTreeMap<&'static str, (String, u32)>,
    /// How many bytes may be sent. Below 0, more was sent than that.
    credit: i64,
}

impl ShownPage {
    /// What is sent at this look: what is urgent, and then what was sent longest ago.
    fn changes(&mut self, v: &Live, beat: u32) -> Vec<(&'static str, String)> {
        self.credit = (self.credit + RATE).min(RATE);
        let mut order: Vec<_> = SECTIONS.to_vec();
        order.sort_by_key(|(name, _)| (!URGENT.contains(name), self.sections.get(name).map_or(0, |(_, sent)| *sent)));
        let mut changes = Vec::new();
        for (name, render) in order {
            let known = self.sections.get(name);
            let waits = known.is_some() && (self.credit <= 0 && !URGENT.contains(&name) || !v.drawn && DRAWN.contains(&name));
            // A template that fails is a bug. The page keeps the section that it had.
            let Some(Ok(html)) = (!waits).then(|| render(v)) else { continue };
            if known.is_some_and(|(before, _)| *before == html) {
                continue;
            }
            let sent = rows::without_known(known.map_or("", |(before, _)| before), &html);
            if known.is_some() {
                self.credit -= i64::try_from(sent.len()).unwrap_or(RATE);
            }
            self.sections.insert(name, (html, beat));
            changes.push((name, sent));
        }
        changes
    }

    /// The same for the page of one thing.
    fn told(&mut self, html: String, beat: u32) -> Vec<(&'static str, String)> {
        self.credit = (self.credit + RATE * i64::from(TOLD_BEATS)).min(RATE);
        let known = self.sections.get("told").map(|(before, _)| before.as_str());
        if known == Some(&html) || known.is_some() && self.credit <= 0 {
            return Vec::new();
        }
        let sent = rows::without_known(known.unwrap_or_default(), &html);
        if known.is_some() {
            self.credit -= i64::try_from(sent.len()).unwrap_or(RATE);
        }
        self.sections.insert("told", (html, beat));
        vec![("told", sent)]
    }

    /// Whether nothing was sent yet.
    fn is_new(&self) -> bool {
        self.sections.is_empty()
    }
}

/// The stream of one open page.
struct Stream {
    admin: Admin,
    wish: Wish,
    page: ShownPage,
    /// The events that are ready to be sent, the next one last.
    next: Vec<Event>,
    began: bool,
    /// How often the page was looked at.
    beats: u32,
    _place: SemaphorePermit<'static>,
}

/// The stream of a page. It sends each section that has changed, without the rows that have not, and a `beat` each second, so that the page notices
/// silence.
pub async fn stream(admin: Admin, query: String) -> Response {
    let Ok(place) = PLACES.try_acquire() else {
        return super::error(StatusCode::SERVICE_UNAVAILABLE, format!("{STREAMS} pages are open already"));
    };
    let open = Stream {
        admin,
        wish: Wish::of(&query),
        page: ShownPage::default(),
        next: Vec::new(),
        began: false,
        beats: 0,
        _place: place,
    };
    sse::reply(stream::unfold(open, |mut open| async move { open.event().await.map(|event| (Ok::<_, Infallible>(event), open)) }))
        .into_response()
}

impl Stream {
    /// The next event. None: the process stops.
    async fn event(&mut self) -> Option<Event> {
        if let Some(event) = self.next.pop() {
            return Some(event);
        }
        let stop = self.admin.stop.clone();
        if std::mem::replace(&mut self.began, true) {
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
        let beat = |text: String| Event::default().event("beat").data(text);
        if !self.wish.about.is_empty() && !self.page.is_new() && !self.beats.is_multiple_of(TOLD_BEATS) {
            self.beats = self.beats.wrapping_add(1);
            return Some(beat(String::new()));
        }
        // A page that is open has its turn among the readers at each beat.
        let Ok(turn) = self.admin.lanes.readers.turn().await else { return Some(beat("too many readers at once".into())) };
        self.beats = self.beats.wrapping_add(1);
        let changes = if self.wish.about.is_empty() {
            let drawn = self.page.is_new() || self.beats.is_multiple_of(DRAWN_BEATS);
            let v = match view(&self.admin, &self.wish, drawn).await {
                Ok(v) => v,
                Err(why) => return Some(beat(why)),
            };
            let (mut page, now) = (std::mem::take(&mut self.page), self.beats);
            let made = tokio::task::spawn_blocking(move || (page.changes(&v, now), page)).await;
            drop(turn);
            let Ok((changes, page)) = made else { return None };
            self.page = page;
            changes
        } else {
            // The question takes a turn of its own.
            drop(turn);
            let Ok(subject) = self.wish.about.parse::<Subject>() else { return None };
            let told = match told(&self.admin, subject).await {
                Ok(t) => ToldSection { t: &t }.render().unwrap_or_default(),
                Err((_, why)) => return Some(beat(why)),
            };
            self.page.told(told, self.beats)
        };
        self.next.extend(changes.into_iter().map(|(name, sent)| Event::default().event(name).data(sent)));
        self.next.push(beat(String::new()));
        self.next.reverse();
        self.next.pop()
    }
}

async fn view(admin: &Admin, wish: &Wish, drawn: bool) -> Result<Live, String> {
    let Some(watch) = &admin.watch else { return Err("this process runs the webhook only".into()) };
    let snapshot: std::sync::Arc<Snapshot> = watch.snapshot().await.map_err(|e| e.to_string())?;
    let mut live = Live::new(&snapshot, wish, watch, drawn);
    if let Some(console) = &admin.console {
        add_last_words(&mut live, console);
    }
    Ok(if admin.rewind.is_some() { live.of_replay() } else { live })
}

/// Adds what an instance said that failed to start. EC2 is asked beside the page, which shows it at a later look.
fn add_last_words(live: &mut Live, console: &Console) {
    let failed = |row: &&mut AttentionRow| row.item.word == "failing" && row.item.about.kind == "runner";
    for row in live.attention.iter_mut().filter(failed).take(MOST_WORDS) {
        let id = InstanceId::from(row.item.about.id.as_str());
        match console.heard(&id) {
            Some(said) => row.said = said.ok().flatten().map(|said| said.chars().take(MOST_SAID).collect()),
            None => {
                let console = console.clone();
                drop(tokio::spawn(async move { console.ended(id).await }));
            }
        }
    }
}

fn html(status: StatusCode, text: askama::Result<String>) -> Response {
    super::html(status, text, POLICY, "no-referrer")
}

#[cfg(test)]
mod tests {
    use muster_reconciler::view::{AttentionView, RunnerView, Target};

    use super::super::live_view::RunnerRow;
    use super::*;

    #[test]
    fn the_page_takes_every_section_that_is_sent() {
        let script = include_str!("assets/live.js");
        let list = script.split_once("const SECTIONS = [").and_then(|(_, rest)| rest.split_once(']')).expect("the list").0;
        for name in SECTIONS.iter().map(|(name, _)| *name).chain(["told"]) {
            assert!(list.contains(&format!("\"{name}\"")), "live.js does not take {name}");
        }
    }

    /// A page with so many runners, each of which is as old as this.
    fn crowd(runners: u64, age: u64) -> Live {
        let runner = |n| RunnerRow {
            runner: RunnerView { instance: format!("i-{n:017}"), reason: format!("for {age}"), ..RunnerView::default() },
            ..RunnerRow::default()
        };
        Live { runners: (0..runners).map(runner).collect(), trouble: age.to_string(), ..Live::default() }
    }

    #[test]
    fn a_page_gets_what_changed_and_no_more_than_its_rate() {
        let mut page = ShownPage::default();
        let sent = |page: &mut ShownPage, v: &Live, beat| page.changes(v, beat).iter().map(|(_, text)| text.len()).sum::<usize>();
        let whole = sent(&mut page, &crowd(2000, 0), 0);
        assert!(whole > 400_000, "the first look is whole: {whole}");
        assert_eq!(sent(&mut page, &crowd(2000, 0), 1), 0, "nothing changed");
        let (mut all, mut times) = (0, 0);
        for beat in 2..62 {
            let now = sent(&mut page, &crowd(2000, u64::from(beat)), beat);
            (all, times) = (all + now, times + u32::from(now > 0));
        }
        let rate = all / 60;
        assert!(rate < 20 << 10 && times >= 2, "{rate} bytes a second, in {times} parts");
        // What is urgent does not wait for what is large.
        let (_, beat) = (page.changes(&crowd(2000, 100), 63), 64);
        let paused = AttentionRow { name: "pool linux".into(), ..AttentionRow::default() };
        let v = Live { attention: vec![paused], ..crowd(2000, 101) };
        assert_eq!(page.changes(&v, beat).first().map(|(name, _)| *name), Some("attention"));
    }

    #[tokio::test]
    async fn the_last_words_of_a_failed_start_come_to_the_line_about_it() {
        let console = Console::new(|_| Box::pin(async { Ok(Some("no space left on device".to_owned())) }));
        let item = AttentionView { word: "failing".into(), about: Target::runner(&"i-1".into()), ..AttentionView::default() };
        let mut live = Live { attention: vec![AttentionRow { item, ..AttentionRow::default() }], ..Live::default() };
        add_last_words(&mut live, &console);
        assert_eq!(live.attention[0].said, None, "the page does not wait for EC2");
        while console.heard(&"i-1".into()).is_none() {
            tokio::task::yield_now().await;
        }
        add_last_words(&mut live, &console);
        let html = Attention { v: &live }.render().expect("made");
        assert!(html.contains("no space left on device"), "{html}");
    }
}
