//! The live page in a real browser, against `muster demo`. The page loads, and jobs appear, move and complete without a
//! reload. Every row leads to its explanation, everything has a name for a screen reader, and nothing leaves the machine.

use crate::support;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::browser::Browser;
use support::tools::{Port, Running};
use support::{eventually, same, secs};

struct Demo {
    url: String,
    _running: Running,
    _port: Port,
}

async fn demo() -> Demo {
    let port = Port::reserve();
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.args(["demo", "--port", &port.number().to_string(), "--speed", "20"]).stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running(command.spawn().expect("the binary starts"));
    let url = format!("http://127.0.0.1:{}", port.number());
    eventually(secs(20), "the demo answers", || async {
        reqwest::get(format!("{url}/healthz")).await.map(drop).map_err(|e| e.to_string())
    })
    .await;
    Demo { url, _running: running, _port: port }
}

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

    for (name, scheme, width, height) in [
        ("page-light.png", "light", 1400, 900),
        ("page-dark.png", "dark", 1400, 900),
        ("page-1000-light.png", "light", 1000, 900),
        ("page-800-dark.png", "dark", 800, 900),
        ("page-phone-light.png", "light", 390, 844),
        ("page-phone-dark.png", "dark", 390, 844),
    ] {
        browser.look(scheme, width, height).await;
        tokio::time::sleep(secs(1)).await;
        println!("kept {}", browser.keep(name).await.display());
        let wide = browser.eval("document.documentElement.scrollWidth <= window.innerWidth + 1").await;
        assert_eq!(wide, true, "{name}: nothing is wider than the screen");
        let why = browser
            .eval("[...document.querySelectorAll('td.why')].every(e => e.getBoundingClientRect().right <= window.innerWidth)")
            .await;
        assert_eq!(why, true, "{name}: the reasons are on the screen");
    }

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

/// An operator pauses a pool on its page. The page asks with what the order touches, and the live page then says what to do.
#[tokio::test]
async fn a_pool_is_paused_from_its_page_and_that_needs_attention() {
    let Some(browser) = Browser::start().await else { return };
    let demo = demo().await;
    browser.look("light", 1400, 900).await;
    browser.open(&format!("{}/find?q=linux-x64", demo.url)).await;
    eventually(secs(30), "the field Find leads to the pool's page, which can be acted on", || async {
        let seen = browser.eval("[location.pathname, document.querySelector('button.act:not([hidden])')?.textContent]").await;
        same(seen, json!(["/explain/pool/linux-x64", "Pause the pool"]))
    })
    .await;
    browser.eval("document.querySelector('button.act').click(), 1").await;
    let asked = browser.eval("document.getElementById('order-ask').textContent").await;
    assert!(asked.as_str().is_some_and(|asked| asked.contains("Touched:") && asked.contains("job")), "{asked}");
    browser.eval("document.getElementById('order-token').value = 'wrong', document.getElementById('order-do').click(), 1").await;
    let said = || async { browser.eval("document.getElementById('order-said').textContent").await };
    eventually(secs(20), "a wrong token changes nothing", || async { same(said().await, json!("Not done: the token is wrong")) })
        .await;
    browser.eval("document.getElementById('order-token').value = 'demo', document.getElementById('order-do').click(), 1").await;
    eventually(secs(20), "the page is live and says paused", || async {
        same(browser.eval("document.getElementById('state').textContent").await, json!("paused"))
    })
    .await;
    browser.open(&demo.url).await;
    eventually(secs(20), "the pause needs attention, in the list and in the title", || async {
        let seen = browser
            .eval("[Boolean(document.querySelector('#attention [data-word=paused]')), /^\\(\\d+\\) muster demo$/.test(document.title)]")
            .await;
        same(seen, json!([true, true]))
    })
    .await;
    browser.open(&format!("{}/?repo=acme%2Fweb&jobs=-age", demo.url)).await;
    eventually(secs(20), "the filter and the order come from the address", || async {
        let seen = browser
            .eval(
                "[document.getElementById('repo').value, document.querySelector('#jobs th[aria-sort=descending]')?.textContent]",
            )
            .await;
        same(seen, json!(["acme/web", "Age"]))
    })
    .await;
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
    demo._running.0.kill().expect("it can be ended");
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
