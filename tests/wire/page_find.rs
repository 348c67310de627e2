//! What a reader chooses to see, in a real browser: filters and orders stay in the address and survive a reload and the live updates,
//! columns sort in both directions, and the links of the header lead to each part.

use crate::support;

use serde_json::{Value, json};
use support::browser::Browser;
use support::demo::{Demo, demo};
use support::{eventually, same, secs};

/// Waits until the page that the browser shows is live, and has had an update since.
async fn live(browser: &Browser) {
    eventually(secs(30), "the page is live", || async {
        same(browser.eval("document.getElementById('status').textContent").await, json!("live"))
    })
    .await;
}

/// The query of the address, the chosen values, and whether any job shown breaks the filter.
async fn chosen(browser: &Browser) -> Value {
    browser
        .eval(
            "[location.search, document.getElementById('pool').value, document.getElementById('state').value, \
             document.getElementById('q').value, [...document.querySelectorAll('#jobs tbody tr')].filter(r => \
             r.dataset.state !== 'in_progress').length]",
        )
        .await
}

#[tokio::test]
async fn filters_stay_in_the_address_through_a_reload_and_the_live_updates() {
    let Some(browser) = Browser::start().await else { return };
    let demo = demo().await;
    demo.first("jobs", |job| job["state"] == "in_progress").await;
    browser.look("light", 1400, 900).await;
    browser.open(&demo.url).await;
    live(&browser).await;
    // Choosing in the list is enough: nobody has to press "Show".
    browser.eval("(() => { const s = document.getElementById('state'); s.value = 'works'; s.dispatchEvent(new Event('change', { bubbles: true })) })(), 1").await;
    let wanted = json!(["?state=works", "", "works", "", 0]);
    eventually(secs(20), "the filter is in the address, and empty fields are not", || async {
        same(chosen(&browser).await, wanted.clone())
    })
    .await;
    browser.eval("location.reload(), 1").await;
    live(&browser).await;
    assert_eq!(chosen(&browser).await, wanted, "after a reload");
    // The stream brings the same choice: a while later still no other job is shown.
    let seen = "document.querySelectorAll('#jobs tbody tr').length";
    eventually(secs(60), "jobs are shown", || async {
        let n = browser.eval(seen).await;
        if n.as_u64() > Some(0) { Ok(()) } else { Err(n.to_string()) }
    })
    .await;
    browser.eval("window.changed = 0, new MutationObserver(() => window.changed++).observe(document.getElementById('main'), { subtree: true, childList: true }), 1").await;
    eventually(secs(60), "the page has changed", || async {
        let n = browser.eval("window.changed").await;
        if n.as_u64() > Some(2) { Ok(()) } else { Err(n.to_string()) }
    })
    .await;
    assert_eq!(chosen(&browser).await, wanted, "after live updates");
    browser.eval("[...document.querySelectorAll('#filter a')].find(a => a.textContent === 'Show everything').click(), 1").await;
    eventually(secs(20), "everything is shown again", || async {
        same(browser.eval("[location.search, document.getElementById('state').value]").await, json!(["", ""]))
    })
    .await;
    browser.end().await;
}

/// The cells of a column of the jobs' table, as the API's ids, in the order of the page.
async fn ids(browser: &Browser) -> Vec<u64> {
    let ids = browser.eval("[...document.querySelectorAll('#jobs tbody tr')].map(r => Number(r.id.slice(4)))").await;
    serde_json::from_value(ids).expect("numbers")
}

async fn sorted_by(browser: &Browser, column: &str, how: &str) {
    let click = format!("[...document.querySelectorAll('#jobs thead a')].find(a => a.textContent === '{column}').click(), 1");
    browser.eval(&click).await;
    eventually(secs(20), "the column says how it is sorted", || async {
        let now = "document.querySelector('#jobs th[aria-sort]:not([aria-sort=none])')";
        let seen = browser.eval(&format!("[{now}?.textContent ?? null, {now}?.ariaSort ?? null]")).await;
        same(seen, json!([column, how]))
    })
    .await;
}

/// The tables of the page whose heads do not sort, and the orders to which the links of the others lead.
const TABLES: &str = "[...document.querySelectorAll('main table')].map(t => [t.closest('section').id, \
    [...t.querySelectorAll('thead th')].filter(th => !th.querySelector('a')).map(th => th.textContent), t.querySelectorAll('thead th a').length])";

#[tokio::test]
async fn every_table_sorts_and_its_order_stays_in_the_address_beside_the_others() {
    let Some(browser) = Browser::start().await else { return };
    let demo: Demo = demo().await;
    demo.first("jobs", |job| job["state"] == "in_progress").await;
    demo.first("runners", |runner| runner["phase"] == "gone").await;
    browser.look("light", 1400, 900).await;
    browser.open(&format!("{}/?jobs=-id&q=x64", demo.url)).await;
    // A drawing, a list of stages and a sentence have no order.
    let tables = browser.eval(TABLES).await;
    let heads = |id: &str, bare: &[&str], links: u64| json!([id, bare, links]);
    let wanted = json!([
        heads("waits", &["By the hour"], 7),
        heads("jobs", &["Why"], 6),
        heads("pools", &["Lately", "Why"], 8),
        heads("runners", &["Stages reached", "Why"], 6),
        heads("cost", &[], 5),
        heads("cost", &[], 5),
        heads("events", &["Why"], 4),
        heads("budgets", &["Full", "Of"], 3),
    ]);
    let of_the_day = |table: &&Value| table[0] != "history";
    let tables: Vec<&Value> = tables.as_array().expect("tables").iter().filter(of_the_day).collect();
    assert_eq!(json!(tables), wanted);
    for (table, title, order) in [
        ("pools", "Max", "max"),
        ("waits", "Pool", "name"),
        ("cost", "Share", "share"),
        ("events", "Event", "event"),
        ("budgets", "Left", "left"),
    ] {
        for how in ["ascending", "descending"] {
            let click =
                format!("[...document.querySelectorAll('#{table} thead a')].find(a => a.textContent === '{title}').click(), 1");
            browser.eval(&click).await;
            let sign = if how == "descending" { "-" } else { "" };
            eventually(secs(20), "the order is in the address, and the column says so", || async {
                let seen = format!(
                    "[new URLSearchParams(location.search).get('{table}'), new URLSearchParams(location.search).get('jobs'), \
                     [...document.querySelectorAll('#{table} thead th')].find(th => th.textContent === '{title}')?.ariaSort ?? null]"
                );
                same(browser.eval(&seen).await, json!([format!("{sign}{order}"), "-id", how]))
            })
            .await;
        }
    }
    // The pools stand in the order that is asked for, also after live updates.
    let most = "[...document.querySelectorAll('#pools tbody tr')].map(row => Number(row.cells[6].textContent))";
    live(&browser).await;
    assert_eq!(browser.eval(most).await, json!([30, 8, 6]));
    browser.end().await;
}

#[tokio::test]
async fn a_table_sorts_in_both_directions_and_keeps_the_filter_and_the_order() {
    let Some(browser) = Browser::start().await else { return };
    let demo: Demo = demo().await;
    demo.first("jobs", |job| job["state"] == "in_progress").await;
    browser.look("light", 1400, 900).await;
    browser.open(&format!("{}/?repo=acme%2Fweb", demo.url)).await;
    live(&browser).await;
    eventually(secs(60), "there are some jobs", || async { same(ids(&browser).await.len() > 3, true) }).await;
    for (column, how) in [("Job", "ascending"), ("Job", "descending")] {
        sorted_by(&browser, column, how).await;
        let shown = ids(&browser).await;
        let mut wanted = shown.clone();
        wanted.sort_unstable();
        if how == "descending" {
            wanted.reverse();
        }
        assert!(shown.len() > 1 && shown == wanted, "{how}: {shown:?}");
    }
    let kept = || async { browser.eval("[location.search, document.getElementById('repo').value]").await };
    assert_eq!(kept().await, json!(["?repo=acme%2Fweb&jobs=-id", "acme/web"]));
    // The form keeps the order, too, and a reload changes nothing.
    browser.eval("location.reload(), 1").await;
    live(&browser).await;
    assert_eq!(kept().await, json!(["?repo=acme%2Fweb&jobs=-id", "acme/web"]));
    browser.eval("document.getElementById('q').value = 'x64', document.querySelector('#filter button').click(), 1").await;
    eventually(secs(20), "the order stays with another filter", || async {
        same(
            browser.eval("[...new URLSearchParams(location.search)].map(p => p.join('=')).sort()").await,
            json!(["jobs=-id", "q=x64", "repo=acme/web"]),
        )
    })
    .await;
    browser.end().await;
}
