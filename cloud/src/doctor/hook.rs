//! Whether GitHub reaches the webhook. GitHub's own deliveries show this best, because they came from GitHub with the App's
//! secret. A request from this machine would show neither. If API Gateway takes the webhooks, such a request would also put a
//! useless message on the queue.
//! <https://docs.github.com/en/webhooks/testing-and-troubleshooting-webhooks>

use super::finding::{Complaints, Finding, way_out};
use muster_github::GitHub;
use muster_github::about::{DeliveryAttempt, Hook};

pub(super) async fn check(github: &GitHub, name: &str) -> Vec<Finding> {
    let app = name.into();
    let (hook, attempts) = tokio::join!(github.hook(&app), github.attempts(&app));
    let check = format!("webhook of App {name}");
    let hook = match hook {
        Ok(hook) => judge_hook(check, hook.as_ref()),
        Err(failure) => Finding::failed(check, &failure.message, way_out(&failure, "it", "see GitHub's message")),
    };
    let check = format!("webhook deliveries of App {name}");
    let attempts = match attempts {
        Ok(attempts) => judge_attempts(check, &attempts),
        Err(failure) => Finding::failed(check, &failure.message, way_out(&failure, "it", "see GitHub's message")),
    };
    vec![hook, attempts]
}

fn judge_hook(check: String, hook: Option<&Hook>) -> Finding {
    let url = hook.and_then(|hook| hook.url.as_deref()).filter(|url| !url.is_empty());
    let (Some(hook), Some(url)) = (hook, url) else {
        let next =
            "switch it on in the App's settings: URL, content type application/json, secret (docs/getting-started.md, step 5)";
        return Finding::failed(check, "the App has no webhook, so nobody tells muster of jobs", next);
    };
    let mut marks = Complaints::default();
    marks.fact(url);
    if !url.starts_with("https://") {
        marks.warn(
            format!("{url} is not https: jobs' names and repositories are readable on the way"),
            "put TLS in front of muster",
        );
    }
    let kind = hook.content_type.as_deref().unwrap_or("form");
    if kind != "json" {
        marks.warn(format!("its content type is {kind}"), "choose application/json in the App's settings");
    }
    let verified = hook.insecure_ssl.as_ref().is_none_or(|said| said == "0" || said == 0);
    if !verified {
        marks.warn("GitHub does not verify the certificate", "enable SSL verification in the App's settings");
    }
    marks.finding(check)
}

fn judge_attempts(check: String, attempts: &[DeliveryAttempt]) -> Finding {
    let Some(last) = attempts.first() else {
        let next = "run a job, or redeliver the ping (the App's settings, Advanced, Recent Deliveries), and run doctor again";
        return Finding::warning(check, "GitHub made none in the last three days", next);
    };
    let good = |attempt: &&DeliveryAttempt| (200..300).contains(&attempt.status_code);
    let bad = attempts.len() - attempts.iter().filter(good).count();
    let DeliveryAttempt { delivered_at, status_code, status, event } = last;
    if !good(&last) {
        let seen = format!(
            "the last one ({event}, {delivered_at}) was answered {status_code} {status}; {bad} of {} failed",
            attempts.len()
        );
        return Finding::failed(check, seen, remedy(*status_code));
    }
    let seen = format!("the last one ({event}, {delivered_at}) was answered {status_code}; {bad} of {} failed", attempts.len());
    if bad > 0 {
        let next = "nothing, if that was a passing fault: a running controller asks for failed ones again";
        return Finding::warning(check, seen, next);
    }
    Finding::ok(check, seen)
}

fn remedy(status: u16) -> &'static str {
    match status {
        401 | 403 => "put the same secret into the App's settings and into spec.webhookSecrets",
        404 | 405 => {
            "correct the URL in the App's settings: muster takes POST /webhook, API Gateway what `terraform output webhook_url` says"
        }
        413 | 415 => "choose application/json in the App's settings, and see spec.listen.maxBody",
        503 => "see muster's log: the queue did not take the job",
        _ => {
            "see that the URL leads to muster from the internet (DNS, certificate, load balancer, firewall), and that muster runs"
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn a_hook_is_https_json_and_verified() {
        let hook = |url: &str, kind: &str, insecure| Hook {
            url: Some(url.into()),
            content_type: Some(kind.into()),
            insecure_ssl: Some(insecure),
        };
        let judge = |hook: Option<&Hook>| judge_hook("w".into(), hook);
        for insecure in [json!("0"), json!(0)] {
            assert_eq!(judge(Some(&hook("https://ci.example/webhook", "json", insecure))).verdict, Verdict::Ok);
        }
        for (hook, word) in [
            (hook("http://ci.example/webhook", "json", json!("0")), "not https"),
            (hook("https://ci.example/webhook", "form", json!("0")), "content type"),
            (hook("https://ci.example/webhook", "json", json!("1")), "certificate"),
        ] {
            let found = judge(Some(&hook));
            assert!(found.verdict == Verdict::Warning && found.seen.contains(word), "{found:?}");
        }
        assert_eq!(judge(None).verdict, Verdict::Failed);
        assert_eq!(judge(Some(&hook("", "json", json!("0")))).verdict, Verdict::Failed);
    }

    #[test]
    fn the_last_delivery_decides() {
        let attempts = |codes: &[u16]| -> Finding {
            let attempt = |code: &u16| DeliveryAttempt {
                delivered_at: "2026-11-24T10:00:00Z".into(),
                status_code: *code,
                status: "x".into(),
                event: "workflow_job".into(),
            };
            judge_attempts("d".into(), &codes.iter().map(attempt).collect::<Vec<_>>())
        };
        assert_eq!(attempts(&[202, 200]).verdict, Verdict::Ok);
        assert_eq!(attempts(&[202, 502]).verdict, Verdict::Warning);
        assert_eq!(attempts(&[]).verdict, Verdict::Warning);
        let unsigned = attempts(&[401, 202]);
        assert!(unsigned.verdict == Verdict::Failed && unsigned.next.is_some_and(|next| next.contains("secret")));
        assert!(attempts(&[502]).next.is_some_and(|next| next.contains("from the internet")));
    }
}
