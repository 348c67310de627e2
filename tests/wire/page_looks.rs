//! Every page at four widths, light and dark: nothing is off the screen, "Why" least of all, and axe finds nothing.

use crate::support;

use serde_json::{Value, json};
use support::browser::{Axe, Browser};
use support::demo::{Demo, demo};
use support::{eventually, same, secs};

/// The widths: a phone, a tablet, a small window, a screen; each with a height.
const WIDTHS: [(u32, u32); 4] = [(390, 844), (800, 900), (1000, 900), (1400, 900)];

/// What is wider than the screen, or cut off in it. The window's own width is not asked for: on a phone it grows with the page. A table's
/// box may be scrolled, but its column "Why" must be seen without that.
const OFF_SCREEN: &str = "(asked) => {
    const width = Math.min(asked, document.documentElement.clientWidth), off = [], name = e => e.tagName + (e.id ? '#' + e.id : '') + (e.className ? '.' + e.className : '');
    const page = document.documentElement.scrollWidth;
    if (page > width) off.push('the page has ' + page);
    for (const e of document.querySelectorAll('body *')) {
        const box = e.getBoundingClientRect();
        const scrolled = e.closest('.scroll') && !e.matches('.scroll');
        if (box.width && !scrolled && !e.closest('.skip, svg') && (box.right > width + 1 || box.left < -1)) off.push(name(e) + ' ends at ' + box.right);
    }
    for (const table of document.querySelectorAll('table')) {
        const at = [...table.querySelectorAll('thead th')].findIndex(e => e.textContent === 'Why');
        const frame = table.closest('.scroll').getBoundingClientRect();
        const cells = at < 0 ? [] : [...table.rows].map(row => row.cells[at]);
        for (const cell of [...cells, ...table.querySelectorAll('td.why')]) {
            const box = cell.getBoundingClientRect();
            const hidden = table.closest('details:not([open])');
            if (!hidden && (box.width < 60 || box.right > Math.min(frame.right, width) + 1)) off.push(name(cell) + ' of Why ends at ' + box.right);
        }
    }
    return off.slice(0, 8);
}";

/// The pages that are looked at.
const PAGES: [&str; 10] = [
    "start",
    "filtered",
    "pool",
    "job-that-runs",
    "job-that-waits",
    "job-of-no-pool",
    "job-that-was-lost",
    "runner",
    "unknown",
    "not-found",
];

/// The path of a page of the demo, as the demo is now.
async fn path(demo: &Demo, page: &str) -> String {
    let job = async |is: fn(&Value) -> bool| format!("/explain/job/{}", demo.first("jobs", is).await["id"]);
    match page {
        "start" => "/".into(),
        "filtered" => "/?state=works&q=nothing-has-this".into(),
        "pool" => "/explain/pool/linux-x64".into(),
        "job-that-runs" => job(|job| job["state"] == "in_progress").await,
        "job-that-waits" => job(|job| job["state"] == "queued" && job["pool"].is_string()).await,
        "job-of-no-pool" => job(|job| job["state"] == "queued" && job["pool"].is_null()).await,
        "job-that-was-lost" => {
            let lost = demo.first("attention", |item| item["word"] == "lost").await;
            format!("/explain/job/{}", lost["about"]["id"].as_str().expect("a job"))
        }
        "runner" => {
            let busy = demo.first("runners", |runner| runner["phase"] == "busy").await;
            format!("/explain/runner/{}", busy["instance"].as_str().expect("an id"))
        }
        "unknown" => "/explain/job/1".into(),
        _ => "/find?q=no-such-thing".into(),
    }
}

#[tokio::test]
async fn every_page_is_whole_and_accessible_at_every_width_in_light_and_dark() {
    let Some(axe) = Axe::read() else { return };
    let Some(browser) = Browser::start().await else { return };
    let demo = demo().await;
    let mut wrong = Vec::new();
    for name in PAGES {
        browser.look("light", 1400, 900).await;
        browser.open(&format!("{}{}", demo.url, path(&demo, name).await)).await;
        // The page must not change while it is judged.
        browser.eval("document.getElementById('freeze')?.click(), 1").await;
        for (width, height) in WIDTHS {
            for scheme in ["light", "dark"] {
                browser.look(scheme, width, height).await;
                // A bar for scrolling takes some of the width.
                eventually(secs(10), "the page has the width", || async {
                    same(
                        browser.eval(&format!("Math.abs(document.documentElement.clientWidth - {width}) < 20")).await,
                        json!(true),
                    )
                })
                .await;
                let off: Value = browser.eval(&format!("({OFF_SCREEN})({width})")).await;
                let found = browser.judged(&axe).await;
                let kept = browser.keep(&format!("page-{name}-{width}-{scheme}.png")).await;
                if off != json!([]) || !found.is_empty() {
                    wrong.push(format!("{}: off the screen: {off}; axe: {found:#?}", kept.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    browser.end().await;
}

/// The question that an order asks is a dialog of the page.
#[tokio::test]
async fn the_question_of_an_order_is_whole_and_accessible() {
    let Some(axe) = Axe::read() else { return };
    let Some(browser) = Browser::start().await else { return };
    let demo = demo().await;
    demo.first("jobs", |job| job["state"] == "in_progress").await;
    browser.open(&format!("{}/explain/pool/linux-x64", demo.url)).await;
    eventually(secs(30), "the pool can be acted on", || async {
        same(browser.eval("document.querySelectorAll('button.act:not([hidden])').length >= 1").await, json!(true))
    })
    .await;
    browser.eval("document.querySelector('button.act').click(), 1").await;
    for (width, height) in WIDTHS {
        for scheme in ["light", "dark"] {
            browser.look(scheme, width, height).await;
            assert_eq!(browser.eval(&format!("({OFF_SCREEN})({width})")).await, json!([]), "at {width}, {scheme}");
            assert_eq!(browser.judged(&axe).await, Vec::<String>::new(), "at {width}, {scheme}");
        }
    }
    // The judge is awake.
    browser.eval("document.querySelector('label[for=order-why]').remove(), 1").await;
    let found = browser.judged(&axe).await;
    assert!(found.iter().any(|fault| fault.starts_with("label:")), "{found:?}");
    browser.end().await;
}
