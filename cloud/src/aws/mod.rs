//! AWS: one adapter for each service. An adapter translates the core's types into a call, and AWS's answer into the core's types.
//! An adapter decides nothing. In particular, it never repeats a call: the core owns retries, budgets and the pace. So the SDK's
//! own retries are off. Each failed call comes back as a [`Failure`], whose kind says whether the call may have taken effect.

pub mod ec2;
pub mod prices;
pub mod s3;
pub mod sqs;
pub mod ssm;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_sdk_ec2::error::{ConnectorError, DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::RequestId;
use muster_reconciler::failure::{Failure, FailureKind};

pub use ec2::Ec2;
pub use prices::PriceApi;
pub use s3::S3;
pub use sqs::Sqs;
pub use ssm::{InstanceSecret, Ssm};

use muster_operations::observer::{Ended, Observer};

/// The longest wait for a TCP and TLS connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest wait for an answer. CreateFleet takes several seconds for a large instant fleet.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);

/// The adapters. All of them have the same region, credentials and endpoint. A clone is cheap.
#[derive(Clone, Debug)]
pub struct Aws {
    /// The region that calls go to, if one is known. Without a region, every call fails, and its failure says so.
    pub region: Option<String>,
    /// EC2: instances.
    pub ec2: Ec2,
    /// SQS: queues.
    pub sqs: Sqs,
    /// SSM: secrets, and which pools are paused.
    pub ssm: Ssm,
    /// S3: objects.
    pub s3: S3,
    /// EC2's spot prices and AWS's Price List.
    pub prices: PriceApi,
}

impl Aws {
    /// Reads the usual environment and profile of AWS (`AWS_REGION`, `AWS_PROFILE`, `AWS_ENDPOINT_URL` and so on). The argument
    /// `region` takes precedence. This function makes no API call, so wrong credentials show only at the first call.
    pub async fn connect(region: Option<&str>) -> Aws {
        Aws::new(&Aws::config(region).await)
    }

    /// The configuration that [`Aws::connect`] uses.
    pub(crate) async fn config(region: Option<&str>) -> SdkConfig {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
        let retries = RetryConfig::disabled();
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).retry_config(retries);
        if let Some(region) = region {
            loader = loader.region(Region::new(region.to_owned()));
        }
        loader.load().await
    }

    /// Makes the adapters from a configuration that was made elsewhere. Its region, credentials, endpoint and timeouts are kept.
    /// Its retries are switched off.
    pub fn new(config: &SdkConfig) -> Aws {
        let mut config = config.to_builder().retry_config(RetryConfig::disabled());
        if let Ok(name) = AppName::new(concat!("muster-", env!("CARGO_PKG_VERSION"))) {
            config.set_app_name(Some(name));
        }
        let config = config.build();
        let probe = Probe::default();
        Aws {
            region: config.region().map(|region| region.as_ref().to_owned()),
            ec2: Ec2::new(&config, probe.clone()),
            sqs: Sqs::new(&config, probe.clone()),
            ssm: Ssm::new(&config, probe.clone()),
            s3: S3::new(&config, probe.clone()),
            prices: PriceApi::new(&config, probe),
        }
    }

    /// The same adapters, which tell `observer` of every call from now on.
    pub fn with_observer(mut self, observer: Observer) -> Aws {
        let probe = Probe(observer);
        self.ec2.probe = probe.clone();
        self.sqs.probe = probe.clone();
        self.ssm.probe = probe.clone();
        self.s3.probe = probe.clone();
        self.prices.probe = probe;
        self
    }
}

/// Makes calls, and tells the observer of each call.
#[derive(Clone)]
pub(crate) struct Probe(Observer);

impl Default for Probe {
    fn default() -> Self {
        Probe(Arc::new(|_, _, _| ()))
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

impl Probe {
    /// Makes one call. `what` says what the call attempts, and on what.
    pub(crate) async fn call<T, E>(
        &self,
        api: &'static str,
        what: &str,
        answer: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, CallError>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        self.call_hiding(api, what, None, answer).await
    }

    /// The same as [`Probe::call`], for a call that hands a secret to AWS. AWS's validation errors may quote the value that they
    /// refuse. The secret is taken out before the message is cut, because a cut message could keep a part of the secret.
    pub(crate) async fn call_hiding<T, E>(
        &self,
        api: &'static str,
        what: &str,
        secret: Option<&str>,
        answer: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, CallError>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let began = Instant::now();
        let result = answer.await.map_err(|error| CallError {
            code: error.code().unwrap_or_default().to_owned(),
            said: error.message().unwrap_or_default().to_owned(),
            status: error.raw_response().map_or(0, |raw| raw.status().as_u16()),
            failure: classify(&error, what),
        });
        let result = result.map_err(|error: CallError| match secret {
            Some(secret) => error.without(secret, what),
            None => error,
        });
        let ended = result.as_ref().map_or_else(|error| Ended::Failed(error.failure.kind), |_| Ended::Ok);
        (self.0)(api, ended, began.elapsed());
        if let Err(error) = &result {
            tracing::debug!(api, outcome = ended.as_str(), "{}", error.failure.message);
        }
        result
    }
}

/// A failed call, with what an adapter needs to tell what the failure means in its own API.
#[derive(Clone, Debug)]
pub(crate) struct CallError {
    /// AWS's error code. It is empty if AWS gave none.
    pub(crate) code: String,
    /// AWS's whole message, however long. [`Self::failure`] holds a cut version.
    pub(crate) said: String,
    /// The HTTP status; 0 if there was no answer.
    pub(crate) status: u16,
    /// The same failure, as the core gets it.
    pub(crate) failure: Failure,
}

impl CallError {
    fn without(mut self, secret: &str, what: &str) -> CallError {
        const INSTEAD: &str = "[the secret]";
        if secret.is_empty() {
            return self;
        }
        if self.said.contains(secret) {
            self.said = self.said.replace(secret, INSTEAD);
            self.failure.message = format!("{what}: {}: {}", self.code, plain(&self.said));
        }
        self.failure.message = self.failure.message.replace(secret, INSTEAD);
        self
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Failure {
        error.failure
    }
}

/// What a failed call means. The failure's message begins with `what`: "launch 5 for pool linux: CODE: message (request id ...)".
pub fn classify<E>(error: &SdkError<E>, what: &str) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
    let (kind, said) = match error {
        SdkError::ServiceError(_) => {
            let code = error.code().unwrap_or("no error code");
            (kind_of(code, status), format!("{code}: {}", plain(error.message().unwrap_or("no message"))))
        }
        SdkError::ConstructionFailure(_) => {
            (FailureKind::Unavailable, format!("the request could not be made: {}", DisplayErrorContext(error)))
        }
        SdkError::DispatchFailure(cause) if cause.as_connector_error().is_some_and(never_sent) => {
            (FailureKind::Unavailable, format!("AWS was not reached: {}", DisplayErrorContext(error)))
        }
        SdkError::ResponseError(_) if status >= 500 && status != 504 => {
            (FailureKind::Unavailable, format!("unreadable answer with status {status}"))
        }
        _ => (FailureKind::Ambiguous, format!("no answer, it may have taken effect: {}", DisplayErrorContext(error))),
    };
    let id = error.request_id().map_or_else(String::new, |id| format!(" (request id {id})"));
    let wait = error.raw_response().and_then(|raw| raw.headers().get("retry-after")?.parse().ok());
    let (retry_after, code) = (wait.map(Duration::from_secs), error.code().map(str::to_owned));
    Failure { retry_after, code, ..Failure::new(kind, format!("{what}: {said}{id}")) }
}

/// What AWS's error code means. For a code that is not listed here, the HTTP status decides.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>
pub(crate) fn kind_of(code: &str, status: u16) -> FailureKind {
    match code {
        "RequestLimitExceeded" | "SlowDown" | "TooManyUpdates" => FailureKind::Throttled,
        _ if ["Throttl", "RequestThrottled", "TooManyRequests"].iter().any(|start| code.starts_with(start)) => {
            FailureKind::Throttled
        }
        "IdempotentParameterMismatch" | "ParameterAlreadyExists" | "ConditionalRequestConflict" => FailureKind::Conflict,
        "QueueDoesNotExist" | "AWS.SimpleQueueService.NonExistentQueue" | "NoSuchKey" | "NoSuchBucket" => FailureKind::NotFound,
        _ if code.contains("NotFound") => FailureKind::NotFound,
        _ => match status {
            404 => FailureKind::NotFound,
            409 => FailureKind::Conflict,
            429 => FailureKind::Throttled,
            504 => FailureKind::Ambiguous,
            500.. => FailureKind::Unavailable,
            _ => FailureKind::Refused,
        },
    }
}

/// The longest text of AWS's that muster repeats, in characters. The limit for GitHub's texts is the same.
const MESSAGE_MAX: usize = 400;

/// AWS's message, made for people: on one line, and cut. The encoded text that only `sts:DecodeAuthorizationMessage` can read is
/// left out, because it takes kilobytes. CloudTrail keeps the whole message.
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_DecodeAuthorizationMessage.html>
pub(crate) fn plain(message: &str) -> String {
    const ENCODED: &str = "Encoded authorization failure message:";
    let (said, encoded) = message.split_once(ENCODED).map_or((message, false), |(said, _)| (said, true));
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut plain: String = words.chars().filter(|c| !c.is_control()).take(MESSAGE_MAX).collect();
    if plain.len() < words.len() {
        plain.push('…');
    }
    if encoded {
        plain += " (AWS's encoded details are in CloudTrail)";
    }
    plain
}

/// Whether the request certainly never left this machine: there were no credentials, no address for the host name, or no
/// connection. The SDK has no types for these cases, so this function reads the texts of the error's causes.
/// `tests/wire/aws_adapters.rs` checks it against real sockets.
fn never_sent(error: &ConnectorError) -> bool {
    let first: &(dyn Error + 'static) = error;
    let mut causes = std::iter::successors(Some(first), |cause| (*cause).source()).map(ToString::to_string);
    if error.is_other() {
        return !causes.any(|text| text.starts_with("client error ("));
    }
    error.is_user() || causes.any(|text| text.starts_with("client error (Connect)") || text.starts_with("HTTP connect timeout"))
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::config::http::HttpResponse;
    use aws_sdk_ec2::error::ErrorMetadata;
    use aws_sdk_ec2::operation::create_fleet::CreateFleetError;
    use aws_smithy_types::body::SdkBody;
    use muster_reconciler::refusal::CodeScope;

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)]) -> HttpResponse {
        let mut raw = HttpResponse::new(status.try_into().expect("a status"), SdkBody::empty());
        for (name, value) in headers {
            raw.headers_mut().insert(*name, *value);
        }
        raw
    }

    fn refusal(code: &str, status: u16, headers: &[(&'static str, &'static str)]) -> Failure {
        let meta = ErrorMetadata::builder().code(code).message("so it is").build();
        classify(&SdkError::service_error(CreateFleetError::generic(meta), answer(status, headers)), "launch 5 for pool linux")
    }

    #[test]
    fn a_code_decides_the_kind_and_where_it_says_nothing_the_status_does() {
        use FailureKind::*;
        for (code, status, kind) in [
            ("RequestLimitExceeded", 503, Throttled),
            ("Throttling", 400, Throttled),
            ("ThrottlingException", 400, Throttled),
            ("RequestThrottled", 403, Throttled),
            ("TooManyRequestsException", 429, Throttled),
            ("SlowDown", 503, Throttled),
            ("InvalidInstanceID.NotFound", 400, NotFound),
            ("InvalidLaunchTemplateName.NotFoundException", 400, NotFound),
            ("ParameterNotFound", 400, NotFound),
            ("QueueDoesNotExist", 400, NotFound),
            ("IdempotentParameterMismatch", 400, Conflict),
            ("InternalError", 500, Unavailable),
            ("Unavailable", 503, Unavailable),
            ("GatewayTimeout", 504, Ambiguous),
            ("UnauthorizedOperation", 403, Refused),
            ("InvalidParameterValue", 400, Refused),
        ] {
            assert_eq!(refusal(code, status, &[]).kind, kind, "{code}");
        }
    }

    #[test]
    fn a_message_says_what_was_attempted_what_aws_said_and_how_to_find_it_again() {
        let failure = refusal("Unsupported", 400, &[("x-amzn-requestid", "abc-1")]);
        assert_eq!(failure.message, "launch 5 for pool linux: Unsupported: so it is (request id abc-1)");
        assert_eq!(refusal("SlowDown", 503, &[("retry-after", "7")]).retry_after, Some(Duration::from_secs(7)));
    }

    #[test]
    fn what_aws_writes_is_cut_and_never_an_encoded_text() {
        let denied = format!("You are not authorized.\n Encoded authorization failure message: {}", "Zz9".repeat(900));
        assert_eq!(plain(&denied), "You are not authorized. (AWS's encoded details are in CloudTrail)");
        let long = plain(&"é".repeat(3_000));
        assert!(long.ends_with('…') && long.chars().count() == MESSAGE_MAX + 1);
        assert_eq!(plain(&"x".repeat(MESSAGE_MAX)).len(), MESSAGE_MAX);
        let meta = ErrorMetadata::builder().code("UnauthorizedOperation").message(denied).build();
        let error = SdkError::service_error(CreateFleetError::generic(meta), answer(403, &[]));
        assert!(classify(&error, "launch 5").message.len() < 200);
    }

    #[tokio::test]
    async fn no_part_of_a_secret_is_left_in_a_message_that_is_cut() {
        let secret = "5ecret".repeat(700);
        let meta = ErrorMetadata::builder().code("ValidationException").message(format!("Value '{secret}' at 'value' failed"));
        let error: SdkError<CreateFleetError> =
            SdkError::service_error(CreateFleetError::generic(meta.build()), answer(400, &[]));
        let probe = Probe::default();
        let call = probe.call_hiding("ssm.PutParameter", "store the secret", Some(&secret), async { Err::<(), _>(error) });
        let failed = call.await.expect_err("refused");
        assert_eq!(failed.failure.message, "store the secret: ValidationException: Value '[the secret]' at 'value' failed");
        assert!(!failed.said.contains("5ecret"), "{}", failed.said);
    }

    #[test]
    fn what_the_core_takes_for_a_throttle_or_a_failure_of_ec2_is_classified_so() {
        for known in muster_reconciler::refusal::REFUSALS {
            let (throttled, token) = (known.scope == CodeScope::Throttled, known.scope == CodeScope::Token);
            assert_eq!(kind_of(known.code, 400) == FailureKind::Throttled, throttled, "{}", known.code);
            assert_eq!(kind_of(known.code, 400) == FailureKind::Conflict, token, "{}", known.code);
        }
    }

    #[test]
    fn a_call_that_timed_out_may_have_taken_effect() {
        let error: SdkError<CreateFleetError> = SdkError::timeout_error("20 s passed");
        assert_eq!(classify(&error, "launch").kind, FailureKind::Ambiguous);
    }

    #[test]
    fn an_unreadable_answer_is_judged_by_its_status() {
        let kind = |status| {
            let error: SdkError<CreateFleetError> = SdkError::response_error("not XML", answer(status, &[]));
            classify(&error, "launch").kind
        };
        assert_eq!((kind(200), kind(503), kind(504)), (FailureKind::Ambiguous, FailureKind::Unavailable, FailureKind::Ambiguous));
    }

    #[test]
    fn a_request_that_was_never_built_took_no_effect() {
        let error: SdkError<CreateFleetError> = SdkError::construction_failure("no region");
        let failure = classify(&error, "launch");
        assert_eq!(failure.kind, FailureKind::Unavailable);
        assert!(failure.message.contains("no region"), "{}", failure.message);
    }

    #[test]
    fn every_call_can_be_made_from_a_spawned_task() {
        fn sendable<T: Send>(_: T) {}
        let aws = Aws::new(&SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build());
        sendable(aws.ec2.sweep("prod"));
        sendable(aws.ec2.terminate(&[]));
        sendable(aws.ec2.drain(&[], "why"));
        sendable(aws.sqs.delete("queue", &[]));
        sendable(aws.sqs.change_visibility("queue", &[], 0));
        sendable(aws.sqs.send_batch("queue", &[]));
        sendable(aws.ssm.delete_secrets("prod", &[]));
        sendable(aws.s3.list("bucket", ""));
    }
}
