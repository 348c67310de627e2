//! A personal access token: whether it is a classic one, which scopes it has, and when it expires. See docs/getting-started.md.
//! <https://docs.github.com/en/enterprise-cloud@latest/rest/actions/self-hosted-runners>

use super::finding::{Complaints, Finding, way_out};
use muster_github::GitHub;
use muster_github::about::AboutToken;

/// Either of these scopes lets a token manage an enterprise's runners. The first one allows nothing else.
const RUNNERS: [&str; 2] = ["manage_runners:enterprise", "admin:enterprise"];
/// This scope lets a token ask for the state of a job in a private repository.
const JOBS: &str = "repo";
/// A token that expires in fewer days than this gets a warning.
const SOON_DAYS: i64 = 14;

pub(super) async fn check(github: &GitHub, name: &str) -> Finding {
    let check = format!("token {name}");
    match github.about_token(&name.into()).await {
        Ok(about) => judge(check, &about),
        Err(failure) => {
            let next = "put a classic token where spec.token points, or correct spec.apiUrl";
            Finding::failed(check, &failure.message, way_out(&failure, "it", next))
        }
    }
}

/// The finding that nobody can check deliveries: "There are no API endpoints to get data about global webhook deliveries."
/// <https://docs.github.com/en/webhooks/using-webhooks/handling-failed-webhook-deliveries>
pub(super) fn deliveries(name: &str) -> Finding {
    let seen = "GitHub has no API for an enterprise's webhook: muster cannot see deliveries that failed, nor ask for them again";
    let next = "look at the enterprise's settings, Hooks, Recent Deliveries, and redeliver failed ones there";
    Finding::unchecked(format!("webhook deliveries of token {name}"), seen, next)
}

fn judge(check: String, about: &AboutToken) -> Finding {
    let mut marks = Complaints::default();
    let Some(scopes) = &about.scopes else {
        let seen = "it is no classic token, and GitHub takes no other for an enterprise's runners";
        return Finding::failed(check, seen, "make a personal access token (classic) and put it where spec.token points");
    };
    let has = |wanted: &str| scopes.iter().any(|scope| scope == wanted);
    marks.fact(if scopes.is_empty() { "no scopes".to_owned() } else { scopes.join(", ") });
    let next = "add it in the token's settings at GitHub";
    if !RUNNERS.into_iter().any(has) {
        marks.fail(format!("it lacks the scope {}", RUNNERS[0]), next);
    }
    if !has(JOBS) {
        marks.warn(
            format!(
                "it lacks the scope {JOBS}, so muster cannot ask how far a job of a private repository is when an event was lost"
            ),
            next,
        );
    }
    if let Some(at) = &about.expires {
        marks.fact(format!("until {at}"));
        if about.days_left.is_some_and(|days| days < SOON_DAYS) {
            marks.warn(
                format!("it expires at {at}"),
                "put a new one where spec.token points; muster takes it within five minutes",
            );
        }
    }
    marks.finding(check)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn about(scopes: &[&str]) -> AboutToken {
        AboutToken { scopes: Some(scopes.iter().map(|&scope| scope.to_owned()).collect()), ..AboutToken::default() }
    }

    #[test]
    fn a_token_is_classic_and_may_what_it_must() {
        for good in [&["manage_runners:enterprise", "repo"], &["admin:enterprise", "repo"]] {
            assert_eq!(judge("t".into(), &about(good)).verdict, Verdict::Ok);
        }
        let blind = judge("t".into(), &about(&["manage_runners:enterprise"]));
        assert!(blind.verdict == Verdict::Warning && blind.seen.contains("scope repo"), "{blind:?}");
        let idle = judge("t".into(), &about(&["repo"]));
        assert!(idle.verdict == Verdict::Failed && idle.seen.contains("manage_runners:enterprise"), "{idle:?}");
        assert!(judge("t".into(), &AboutToken::default()).seen.contains("no classic token"));
    }

    #[test]
    fn a_token_that_ends_soon_is_a_warning() {
        let ends = |days| {
            let (expires, days_left) = (Some("2026-12-24 10:00:00 UTC".to_owned()), Some(days));
            judge("t".into(), &AboutToken { expires, days_left, ..about(&["manage_runners:enterprise", "repo"]) })
        };
        assert_eq!(ends(14).verdict, Verdict::Ok);
        assert!(ends(14).seen.contains("until 2026-12-24"));
        assert_eq!(ends(13).verdict, Verdict::Warning);
    }
}
