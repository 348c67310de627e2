//! The crowd behind the admin listener, as `muster run` would show it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster::http::admin;
use muster::http::state::{About, Admin};
use muster_operations::inspect;
use muster_operations::inspect::Inspect;
use muster_operations::liveness::Liveness;
use muster_operations::metrics::Metrics;
use muster_operations::prices::Prices;
use muster_operations::watch::Watch;
use muster_reconciler::effect::Input;
use tokio_util::sync::CancellationToken;

use super::crowd;

/// Serves the crowd's core, which answers questions in a task of its own, as the driver does. Nothing happens in it.
pub async fn serve() -> String {
    serve_with(0).await
}

/// Serves the crowd's core, in which so many jobs start, end and are queued in each second.
pub async fn serve_with(starts: u64) -> String {
    let (mut core, ..) = crowd::LARGE.core(Duration::default);
    let (ask, mut questions) = Inspect::new();
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let (began, mut news) = (Instant::now(), 0);
        while let Some(question) = runtime.block_on(questions.recv()) {
            let passed = if starts == 0 { Duration::ZERO } else { began.elapsed() };
            let now = crowd::BEGIN + Duration::from_secs(60) + passed;
            while news < passed.as_secs() * starts {
                core.step(now, Input::Messages(crowd::LARGE.news(news)));
                news += 1;
            }
            inspect::answer(&mut core, question, now);
        }
    });
    let (metrics, stop) = (Arc::new(Metrics::new()), CancellationToken::new());
    let watch = Watch::start(
        ask.clone(),
        metrics.clone(),
        Prices::example(),
        Duration::from_secs(if starts == 0 { 3600 } else { 10 }),
        stop.clone(),
    );
    let about = About::cluster("crowd");
    let bare = Admin::bare(about, metrics, Liveness::default(), stop.clone());
    let admin = Admin { inspect: Some(ask), watch: Some(watch), ..bare };
    let listener = muster::http::bind("127.0.0.1:0", "test").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(muster::http::serve(listener, admin::routes(admin), muster::http::ListenerLimits::ADMIN, stop));
    url
}
