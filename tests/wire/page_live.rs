//! Pages change by themselves while somebody looks, in a real browser: that of a job, of a runner, and the live page. Nothing is sent to
//! a page that nobody sees.

use crate::support;

use serde_json::{Value, json};
use support::browser::Browser;
use support::demo::demo;
use support::{eventually, same, secs};

/// Opens a page of one thing, and waits until its state is another one and it was never loaded anew. Returns both states.
async fn follow(browser: &Browser, url: &str) -> (Value, Value) {
    browser.open(url).await;
    browser.eval("window.born = 1, 1").await;
    let state = || async { browser.eval("document.getElementById('state')?.textContent ?? null").await };
    let (first, reason) = (state().await, browser.eval("document.getElementById('reason').textContent").await);
    eventually(secs(120), "the page has another state", || async {
        let now = state().await;
        if now == first { Err(format!("{now}: {reason}")) } else { Ok(()) }
    })
    .await;
    assert_eq!(browser.eval("window.born").await, 1, "the page was never loaded anew");
    assert_ne!(browser.eval("document.getElementById('reason').textContent").await, reason, "the reason is another one, too");
    (first, state().await)
}

#[tokio::test]
async fn the_page_of_a_job_follows_it_and_so_does_that_of_a_runner() {
    let Some(browser) = Browser::start().await else { return };
    let demo = demo().await;
    let job = demo.first("jobs", |job| job["state"] == "queued" && job["pool"].is_string()).await;
    let (first, then) = follow(&browser, &format!("{}/explain/job/{}", demo.url, job["id"])).await;
    assert_ne!(first, then);
    let starts = |runner: &Value| ["launching", "booting", "configured"].contains(&runner["phase"].as_str().unwrap_or_default());
    let runner = demo.first("runners", starts).await;
    let (first, then) =
        follow(&browser, &format!("{}/explain/runner/{}", demo.url, runner["instance"].as_str().expect("an id"))).await;
    assert_ne!(first, then);
    browser.end().await;
}

/// How many server-sent events the browser got since the last call.
async fn heard(browser: &Browser) -> usize {
    let log = browser.log("performance").await;
    let sent = log.iter().filter_map(|entry| serde_json::from_str::<Value>(entry["message"].as_str()?).ok());
    sent.filter(|entry| entry["message"]["method"] == "Network.eventSourceMessageReceived").count()
}

/// Tells the page whether somebody sees it, as the browser does when another tab comes to the front.
async fn show(browser: &Browser, hidden: bool) {
    let told = format!(
        "Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }}), document.dispatchEvent(new Event('visibilitychange'))"
    );
    browser.eval(&told).await;
}

#[tokio::test]
async fn a_page_that_nobody_sees_gets_nothing_until_somebody_does() {
    let Some(browser) = Browser::start().await else { return };
    let demo = demo().await;
    let runner = demo.first("runners", |runner| runner["phase"] == "busy").await;
    for path in ["/".to_owned(), format!("/explain/runner/{}", runner["instance"].as_str().expect("an id"))] {
        browser.open(&format!("{}{path}", demo.url)).await;
        let gets = || async { if heard(&browser).await > 0 { Ok(()) } else { Err("it got nothing".to_owned()) } };
        eventually(secs(20), "the page gets events", gets).await;
        show(&browser, true).await;
        // What was on its way arrives.
        tokio::time::sleep(secs(2)).await;
        heard(&browser).await;
        tokio::time::sleep(secs(6)).await;
        assert_eq!(heard(&browser).await, 0, "{path}: a hidden page gets nothing");
        let said = browser.eval("document.getElementById('status').className").await;
        assert_eq!(said, json!(""), "{path}: and does not complain of the silence");
        show(&browser, false).await;
        eventually(secs(20), "the page gets events again", gets).await;
        eventually(secs(20), "and says so", || async {
            same(browser.eval("document.getElementById('status').textContent").await, json!("live"))
        })
        .await;
    }
    browser.end().await;
}
