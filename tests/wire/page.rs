//! The live page in a real browser, against `muster demo`. The page loads, and jobs appear, move and complete without a
//! reload. Every row leads to its explanation, everything has a name for a screen reader, and nothing leaves the machine.

use crate::support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::browser::Browser;
use support::demo::demo;
use support::{eventually, same, secs};

/// The roles of the accessibility tree's nodes that should have a name and have none.
fn nameless(tree: &Value) -> Vec<String> {
    const ROLES: [&str; 9] = ["button", "link", "combobox", "region", "image", "table", "meter", "main", "heading"];
    let nodes = tree["nodes"].as_array().cloned().unwrap_or_default();
    let told = |node: &Value, what: &str| node[what]["value"].as_str().unwrap_or_default().to_owned();
    let bad = nodes
        .iter()
        .filter(|n| n["ignored"] != true && ROLES.contains(&told(n, "role").as_str()) && told(n, "name").trim().is_empty());
    // A table is named by its region, and the page has one main part.
    bad.map(|n| told(n, "role")).filter(|role| !matches!(role.as_str(), "table" | "main")).collect()
}

/// The hosts that got requests.
fn hosts(log: &[Value]) -> BTreeSet<String> {
    let sent = log.iter().filter_map(|entry| serde_json::from_str::<Value>(entry["message"].as_str()?).ok());
    let urls = sent.filter(|e| e["message"]["method"] == "Network.requestWillBeSent");
    let urls = urls.filter_map(|e| e["message"]["params"]["request"]["url"].as_str().map(String::from));
    urls.filter(|url| !url.starts_with("data:")).map(|url| url.split('/').nth(2).unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn the_page_lives_and_everything_on_it_has_a_name() {
    let Some(browser) = Browser::start().await else { return };
    let demo = demo().await;
    browser.look("light", 1280, 900).await;
    browser.open(&demo.url).await;
    browser.eval("window.born = 1, 1").await;
    eventually(secs(30), "the page says that it is live", || async {
        same(browser.eval("document.getElementById('status').textContent").await, json!("live"))
    })
    .await;

    // The test follows one job from queued to running until it leaves the list, without a reload.
    let first = eventually(secs(60), "a job is queued", || async {
        let id = browser.eval("document.querySelector('#jobs tr[data-state=queued]')?.id").await;
        id.as_str().map(String::from).ok_or_else(|| "none yet".to_owned())
    })
    .await;
    let state = || async { browser.eval(&format!("document.getElementById('{first}')?.dataset.state ?? 'over'")).await };
    eventually(secs(60), "the job has left the queue", || async {
        let now = state().await;
        if now == "queued" { Err("it waits".to_owned()) } else { Ok(()) }
    })
    .await;
    eventually(secs(120), "the job is over", || async { same(state().await, json!("over")) }).await;
    assert_eq!(browser.eval("window.born").await, 1, "the page was never loaded anew");
    eventually(secs(60), "the charts are drawn, and show something", || async {
        let drawn = browser
            .eval("[document.querySelectorAll('#pools svg').length, document.querySelectorAll('#falls .wide svg rect').length]")
            .await;
        if drawn[0].as_u64() >= Some(3) && drawn[1].as_u64() > Some(3) { Ok(()) } else { Err(drawn.to_string()) }
    })
    .await;

    // A moment of the last day is chosen by the pointer and by the keyboard, and its values are told.
    let said = "document.getElementById('moment-said').textContent";
    let point = "(() => { const svg = document.querySelector('#history .wide svg'), box = svg.getBoundingClientRect(); svg.dispatchEvent(new PointerEvent('pointermove', { bubbles: true, clientX: box.right - box.width * 0.0225, clientY: box.top + 40 })); return document.querySelectorAll('#history svg').length })()";
    // Nobody has looked yet at five minutes that have just begun.
    let pointed = eventually(secs(20), "the values of the moment are told", || async {
        same(browser.eval(point).await, json!(6))
            .map_err(|seen| format!("three charts, for a wide screen and a phone: {seen}"))?;
        let told = browser.eval(said).await;
        let has = told.as_str().is_some_and(|said| said.contains(" UTC: ") && said.contains("queued; "));
        if has { Ok(told) } else { Err(told.to_string()) }
    })
    .await;
    let nth = || async { browser.eval("document.getElementById('moment').value").await };
    let before = nth().await;
    browser.eval("document.getElementById('moment').focus(), 1").await;
    for kind in ["rawKeyDown", "keyUp"] {
        let key = json!({ "type": kind, "key": "ArrowLeft", "code": "ArrowLeft", "windowsVirtualKeyCode": 37 });
        browser.devtools("Input.dispatchKeyEvent", key).await;
    }
    assert_ne!(nth().await, before, "an arrow key moves on");
    assert_ne!(browser.eval(said).await, pointed);
    let numbers = browser.eval("document.querySelectorAll('#history details tbody tr').length").await;
    assert!(numbers.as_u64() >= Some(1), "the same in numbers: {numbers}");

    // The focus survives what changes around it.
    browser.eval("document.querySelector('#pools tbody a').focus(), 1").await;
    let focused = browser.eval("document.activeElement.getAttribute('href')").await;
    tokio::time::sleep(secs(3)).await;
    assert_eq!(browser.eval("document.activeElement.getAttribute('href')").await, focused);

    browser.devtools("Accessibility.enable", json!({})).await;
    let tree = browser.devtools("Accessibility.getFullAXTree", json!({})).await;
    assert_eq!(nameless(&tree), Vec::<String>::new());
    let lang = browser.eval("[document.documentElement.lang, document.querySelectorAll('h1').length, document.title]").await;
    assert_eq!(lang, json!([lang[0], 1, lang[2]]));
    assert_eq!(lang[0], "en");
    let title = "(() => { const n = Number(document.getElementById('attention').dataset.count); return (n > 0 ? `(${n}) ` : '') + 'muster demo' === document.title })()";
    assert_eq!(browser.eval(title).await, true, "the title has the count of what needs attention: {}", lang[2]);

    browser.look("light", 1280, 900).await;
    browser.eval("document.querySelector('#jobs tbody a').click(), 1").await;
    eventually(secs(20), "the explanation opens", || async {
        let seen = browser.eval("[location.pathname.startsWith('/explain/job/'), Boolean(document.getElementById('reason')?.textContent), document.querySelectorAll('tbody tr').length > 0]").await;
        same(seen, json!([true, true, true]))
    })
    .await;
    println!("kept {}", browser.keep("page-explain.png").await.display());
    let tree = browser.devtools("Accessibility.getFullAXTree", json!({})).await;
    assert_eq!(nameless(&tree), Vec::<String>::new());

    let host = demo.url.trim_start_matches("http://").to_owned();
    let console: Vec<Value> = browser.log("browser").await;
    assert!(
        console.iter().all(|entry| entry["level"] != "SEVERE" && entry["level"] != "WARNING"),
        "the console has errors: {console:?}"
    );
    assert_eq!(hosts(&browser.log("performance").await), BTreeSet::from([host]), "no request leaves the host");
    browser.end().await;
}

#[tokio::test]
async fn without_an_answer_the_page_says_so_and_without_scripts_it_is_whole() {
    let Some(browser) = Browser::start().await else { return };
    let mut demo = demo().await;
    // The server makes the page, as soon as the demo has pools.
    eventually(secs(20), "the page is whole without scripts", || async {
        let text = reqwest::get(&demo.url).await.map_err(|e| e.to_string())?.text().await.map_err(|e| e.to_string())?;
        same(text.contains("id=\"pool-linux-x64\"") && text.contains("/explain/pool/linux-x64"), true)
    })
    .await;
    browser.open(&format!("{}/?pool=warm", demo.url)).await;
    eventually(secs(30), "one pool is shown", || async {
        same(
            browser.eval("[document.querySelectorAll('#pools tbody tr').length, document.getElementById('pool').value]").await,
            json!([1, "warm"]),
        )
    })
    .await;
    demo.end();
    eventually(secs(20), "the silence is told", || async {
        let status =
            browser.eval("[document.getElementById('status').textContent, document.getElementById('status').className]").await;
        if status[0].as_str().is_some_and(|s| s.starts_with("no answer since")) && status[1] == "bad" {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
    browser.end().await;
}
