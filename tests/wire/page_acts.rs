//! Orders from the page in a real browser: a pool is paused, drained and resumed, and a lost job runs again. Each asks with what it touches, and only the
//! token opens.

use crate::support;

use serde_json::{Value, json};
use support::browser::Browser;
use support::demo::demo;
use support::instances::Habits;
use support::muster::ADMIN_TOKEN;
use support::scene::{Scene, linux};
use support::{eventually, same, secs};

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
    // The icon has the number, too, and the browser can draw it.
    let icon = "(() => { const n = document.getElementById('attention').dataset.count, icon = document.getElementById('icon').href; \
                return [Number(n) > 0, decodeURIComponent(icon).includes(`>${n}</text>`)] })()";
    assert_eq!(browser.eval(icon).await, json!([true, true]));
    let drawn = "(() => { const i = new Image(); i.src = document.getElementById('icon').href; return i.decode().then(() => i.naturalWidth > 0) })()";
    assert_eq!(browser.run(drawn).await, json!(true));
    browser.end().await;
}

/// Presses a button of the page that stands there, and confirms what it asks. `token` is typed if the page asks for one. Returns
/// whether it did.
async fn order(browser: &Browser, name: &str, token: &str) -> bool {
    let button = format!("[...document.querySelectorAll('button.act:not([hidden])')].find(one => one.textContent === '{name}')");
    eventually(secs(30), "the page has the button", || async {
        same(browser.eval(&format!("{button}?.textContent ?? null")).await, json!(name))
    })
    .await;
    browser.eval(&format!("{button}.click(), 1")).await;
    let asks = browser.eval("document.getElementById('order-key').checkVisibility()").await == json!(true);
    if asks {
        browser.eval(&format!("document.getElementById('order-token').value = {}, 1", json!(token))).await;
    }
    browser.eval("document.getElementById('order-do').click(), 1").await;
    asks
}

async fn close(browser: &Browser) {
    browser.eval("document.getElementById('order-close').click(), 1").await;
}

/// One token, typed once, pauses, drains and resumes. Another tab asks for it again, because nothing but the first tab keeps it.
#[tokio::test]
async fn the_token_is_typed_once_in_a_tab_and_kept_nowhere_else() {
    let Some(browser) = Browser::start().await else { return };
    let demo = demo().await;
    browser.look("light", 1400, 900).await;
    let busy = demo.first("runners", |runner| runner["phase"] == "busy" && runner["pool"] == "linux-x64").await;
    let page = format!("{}/explain/pool/linux-x64", demo.url);
    browser.open(&page).await;
    assert!(order(&browser, "Pause the pool", "demo").await, "the first order asks for the token");
    says(&browser, "paused").await;
    close(&browser).await;
    assert!(!order(&browser, "Drain its runners", "").await, "the second one does not");
    says(&browser, "asked to end").await;
    close(&browser).await;
    eventually(secs(60), "a runner of the pool drains", || async {
        let url = format!("{}/api/v1/explain/runner/{}", demo.url, busy["instance"].as_str().expect("an id"));
        let told: Value = reqwest::get(url).await.map_err(|e| e.to_string())?.json().await.map_err(|e| e.to_string())?;
        let state = told["state"].as_str().unwrap_or_default();
        if ["draining", "terminating", "gone"].contains(&state) { Ok(()) } else { Err(told["state"].to_string()) }
    })
    .await;
    // Another page of the same tab.
    browser.open(&demo.url).await;
    browser.open(&page).await;
    assert!(!order(&browser, "Resume", "").await, "the tab knows the token");
    says(&browser, "linux-x64").await;
    eventually(secs(60), "the pool is resumed", || async {
        let state = browser.eval("document.getElementById('state').textContent").await;
        if state == "paused" { Err("it is paused".to_owned()) } else { Ok(()) }
    })
    .await;
    let kept = "[localStorage.length, document.cookie, Object.keys(sessionStorage), document.documentElement.outerHTML.includes('value=\"demo\"')]";
    assert_eq!(browser.eval(kept).await, json!([0, "", ["muster-token"], false]));
    let bases = browser.run("indexedDB.databases().then(all => all.length)").await;
    let caches = browser.run("typeof caches === 'undefined' ? 0 : caches.keys().then(all => all.length)").await;
    assert_eq!((bases, caches), (json!(0), json!(0)));
    browser.tab().await;
    browser.open(&page).await;
    assert!(order(&browser, "Pause the pool", "wrong").await, "another tab asks for the token");
    says(&browser, "Not done: the token is wrong").await;
    assert_eq!(browser.eval("sessionStorage.length").await, json!(0), "a wrong token is not kept");
    browser.end().await;
}

/// A scene with a job that went down with its instance. GitHub has given the job up, and nothing runs it again by itself.
async fn with_a_lost_job() -> Option<(Scene, u64)> {
    let once = Habits { job: secs(3600), ..Habits::default() };
    let scene = Scene::start(&[linux()], once).await?;
    scene.github.app(|app| app.granted["actions"] = json!("write"));
    let job = scene.queue_jobs(1)[0];
    let status = || async { same(scene.github.job(job).status, "in_progress".to_owned()) };
    eventually(secs(120), "the job runs", status).await;
    let instance = scene.moto.alive().await[0].id.clone();
    scene.moto.warn_of_interruption(&scene.world, &instance).await;
    let warned = || async { same(scene.phases().await.contains(&"interrupted".to_owned()), true) };
    eventually(secs(120), "muster is warned", warned).await;
    scene.moto.interrupt(&instance).await;
    let lost = || async {
        let told: Value = serde_json::from_str(&scene.muster.get(&format!("/api/v1/explain/job/{job}")).await).expect("JSON");
        same(told["lost"].clone(), json!(1)).map_err(|_| told["reason"].to_string())
    };
    eventually(secs(240), "muster knows that the job is lost", lost).await;
    Some((scene, job))
}

/// Presses the page's button for a lost job, and returns what it asks.
async fn press_rerun(browser: &Browser, scene: &Scene, page: &str, name: &str) -> String {
    browser.open(&scene.muster.admin_url(page)).await;
    let button = "[...document.querySelectorAll('button.act:not([hidden])')].find(one => one.dataset.path.endsWith('/rerun'))";
    eventually(secs(30), "the page has the button", || async {
        same(browser.eval(&format!("{button}?.textContent ?? null")).await, json!(name))
    })
    .await;
    browser.eval(&format!("{button}.click(), 1")).await;
    browser.eval("document.getElementById('order-ask').textContent").await.as_str().expect("a question").to_owned()
}

async fn do_it(browser: &Browser, token: &str) {
    let typed = format!(
        "document.getElementById('order-token').value = {}, document.getElementById('order-do').click(), 1",
        json!(token)
    );
    browser.eval(&typed).await;
}

async fn says(browser: &Browser, part: &str) {
    eventually(secs(30), "the page says what became of the order", || async {
        let said = browser.eval("document.getElementById('order-said').textContent").await;
        if said.as_str().is_some_and(|said| said.contains(part)) { Ok(()) } else { Err(said.to_string()) }
    })
    .await;
}

/// An operator has a lost job run again from the job's page. GitHub gets one order, also when the operator orders twice.
#[tokio::test]
async fn a_lost_job_runs_again_from_its_page_once() {
    let Some(browser) = Browser::start().await else { return };
    let Some((scene, job)) = with_a_lost_job().await else { return };
    browser.look("light", 1400, 900).await;
    let asked = press_rerun(&browser, &scene, &format!("/explain/job/{job}"), "Run it again").await;
    assert!(asked.starts_with("Run 1 lost job of this run again?"), "{asked}");
    do_it(&browser, "wrong").await;
    says(&browser, "Not done: the token is wrong").await;
    assert_eq!(scene.github.calls_of("/rerun"), 0);
    do_it(&browser, ADMIN_TOKEN).await;
    says(&browser, "GitHub is asked to run 1 lost job again").await;
    let again = || async {
        let attempts: Vec<u32> = scene.github.jobs().iter().map(|job| job.attempt).collect();
        same(attempts.contains(&2), true).map_err(|_| format!("{attempts:?}"))
    };
    eventually(secs(240), "GitHub runs the job again", again).await;
    assert_eq!(scene.github.calls_of("/rerun"), 1);
    // The page that was left open and pressed once more gives no second order.
    let body = format!(
        "fetch('/api/v1/jobs/{job}/rerun', {{ method: 'POST', headers: {{ Authorization: 'Bearer ' + sessionStorage.getItem('muster-token'), \
         'Content-Type': 'application/json' }}, body: '{{}}' }}).then(answer => window.answered = answer.status), 1"
    );
    browser.eval(&body).await;
    eventually(secs(20), "the second order is answered", || async {
        same(browser.eval("window.answered ?? null").await.is_number(), true)
    })
    .await;
    assert_eq!(scene.github.calls_of("/rerun"), 1);
    browser.end().await;
}

/// The same from the pool's page, for all of its lost jobs.
#[tokio::test]
async fn all_lost_jobs_of_a_pool_run_again_from_its_page() {
    let Some(browser) = Browser::start().await else { return };
    let Some((scene, _)) = with_a_lost_job().await else { return };
    browser.look("dark", 390, 844).await;
    let asked = press_rerun(&browser, &scene, "/explain/pool/linux", "Run its lost jobs again").await;
    assert!(asked.starts_with("Run 1 lost job of pool linux again?"), "{asked}");
    do_it(&browser, ADMIN_TOKEN).await;
    says(&browser, "GitHub is asked to run 1 lost job again").await;
    let again = || async { same(scene.github.jobs().iter().any(|job| job.attempt == 2), true) };
    eventually(secs(240), "GitHub runs the job again", again).await;
    assert_eq!(scene.github.calls_of("/rerun"), 1);
    browser.end().await;
}
