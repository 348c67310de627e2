//! 10,000 runners and 10,000 jobs in a browser. The tiles count all of them, and the tables show the first ones. The cost
//! of this is printed here and by `cargo bench --bench show`. No test asserts it, because a busy machine is no fault of the
//! page.

use crate::support;

#[path = "../../benches/crowd/mod.rs"]
mod crowd;
#[path = "../../benches/crowd/served.rs"]
mod served;

use support::browser::Browser;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_of_each_are_shown() {
    let url = served::serve().await;
    for kind in ["jobs", "runners"] {
        let answer = reqwest::get(format!("{url}/api/v1/{kind}?limit=100000")).await.expect("an answer");
        let list: serde_json::Value = answer.json().await.expect("JSON");
        assert_eq!(list["items"].as_array().map(Vec::len), Some(10_000), "{kind}");
    }
    let Some(browser) = Browser::start().await else { return };
    browser.open(&url).await;
    let ms = browser.eval("Math.round(performance.getEntriesByType('navigation')[0].domComplete)").await;
    let shown = browser.eval("[document.querySelectorAll('#jobs tbody tr').length, document.querySelectorAll('#runners tbody tr').length, document.querySelector('#t-queued').textContent, document.querySelector('#t-runners').textContent]").await;
    println!("in Chromium, from the request until all is laid out: {ms} ms; rows and tiles {shown}");
    assert_eq!(shown, serde_json::json!([200, 200, "10000", "10000"]));
    browser.end().await;
}
