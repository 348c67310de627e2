//! The calls that only doctor makes, and dry runs of the controller's calls. The adapters in [`crate::aws`] make only calls that
//! the controller needs, so doctor's other calls are here. None of them changes anything.

use aws_config::SdkConfig;
use muster_reconciler::failure::Failure;

use super::finding::is_refusal;
use crate::aws::{CallError, Probe};

/// Clients for the calls that only doctor makes.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) ec2: aws_sdk_ec2::Client,
    pub(super) sqs: aws_sdk_sqs::Client,
    pub(super) sts: aws_sdk_sts::Client,
    pub(super) quotas: aws_sdk_servicequotas::Client,
    pub(super) probe: Probe,
    pub(super) region: Option<String>,
}

impl Look {
    pub(super) fn new(config: &SdkConfig) -> Look {
        Look {
            ec2: aws_sdk_ec2::Client::new(config),
            sqs: aws_sdk_sqs::Client::new(config),
            sts: aws_sdk_sts::Client::new(config),
            quotas: aws_sdk_servicequotas::Client::new(config),
            probe: Probe::default(),
            region: config.region().map(|region| region.as_ref().to_owned()),
        }
    }
}

/// How a dry run ended. EC2 answers every dry run with an error. The error is `DryRunOperation` if EC2 would have made the call.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html>
#[derive(Debug, PartialEq)]
pub(super) enum DryRun {
    /// EC2 would have made the call.
    Allowed,
    /// IAM refuses the call.
    Refused(Failure),
    /// EC2 finds another fault in the call, or did not answer.
    Other(Failure),
}

impl DryRun {
    pub(super) fn of<T>(answer: Result<T, CallError>) -> DryRun {
        match answer {
            // An emulator that knows no dry runs may answer with a success. EC2 never does.
            Ok(_) => DryRun::Allowed,
            Err(error) if error.code == "DryRunOperation" => DryRun::Allowed,
            Err(error) if is_refusal(&error.failure) => DryRun::Refused(error.failure),
            Err(error) => DryRun::Other(error.failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_reconciler::failure::FailureKind;

    use super::*;

    #[test]
    fn a_dry_run_is_read_by_its_error() {
        let answer = |code: &str| -> DryRun {
            let failure = Failure { code: Some(code.into()), ..Failure::new(FailureKind::Refused, "try: so it is") };
            DryRun::of(Err::<(), _>(CallError { code: code.into(), said: String::new(), status: 412, failure }))
        };
        assert_eq!(answer("DryRunOperation"), DryRun::Allowed);
        assert!(matches!(answer("UnauthorizedOperation"), DryRun::Refused(_)));
        assert!(matches!(answer("InvalidParameterValue"), DryRun::Other(_)));
    }
}
