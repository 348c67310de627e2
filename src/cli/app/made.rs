//! The App that was made: GitHub's answer to the code that the browser brought.
//! <https://docs.github.com/en/rest/apps/apps#create-a-github-app-from-a-manifest>

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use muster_operations::client::{self, ClientError};
use secrecy::SecretString;
use serde::Deserialize;

use super::wish::AppWish;

/// How long GitHub may take for its answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The App that was made. Its secrets have a type that is not printed.
#[derive(Debug)]
pub(super) struct MadeApp {
    pub id: u64,
    pub name: String,
    /// The App's page at GitHub.
    pub page: String,
    /// The page of its settings.
    pub settings: String,
    /// The page on which an account installs it.
    pub install: String,
    pub key: SecretString,
    pub webhook_secret: SecretString,
    /// Whether GitHub made no webhook secret, and muster made this one.
    pub own_secret: bool,
}

/// GitHub's answer. It holds secrets, so it has no `Debug`.
#[derive(Deserialize)]
struct MadeAnswer {
    id: u64,
    slug: Option<String>,
    name: String,
    html_url: String,
    owner: Option<MadeOwner>,
    pem: String,
    webhook_secret: Option<String>,
}

#[derive(Deserialize)]
struct MadeOwner {
    login: Option<String>,
}

/// Why there is no App.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotMade {
    pub said: String,
    /// Whether the same code may still be taken, so that loading the page again may help.
    pub again: bool,
}

/// Hands the code to GitHub. No error repeats the code: whoever has it and comes first gets the App's key.
pub(super) async fn exchange(wish: &AppWish, code: &str) -> Result<MadeApp, NotMade> {
    let url = format!("{}/app-manifests/{code}/conversions", wish.api);
    let body = client::post(&url, None, Bytes::new(), PATIENCE).await.map_err(|error| refused(&wish.api, &error))?;
    let strange = || NotMade {
        said: format!("{} answered with something else than GitHub's API describes; does a proxy stand in between?", wish.api),
        again: false,
    };
    read(wish, &body).ok_or_else(strange)?
}

fn refused(api: &str, error: &ClientError) -> NotMade {
    let (said, again) = match error {
        ClientError::Status { status, .. } if matches!(status.as_u16(), 404 | 422) => {
            let said =
                format!("{api} does not take the code ({status}): it was used before, or is older than an hour; begin again");
            (said, false)
        }
        ClientError::Status { status, .. } => (format!("{api} answered {status}"), true),
        ClientError::Connect(place, cause) => (format!("failed to connect to {place}: {cause}"), true),
        ClientError::Slow(_, patience) => (format!("{api} did not answer within {patience:?}"), true),
        ClientError::NoAuthorities(..) | ClientError::NoTls(_) => (format!("failed to speak TLS with {api}"), false),
        ClientError::Address(_) | ClientError::Ecs(_) | ClientError::Token | ClientError::Broken(..) => {
            (format!("failed to ask {api}"), true)
        }
    };
    NotMade { said, again }
}

/// None: the answer is not GitHub's.
fn read(wish: &AppWish, body: &[u8]) -> Option<Result<MadeApp, NotMade>> {
    let answer: MadeAnswer = serde_json::from_slice(body).ok()?;
    let shown = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace) && !text.contains(char::is_control);
    if answer.id == 0 || !answer.pem.starts_with("-----BEGIN ") || !shown(&answer.html_url) {
        return None;
    }
    let login = answer.owner.and_then(|owner| owner.login);
    if let (Some(org), Some(login)) = (&wish.org, login)
        && !org.eq_ignore_ascii_case(&login)
    {
        let said = format!(
            "the App belongs to {login}, and not to {org}, so its keys were not kept; delete it ({}), and begin again",
            answer.html_url
        );
        return Some(Err(NotMade { said, again: false }));
    }
    let page = answer.html_url.trim_end_matches('/').to_owned();
    let slug = answer.slug.unwrap_or_else(|| page.rsplit('/').next().unwrap_or_default().to_owned());
    let given = answer.webhook_secret.filter(|secret| !secret.is_empty());
    let own_secret = given.is_none();
    let webhook_secret = given.map_or_else(random, Some)?;
    Some(Ok(MadeApp {
        id: answer.id,
        name: answer.name,
        settings: wish.settings(&slug),
        install: format!("{page}/installations/new"),
        page,
        key: answer.pem.into(),
        webhook_secret: webhook_secret.into(),
        own_secret,
    }))
}

/// 256 random bits that a URL can hold. None: the operating system gave none.
pub(super) fn random() -> Option<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use serde_json::{Value, json};

    use super::super::wish::tests::wish;
    use super::*;

    fn answer() -> Value {
        json!({
            "id": 4712, "slug": "muster-acme", "name": "muster-acme", "html_url": "https://github.com/apps/muster-acme",
            "owner": {"login": "Acme"}, "pem": "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n", "webhook_secret": "hunter3",
        })
    }

    fn read_as(change: impl FnOnce(&mut Value)) -> Option<Result<MadeApp, NotMade>> {
        let mut answer = answer();
        change(&mut answer);
        read(&wish(Some("acme")), answer.to_string().as_bytes())
    }

    #[test]
    fn the_answer_is_read_and_its_secrets_are_not_printed() {
        let made = read_as(|_| ()).expect("an answer").expect("an App");
        assert_eq!((made.id, made.own_secret, made.webhook_secret.expose_secret()), (4712, false, "hunter3"));
        assert_eq!(made.install, "https://github.com/apps/muster-acme/installations/new");
        assert_eq!(made.settings, "https://github.com/organizations/acme/settings/apps/muster-acme");
        assert!(!format!("{made:?}").contains("hunter"), "{made:?}");
    }

    #[test]
    fn a_webhook_secret_that_github_did_not_make_is_made() {
        let made = read_as(|answer| answer["webhook_secret"] = Value::Null).expect("an answer").expect("an App");
        assert!(made.own_secret && made.webhook_secret.expose_secret().len() > 40);
        assert_ne!(random(), random());
    }

    #[test]
    fn an_app_of_another_owner_is_not_kept() {
        let not = read_as(|answer| answer["owner"]["login"] = json!("mallory")).expect("an answer").expect_err("another owner");
        assert!(not.said.contains("belongs to mallory, and not to acme") && !not.again, "{not:?}");
    }

    #[test]
    fn what_is_no_answer_of_github_is_no_app() {
        for (field, value) in [("id", json!(0)), ("pem", json!("a page")), ("html_url", json!("")), ("name", Value::Null)] {
            assert!(read_as(|answer| answer[field] = value).is_none(), "{field}");
        }
        assert!(read(&wish(None), b"<html>").is_none());
    }

    #[test]
    fn no_error_repeats_the_code() {
        let url = "https://api.github.com/app-manifests/hunter2/conversions".to_owned();
        let (status, said) = (warp::http::StatusCode::NOT_FOUND, "hunter2".to_owned());
        for error in [
            ClientError::Status { url: url.clone(), status, said, stands_by: false },
            ClientError::Slow(url.clone(), PATIENCE),
            ClientError::Broken(url.clone(), "hunter2".into()),
            ClientError::Address(url.clone()),
            ClientError::NoTls(url.clone()),
            ClientError::NoAuthorities(url, String::new()),
        ] {
            let not = refused("https://api.github.com", &error);
            assert!(!not.said.contains("hunter2") && not.said.contains("api.github.com"), "{not:?}");
        }
    }
}
