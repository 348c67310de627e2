//! The releases of actions/runner and their files. They are public, so anybody may ask, and a mirror may stand in for GitHub. Each
//! file is checked against the digest that its release names.
//! <https://docs.github.com/en/rest/releases/releases>
//!
//! Without credentials GitHub admits 60 requests an hour from one address, which many machines behind one NAT gateway share; one run
//! of the sync sends one to three. So the controller asks with the credentials of an App or a token that it has at the same API
//! ([`Releases::ask_as`]), whose limit is thousands. When GitHub refuses them, muster asks without. muster remembers answers by their
//! ETag, so that GitHub does not send an unchanged answer again. With credentials, such a request costs nothing.
//! <https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api#use-conditional-requests-if-appropriate>
//! <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Limited};
use muster_operations::observer::{Ended, Observer};
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::ListId;
use octocrab::Octocrab;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{ANSWER_MAX, ApiCall, CONNECT_TIMEOUT, GitHub, GoodAnswer, REQUEST_TIMEOUT, app, limits};

/// The longest silence during the download of a file.
const SILENCE: Duration = Duration::from_secs(30);
/// How many releases are searched for those that are newer than a pinned one. This number covers about two years.
const LISTED: u32 = 30;

/// A release's version, such as 2.330.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for Version {
    type Err = ();
    fn from_str(text: &str) -> Result<Version, ()> {
        let mut parts = text.split('.').map(|part| part.parse().map_err(drop));
        let mut next = || parts.next().unwrap_or(Err(()));
        let version = Version(next()?, next()?, next()?);
        // A version has one spelling: no sign, no leading zero and no fourth part.
        if version.to_string() == text { Ok(version) } else { Err(()) }
    }
}

/// A release of actions/runner.
#[derive(Clone, Debug)]
pub struct Release {
    /// The version, as the release's tag says.
    pub version: Version,
    /// When the release came out. None: GitHub gave no time that can be read.
    pub published: Option<DateTime<Utc>>,
    /// The files of the release.
    pub assets: Vec<Asset>,
}

/// A file of a release.
#[derive(Clone, Debug, Deserialize)]
pub struct Asset {
    /// The file's name, such as `actions-runner-linux-x64-2.330.0.tar.gz`.
    pub name: String,
    /// The file's size, in bytes.
    pub size: u64,
    /// `sha256:` and 64 hexadecimal digits. GitHub has no digest for files from before June 2025.
    pub digest: Option<String>,
    /// The URL of the file. GitHub redirects it to another host.
    #[serde(rename = "browser_download_url")]
    pub url: String,
}

impl Asset {
    /// The file's SHA-256, as 64 hexadecimal digits. None: GitHub gave none.
    pub fn sha256(&self) -> Option<&str> {
        let hex = self.digest.as_deref()?.strip_prefix("sha256:")?;
        (hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))).then_some(hex)
    }
}

#[derive(Clone, Deserialize)]
struct ReleaseRow {
    tag_name: String,
    published_at: Option<String>,
    #[serde(default)]
    draft: bool,
    #[serde(default)]
    prerelease: bool,
    #[serde(default)]
    assets: Vec<Asset>,
}

impl ReleaseRow {
    fn release(self) -> Option<Release> {
        let version = self.tag_name.strip_prefix('v')?.parse().ok()?;
        let published = self.published_at.and_then(|at| Some(DateTime::parse_from_rfc3339(&at).ok()?.with_timezone(&Utc)));
        Some(Release { version, published, assets: self.assets })
    }
}

/// Asks for releases and remembers the answers.
pub struct Releases {
    http: Octocrab,
    /// The part of the URL before every path, such as `/api/v3`.
    prefix: String,
    /// The URL of the REST API, for error messages.
    base: String,
    observer: Observer,
    /// Whose credentials requests are sent with. None: they are sent without.
    asker: Mutex<Option<(GitHub, ListId)>>,
    /// The ETag and the body of the last answer, by path. There are as many as there are versions in use.
    known: Mutex<BTreeMap<String, (String, Bytes)>>,
}

impl fmt::Debug for Releases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Releases").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Releases {
    /// `base` is the URL of a REST API, such as `https://api.github.com`. Nothing is sent. This function must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    ///
    /// When `base` is no URL, or when no HTTPS client can be made.
    pub fn new(base: &str, observer: Observer) -> anyhow::Result<Releases> {
        let url: Uri = base.parse().ok().filter(|url: &Uri| url.authority().is_some()).with_context(|| {
            format!("read spec.sync.releases: `{base}` is no URL; write https://api.github.com or a mirror of it")
        })?;
        let (scheme, host) = (url.scheme_str().unwrap_or("https"), url.authority().map_or("", |a| a.as_str()));
        let http = Octocrab::builder()
            .base_uri(format!("{scheme}://{host}"))
            .and_then(|builder| builder.set_connect_timeout(Some(CONNECT_TIMEOUT)).build())
            .with_context(|| format!("make an HTTPS client for {base}; are the system's CA certificates installed?"))?;
        let prefix = url.path().trim_end_matches('/').to_owned();
        Ok(Releases { http, prefix, base: base.to_owned(), observer, asker: Mutex::default(), known: Mutex::default() })
    }

    /// From now on, requests are sent with the credentials that `github` has for a list. The credentials must be for the same API,
    /// because another one must not learn them. None: requests are sent without credentials.
    pub fn ask_as(&self, asker: Option<(GitHub, ListId)>) {
        *self.asker.lock().unwrap_or_else(PoisonError::into_inner) = asker;
    }

    /// The release that GitHub calls the latest. It is neither a draft nor a pre-release.
    pub async fn latest(&self) -> Result<Release, Failure> {
        let call = self.call("github.GetLatestRelease", "latest".into(), "find the latest release of actions/runner");
        self.one(&call).await
    }

    /// The release of this version.
    pub async fn tagged(&self, version: Version) -> Result<Release, Failure> {
        let what = format!("find release {version} of actions/runner");
        self.one(&self.call("github.GetReleaseByTag", format!("tags/v{version}"), what)).await
    }

    /// The last releases, newest first, without drafts, pre-releases and tags that are no version.
    pub async fn list(&self) -> Result<Vec<Release>, Failure> {
        let call = self.call("github.ListReleases", String::new(), "list the releases of actions/runner");
        let call = ApiCall { path: format!("/repos/actions/runner/releases?per_page={LISTED}"), ..call };
        let rows: Vec<ReleaseRow> = self.ask(&call).await?;
        Ok(rows.into_iter().filter(|row| !row.draft && !row.prerelease).filter_map(ReleaseRow::release).collect())
    }

    fn call(&self, api: &'static str, which: String, what: impl Into<String>) -> ApiCall {
        ApiCall::new(api, Method::GET, format!("/repos/actions/runner/releases/{which}"), what)
    }

    async fn one(&self, call: &ApiCall) -> Result<Release, Failure> {
        let row: ReleaseRow = self.ask(call).await?;
        let tag = row.tag_name.clone();
        row.release().ok_or_else(|| {
            let message = format!("{}: its tag is `{tag}`, which is no version such as v2.330.0", call.what);
            Failure::new(FailureKind::Refused, message)
        })
    }

    async fn ask<T: DeserializeOwned>(&self, call: &ApiCall) -> Result<T, Failure> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&call.path).cloned();
        let (etag, body) = known.unzip();
        let answer = match self.ask_with_credentials(call, etag.as_deref()).await {
            Some(answer) if answer.status == StatusCode::NOT_MODIFIED && body.is_some() => {
                GoodAnswer { body: body.unwrap_or_default(), ..answer }
            }
            Some(answer) => answer,
            None => self.ask_without_credentials(call, etag.as_deref(), body).await?,
        };
        let said = serde_json::from_slice(&answer.body).map_err(|error| {
            let message = format!(
                "{}: the answer is not what GitHub's API describes ({error}); check that spec.sync.releases ({}) is GitHub's REST API \
                 or a faithful mirror, and not a proxy's page",
                call.what, self.base
            );
            Failure::new(FailureKind::Refused, message)
        })?;
        if let Some(etag) = answer.headers.get(header::ETAG).and_then(|etag| etag.to_str().ok()) {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(call.path.clone(), (etag.to_owned(), answer.body.clone()));
        }
        Ok(said)
    }

    /// Asks with credentials. None: there are none, or GitHub does not answer with them. The releases are public, so muster then asks
    /// without.
    async fn ask_with_credentials(&self, call: &ApiCall, etag: Option<&str>) -> Option<GoodAnswer> {
        let (github, list_id) = self.asker.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let call = ApiCall {
            etag: etag.map(str::to_owned),
            ..ApiCall::new(call.api, call.method.clone(), call.path.clone(), call.what.clone())
        };
        match github.ask(&list_id, call).await {
            Ok((_, answer)) => Some(answer),
            Err(rejected) => {
                let error = rejected.failure.message;
                tracing::debug!(error, "asks for the releases of actions/runner without credentials");
                None
            }
        }
    }

    async fn ask_without_credentials(
        &self,
        call: &ApiCall,
        etag: Option<&str>,
        body: Option<Bytes>,
    ) -> Result<GoodAnswer, Failure> {
        let began = Instant::now();
        let result = match tokio::time::timeout(REQUEST_TIMEOUT, self.exchange(call, etag)).await {
            Ok(result) => result,
            Err(_) => {
                Err(self.unanswered(&call.what, FailureKind::Unavailable, &format!("no answer within {REQUEST_TIMEOUT:?}")))
            }
        };
        let result = result.and_then(|answer| match answer.status {
            StatusCode::NOT_MODIFIED => {
                body.ok_or_else(|| self.failure(&call.what, &answer)).map(|body| GoodAnswer { body, ..answer })
            }
            status if status.is_success() => Ok(answer),
            _ => Err(self.failure(&call.what, &answer)),
        });
        let ended = match &result {
            Ok(answer) if answer.status == StatusCode::NOT_MODIFIED => Ended::NotModified,
            Ok(_) => Ended::Ok,
            Err(failure) => Ended::Failed(failure.kind),
        };
        (self.observer)(call.api, ended, began.elapsed());
        result
    }

    async fn exchange(&self, call: &ApiCall, etag: Option<&str>) -> Result<GoodAnswer, Failure> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", self.prefix, call.path))
            .header(header::ACCEPT, "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28");
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        let response = self.send(&call.what, request).await?;
        self.read(&call.what, response).await
    }

    async fn send(&self, what: &str, request: http::request::Builder) -> Result<Response<Body>, Failure> {
        let request = request
            .body(String::new())
            .map_err(|error| Failure::new(FailureKind::Refused, format!("{what}: the request cannot be written: {error}")))?;
        self.http.execute(request).await.map_err(|error| self.lost(what, &error))
    }

    async fn read(&self, what: &str, response: Response<Body>) -> Result<GoodAnswer, Failure> {
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(|error| self.lost(what, error.as_ref()))?;
        Ok(GoodAnswer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
    }

    /// Begins the download of a file. Redirects are followed, because GitHub keeps the files on another host.
    pub async fn download(&self, asset: &Asset) -> Result<Download, Failure> {
        let what = format!("download {}", asset.url);
        let began = Instant::now();
        let request = Request::get(&asset.url).header(header::ACCEPT, "application/octet-stream");
        let result = match tokio::time::timeout(SILENCE, self.send(&what, request)).await {
            Ok(Ok(response)) if response.status() == StatusCode::OK => Ok(response.into_body()),
            Ok(Ok(response)) => match tokio::time::timeout(REQUEST_TIMEOUT, self.read(&what, response)).await {
                Ok(Ok(answer)) => Err(self.failure(&what, &answer)),
                Ok(Err(failure)) => Err(failure),
                Err(_) => Err(self.unanswered(&what, FailureKind::Unavailable, "the answer never ended")),
            },
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(self.unanswered(&what, FailureKind::Unavailable, &format!("no answer within {SILENCE:?}"))),
        };
        let ended = result.as_ref().map_or_else(|failure| Ended::Failed(failure.kind), |_| Ended::Ok);
        (self.observer)("github.DownloadRelease", ended, began.elapsed());
        Ok(Download { what, body: result? })
    }

    fn failure(&self, what: &str, answer: &GoodAnswer) -> Failure {
        let wait = limits::throttled(answer);
        let said = limits::message(answer);
        let quoted = if said.is_empty() { String::new() } else { format!(", \"{said}\"") };
        let (kind, way_out) = match answer.status.as_u16() {
            _ if wait.is_some() => {
                let wait = wait.unwrap_or_default().as_secs().div_ceil(60);
                let text = format!(
                    "; without credentials GitHub admits 60 requests an hour from one address: try again in {wait} min, or name a \
                     mirror in spec.sync.releases (a running controller asks with the credentials of an App at the same API)"
                );
                (FailureKind::Throttled, text)
            }
            404 => (
                FailureKind::NotFound,
                format!("; look at https://github.com/actions/runner/releases, and at what {} serves", self.base),
            ),
            500.. => (FailureKind::Unavailable, "; see https://www.githubstatus.com".into()),
            _ => (FailureKind::Refused, format!("; check that spec.sync.releases ({}) is GitHub's REST API", self.base)),
        };
        Failure { retry_after: wait, ..Failure::new(kind, format!("{what}: GitHub answered {}{quoted}{way_out}", answer.status)) }
    }

    fn lost(&self, what: &str, error: &(dyn Error + 'static)) -> Failure {
        self.unanswered(what, FailureKind::Unavailable, &app::causes(error).1)
    }

    fn unanswered(&self, what: &str, kind: FailureKind, cause: &str) -> Failure {
        Failure::new(
            kind,
            format!("{what}: {cause}; check the way to spec.sync.releases ({}) and https://www.githubstatus.com", self.base),
        )
    }
}

type Body = BoxBody<Bytes, octocrab::Error>;

/// A file whose download is under way.
#[derive(Debug)]
pub struct Download {
    what: String,
    body: Body,
}

impl Download {
    /// The next piece of some KiB. None: the file is complete.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        let broken = |cause: &str| Failure::new(FailureKind::Unavailable, format!("{}: it broke off: {cause}", self.what));
        loop {
            let frame = tokio::time::timeout(SILENCE, self.body.frame()).await;
            match frame.map_err(|_| broken(&format!("nothing came for {SILENCE:?}")))? {
                None => return Ok(None),
                Some(Err(error)) => return Err(broken(&app::causes(&error).1)),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}

#[cfg(fuzzing)]
pub(crate) fn fuzzed(answer: &crate::GoodAnswer, call: &ApiCall) {
    let rows = answer.json::<Vec<ReleaseRow>>(call).unwrap_or_default();
    let one = answer.json::<ReleaseRow>(call).ok();
    for release in rows.into_iter().chain(one).filter_map(ReleaseRow::release) {
        assert!(release.assets.iter().filter_map(Asset::sha256).all(|digest| digest.len() == 64));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::fake::{Fake, list_id, reply};

    #[test]
    fn a_version_has_one_spelling() {
        assert_eq!("2.330.0".parse(), Ok(Version(2, 330, 0)));
        for bad in ["", "2", "2.330", "2.330.0.1", "v2.330.0", "2.0330.0", "+2.330.0", "2.330.-1", "2.330.0 ", "latest"] {
            assert_eq!(bad.parse::<Version>(), Err(()), "{bad}");
        }
        assert!(Version(2, 9, 0) < Version(2, 10, 0));
    }

    #[tokio::test]
    async fn releases_are_asked_for_with_credentials_and_without_when_github_refuses_them() {
        let fake = Fake::start(|ask| match (ask.header("authorization"), ask.path.as_str()) {
            ("Bearer token-1", path) if path.ends_with("/latest") && ask.header("if-none-match") == "\"one\"" => {
                reply(304, Value::Null)
            }
            ("Bearer token-1", path) if path.ends_with("/latest") => {
                reply(200, json!({ "tag_name": "v2.1.0" })).with("etag", "\"one\"")
            }
            ("", path) if path.ends_with("/v2.0.0") => reply(200, json!({ "tag_name": "v2.0.0" })),
            _ => reply(403, json!({ "message": "Resource not accessible by integration" })),
        })
        .await;
        let releases = Releases::new(&fake.url, Arc::new(|_, _, _| ())).expect("a URL");
        assert_eq!(releases.latest().await.expect_err("no credentials").kind, FailureKind::Refused);
        releases.ask_as(Some((fake.github(), list_id("org/acme"))));
        for _ in 0..2 {
            assert_eq!(releases.latest().await.expect("an answer").version, Version(2, 1, 0));
        }
        let asked = fake.asked("/releases/latest");
        assert_eq!(asked.len(), 3, "a request with credentials that is answered is not repeated");
        assert_eq!(releases.tagged(Version(2, 0, 0)).await.expect("an answer").version, Version(2, 0, 0));
        assert_eq!(fake.asked("/releases/tags/v2.0.0").len(), 2);
    }

    #[test]
    fn only_a_sha_256_is_a_digest() {
        let asset = |digest: Option<String>| Asset { name: String::new(), size: 1, digest, url: String::new() };
        let hex = "0123456789abcdef".repeat(4);
        assert_eq!(asset(Some(format!("sha256:{hex}"))).sha256(), Some(hex.as_str()));
        for bad in [None, Some(hex.clone()), Some(format!("sha512:{hex}")), Some(format!("sha256:{}", &hex[1..]))] {
            assert_eq!(asset(bad.clone()).sha256(), None, "{bad:?}");
        }
    }
}
