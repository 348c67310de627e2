//! Whose AWS credentials doctor has, in which account, and the region.
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>

use super::finding::{Complaints, Finding};
use super::look::Look;

const CHECK: &str = "credentials";

pub(super) async fn check(look: &Look, jobs_queue: &str) -> Vec<Finding> {
    let Some(region) = &look.region else {
        return vec![Finding::failed(CHECK, "no region is known", "set spec.region of the Controller, or AWS_REGION")];
    };
    let call = look.sts.get_caller_identity();
    match look.probe.call("sts.GetCallerIdentity", "ask AWS who this is", call.send()).await {
        Ok(answer) => {
            let (account, arn) = (answer.account().unwrap_or("?"), answer.arn().unwrap_or("?"));
            vec![judge(account, arn, region, jobs_queue)]
        }
        Err(error) => {
            let next = "give valid credentials (AWS_PROFILE, the environment, or the machine's role), such as `aws sts \
                        get-caller-identity` accepts";
            vec![Finding::call_failed(CHECK, &error.failure, "sts:GetCallerIdentity", next)]
        }
    }
}

fn judge(account: &str, arn: &str, region: &str, jobs_queue: &str) -> Finding {
    let mut marks = Complaints::default();
    marks.fact(format!("{arn} of account {account}"));
    marks.fact(format!("region {region}"));
    let queues_account =
        jobs_queue.rsplit('/').nth(1).filter(|part| part.len() == 12 && part.bytes().all(|b| b.is_ascii_digit()));
    if let Some(other) = queues_account.filter(|other| *other != account) {
        let seen = format!("{arn} is of account {account}, but spec.queues.jobs lies in {other}");
        marks.warn(seen, "use the credentials of the queue's account, or correct the URL");
    }
    marks.finding(CHECK)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn another_account_than_the_queues_is_told() {
        let of = |queue: &str| judge("123456789012", "arn:aws:iam::123456789012:user/a", "eu-west-1", queue).verdict;
        assert_eq!(of("https://sqs.eu-west-1.amazonaws.com/123456789012/c1-jobs"), Verdict::Ok);
        assert_eq!(of("https://sqs.eu-west-1.amazonaws.com/210987654321/c1-jobs"), Verdict::Warning);
        assert_eq!(of("http://localhost/c1-jobs"), Verdict::Ok, "an emulator's URL tells no account");
    }
}
