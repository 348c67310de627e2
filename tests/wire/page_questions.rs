//! The five questions for which an operator opens the page. A walker counts the clicks, and the pixels that somebody has to scroll
//! after them, until the answer is on the screen.

use crate::support;

use serde_json::json;
use support::browser::Browser;
use support::demo::{Demo, demo};
use support::{eventually, same, secs};

/// A question, the clicks on the way, and where the answer stands.
struct Walk {
    asks: &'static str,
    /// What is clicked, one after the other: JavaScript that names the element.
    clicks: Vec<String>,
    /// The element with the answer, and a regular expression of JavaScript for its whole text.
    answer: (&'static str, &'static str),
}

fn link(name: &str) -> String {
    format!("[...document.querySelectorAll('header nav a')].find(a => a.textContent === '{name}')")
}

fn walks(waiting: u64) -> [Walk; 7] {
    let found = format!("(document.getElementById('find').value = '{waiting}', document.querySelector('#finder button'))");
    [
        Walk {
            asks: "is anything wrong?",
            clicks: vec![],
            answer: ("#h-attention", "^(Nothing needs attention|Needs attention: [1-9]\\d*)$"),
        },
        Walk { asks: "why does job N wait?", clicks: vec![found], answer: ("#reason", "^\\S.{15,}$") },
        Walk {
            asks: "who fills the pool?",
            clicks: vec!["document.querySelector('#waits tbody a[href=\"/explain/pool/linux-x64\"]')".into()],
            answer: ("#who", "acme\\/\\w+ \\d+ wait, \\d+ run"),
        },
        Walk {
            asks: "who fills all pools?",
            clicks: vec![link("Jobs")],
            answer: ("#jobs .who", "acme\\/\\w+ \\d+ wait, \\d+ run"),
        },
        Walk {
            asks: "what does it cost, and what of it is idle?",
            clicks: vec![],
            answer: ("#totals", "of the hours without a job"),
        },
        Walk {
            asks: "which pool and which repository cost it?",
            clicks: vec![link("Cost")],
            answer: ("#cost .pair tbody", "USD"),
        },
        Walk {
            asks: "did last night's deploy make starts slower?",
            clicks: vec![link("Last 24 hours")],
            answer: ("#history .pair > div:nth-child(2)", "How long runners took to start"),
        },
    ]
}

/// Walks, and returns the number of clicks, and by how many pixels the answer is below or above the screen.
async fn walk(browser: &Browser, demo: &Demo, walk: &Walk) -> (usize, i64) {
    let (place, part) = walk.answer;
    browser.open(&format!("{}/", demo.url)).await;
    for click in &walk.clicks {
        browser.eval(&format!("{click}.click(), 1")).await;
    }
    let told = format!(
        "(document.querySelector('{place}')?.checkVisibility() ?? false) && document.querySelector('{place}').textContent.trim().match(/{part}/) !== null"
    );
    eventually(secs(20), walk.asks, || async { same(browser.eval(&told).await, json!(true)) }).await;
    // The page moves to a part smoothly, so the walker waits until it stands.
    let off = format!(
        "(() => {{ const b = document.querySelector('{place}').getBoundingClientRect(), h = innerHeight, bottom = Math.min(b.bottom, b.top + h); \
         return Math.round(Math.max(0, bottom - h, -b.top)) }})()"
    );
    let mut before = -1;
    loop {
        let now = browser.eval(&off).await.as_i64().expect("a number");
        if now == before {
            return (walk.clicks.len(), now);
        }
        before = now;
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    }
}

/// Checks that the page says of the job what the API says. Times pass meanwhile, so numbers may differ.
async fn is_the_reason(browser: &Browser, demo: &Demo, job: u64) {
    let words = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    eventually(secs(20), "the job's page has the API's reason", || async {
        let answer = reqwest::get(format!("{}/api/v1/explain/job/{job}", demo.url)).await.map_err(|e| e.to_string())?;
        let told: serde_json::Value = answer.json().await.map_err(|e| e.to_string())?;
        let shown = browser.eval("document.getElementById('reason').textContent").await;
        same(words(shown.as_str().unwrap_or_default()), words(told["reason"].as_str().unwrap_or("no reason")))
    })
    .await;
}

#[tokio::test]
async fn each_of_the_five_questions_is_answered_within_one_click() {
    let Some(browser) = Browser::start().await else { return };
    let demo = demo().await;
    demo.first("jobs", |job| job["state"] == "in_progress").await;
    // An instance has ended, so the cost has a history.
    demo.first("runners", |runner| runner["phase"] == "gone").await;
    for (width, height, most) in [(1400, 900, 0), (390, 844, 400)] {
        browser.look("light", width, height).await;
        let waiting = demo.first("jobs", |job| job["state"] == "queued").await["id"].as_u64().expect("a number");
        for way in walks(waiting) {
            let (clicks, pixels) = walk(&browser, &demo, &way).await;
            if way.answer.0 == "#reason" {
                is_the_reason(&browser, &demo, waiting).await;
            }
            println!("{width}x{height}: {}: {clicks} clicks, {pixels} pixels to scroll", way.asks);
            assert!(clicks <= 1 && pixels <= most, "{width}x{height}: {}: {clicks} clicks, {pixels} pixels", way.asks);
        }
    }
    // Each link of the header leads to a part that is there.
    let dead = "[...document.querySelectorAll('header nav a')].filter(a => !document.querySelector(a.getAttribute('href') + ':not([hidden])')).map(a => a.textContent)";
    browser.open(&demo.url).await;
    assert_eq!(browser.eval(&format!("[{dead}, document.querySelectorAll('header nav a').length > 6]")).await, json!([[], true]));
    browser.end().await;
}
