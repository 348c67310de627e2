//! What EC2 says when it does not launch: every error code that CreateFleet and RunInstances document for a launch. For each
//! code, this list says what is refused, and for how long that is believed. The adapter, [`crate::capacity`], `muster doctor` and
//! `docs/ec2-errors.md` all read this one list.
//!
//! The codes and their meaning are AWS's: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>. A fleet
//! answers with RunInstances' codes for each offering that it tried (`CreateFleetError.ErrorCode`), and with two codes of its
//! own: `InvalidFleetConfiguration` and `UnfulfillableCapacity`. AWS's words and measurements that others published say what is
//! refused; docs/decisions/0008 names them.

use std::time::Duration;

/// How long a shortage that passes by itself is believed. Karpenter has the same figure.
pub const SHORT: Duration = Duration::from_secs(180);

/// How long a refusal is believed that lasts until somebody changes something.
pub const LONG: Duration = Duration::from_secs(6 * 3600);

/// What a code is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CodeScope {
    /// One instance type in one subnet, on one market.
    Offering,
    /// Every instance type in one subnet, or in the zone of the subnet, on both markets.
    Subnet,
    /// Every instance type whose vCPUs count against the same quota, on one market; see [`crate::quota`].
    Quota,
    /// The offerings of this request, on its market. The account has reached a limit other than a vCPU quota.
    Asked,
    /// Nothing, because EC2 did not try this offering. If EC2 says so of all offerings, this is a lack of capacity.
    Untried,
    /// The request: the launch template, a permission or the account. If EC2 says so of some offerings only, it is about these
    /// offerings.
    Request,
    /// The client token, which belongs to another request.
    Token,
    /// The number of calls.
    Throttled,
    /// EC2 itself. The same request may work in a moment.
    Again,
}

impl CodeScope {
    /// In words, for the table in the documentation.
    pub const fn said(self) -> &'static str {
        match self {
            CodeScope::Offering => "this instance type in this subnet, on this market",
            CodeScope::Subnet => "the subnet",
            CodeScope::Quota => "the instance types of the same vCPU quota, on this market",
            CodeScope::Asked => "the offerings that were asked for, on this market",
            CodeScope::Untried => "the offering, if EC2 gives no other code",
            CodeScope::Request => "the request, or only the offerings that EC2 names",
            CodeScope::Token => "the client token",
            CodeScope::Throttled => "the number of calls",
            CodeScope::Again => "nothing: it may work in a moment",
        }
    }
}

/// One error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code as EC2 writes it.
    pub code: &'static str,
    /// What the code is about.
    pub scope: CodeScope,
    /// How long muster leaves alone what is refused. Zero: the code closes no offering.
    pub holds: Duration,
    /// The meaning, as a clause that fits into a reason.
    pub means: &'static str,
}

const fn of(code: &'static str, scope: CodeScope, holds: Duration, means: &'static str) -> Refusal {
    Refusal { code, scope, holds, means }
}

const fn short(scope: CodeScope, code: &'static str, means: &'static str) -> Refusal {
    of(code, scope, SHORT, means)
}

const fn long(scope: CodeScope, code: &'static str, means: &'static str) -> Refusal {
    of(code, scope, LONG, means)
}

const fn request(code: &'static str, means: &'static str) -> Refusal {
    of(code, CodeScope::Request, Duration::ZERO, means)
}

/// All codes, ordered by what they are about.
pub const REFUSALS: &[Refusal] = &[
    short(CodeScope::Offering, "InsufficientInstanceCapacity", "EC2 lacks capacity"),
    short(CodeScope::Offering, "InsufficientCapacity", "EC2 lacks capacity"),
    short(CodeScope::Offering, "InsufficientCapacityOnHost", "the dedicated host is full"),
    short(CodeScope::Offering, "InsufficientHostCapacity", "EC2 lacks dedicated hosts"),
    short(CodeScope::Offering, "InsufficientReservedInstanceCapacity", "the reserved instances are used up"),
    short(CodeScope::Offering, "InsufficientReservedInstancesCapacity", "the reserved instances are used up"),
    short(CodeScope::Offering, "ReservationCapacityExceeded", "the capacity reservation is used up"),
    short(CodeScope::Offering, "UnavailableHostRequirements", "no dedicated host fits"),
    short(CodeScope::Offering, "SpotMaxPriceTooLow", "the spot price is above the most that the launch template pays"),
    short(CodeScope::Untried, "UnfulfillableCapacity", "EC2 lacks capacity, or did not try"),
    long(CodeScope::Offering, "InvalidFleetConfiguration", "EC2 does not offer the type in the zone"),
    long(CodeScope::Offering, "Unsupported", "EC2 does not offer the type with these settings in the zone"),
    long(CodeScope::Offering, "InvalidInstanceType", "EC2 does not launch the type with these settings"),
    long(CodeScope::Offering, "UnsupportedInstanceTypeOnHost", "the dedicated host does not take the type"),
    long(CodeScope::Offering, "EncryptedVolumesNotSupported", "the type takes no encrypted volumes"),
    long(
        CodeScope::Offering,
        "InstanceCreditSpecification.NotSupported",
        "the type has no CPU credits, and the launch template sets them",
    ),
    long(
        CodeScope::Offering,
        "AttachmentLimitExceeded",
        "the type takes fewer volumes or network interfaces than the launch template has",
    ),
    long(
        CodeScope::Offering,
        "InvalidInterface.IpAddressLimitExceeded",
        "the type takes fewer addresses than the launch template gives",
    ),
    long(CodeScope::Offering, "PrivateIpAddressLimitExceeded", "the type takes fewer addresses than the launch template gives"),
    short(CodeScope::Subnet, "InsufficientFreeAddressesInSubnet", "the subnet has no free addresses"),
    short(CodeScope::Subnet, "InsufficientVolumeCapacity", "EC2 lacks EBS capacity in the zone"),
    long(CodeScope::Subnet, "VolumeTypeNotAvailableInZone", "the zone lacks the volume type of the launch template"),
    long(CodeScope::Subnet, "InvalidSubnet", "there is no such subnet"),
    long(CodeScope::Subnet, "InvalidSubnetID.NotFound", "there is no such subnet"),
    long(CodeScope::Subnet, "InvalidSubnetID.Malformed", "there is no such subnet"),
    long(CodeScope::Subnet, "InvalidAvailabilityZone", "the zone cannot be used"),
    long(CodeScope::Subnet, "InvalidZone.NotFound", "the zone cannot be used"),
    short(CodeScope::Quota, "MaxSpotInstanceCountExceeded", "the account's quota of spot vCPUs is used up"),
    short(CodeScope::Quota, "VcpuLimitExceeded", "the account's quota of vCPUs is used up"),
    short(CodeScope::Quota, "InstanceLimitExceeded", "the account's limit of instances is reached"),
    short(CodeScope::Asked, "MaxFleetCountExceeded", "the account's limit of fleets is reached"),
    short(CodeScope::Asked, "MaxSpotFleetRequestCountExceeded", "the account's limit of fleets is reached"),
    short(CodeScope::Asked, "AddressLimitExceeded", "the account's limit of addresses is reached"),
    short(CodeScope::Asked, "InsufficientAddressCapacity", "EC2 lacks addresses"),
    short(CodeScope::Asked, "NetworkInterfaceLimitExceeded", "the account's limit of network interfaces is reached"),
    short(CodeScope::Asked, "VolumeLimitExceeded", "the account's limit of EBS storage is reached"),
    short(CodeScope::Asked, "MaxIOPSLimitExceeded", "the account's limit of EBS IOPS is reached"),
    short(CodeScope::Asked, "VolumeIOPSLimit", "the limit of EBS IOPS is reached"),
    short(CodeScope::Asked, "ResourceLimitExceeded", "a limit of the account is reached"),
    short(
        CodeScope::Asked,
        "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
        "the account lacks the service-linked role of spot, and the controller may not make it",
    ),
    request("UnauthorizedOperation", "the controller lacks a permission"),
    request("AuthFailure", "the credentials may not launch this"),
    request("OptInRequired", "the account has no subscription to what the launch template names"),
    request("PendingVerification", "AWS is verifying the account"),
    request("Blocked", "AWS has blocked the account"),
    request("InvalidAMIID.NotFound", "there is no such image"),
    request("InvalidAMIID.Malformed", "there is no such image"),
    request("InvalidAMIID.Unavailable", "the image can be used no more, or not yet"),
    request("InvalidSnapshot.NotFound", "there is no such snapshot"),
    request("InvalidLaunchTemplateName.NotFoundException", "there is no such launch template"),
    request("InvalidLaunchTemplateName.MalformedException", "there is no such launch template"),
    request("InvalidLaunchTemplateId.NotFound", "there is no such launch template"),
    request("InvalidLaunchTemplateId.Malformed", "there is no such launch template"),
    request("InvalidLaunchTemplateId.VersionNotFound", "the launch template has no such version"),
    request("InvalidGroup.NotFound", "there is no such security group"),
    request("InvalidGroupId.Malformed", "there is no such security group"),
    request("InvalidSecurityGroupID.NotFound", "there is no such security group"),
    request("SecurityGroupLimitExceeded", "the launch template has too many security groups"),
    request("SecurityGroupsPerInstanceLimitExceeded", "the launch template has too many security groups"),
    request("SecurityGroupsPerInterfaceLimitExceeded", "the launch template has too many security groups"),
    request("InvalidKeyPair.NotFound", "there is no such key pair"),
    request("InvalidIamInstanceProfileArn.Malformed", "there is no such instance profile"),
    request("InvalidNetworkInterfaceID.NotFound", "there is no such network interface"),
    request("InvalidNetworkInterface.InUse", "the network interface is in use"),
    request("InvalidPlacementGroup.Unknown", "there is no such placement group"),
    request("InvalidCapacityReservationIdNotFoundException", "there is no such capacity reservation"),
    request("InvalidCapacityReservationIdMalformedException", "there is no such capacity reservation"),
    request("InvalidHostID.NotFound", "there is no such dedicated host"),
    request("InvalidHostId.NotFound", "there is no such dedicated host"),
    request("InvalidHostConfiguration", "the dedicated host does not fit"),
    request("IncompatibleHostRequirements", "no dedicated host fits"),
    request("UnsupportedHostConfiguration", "the dedicated host does not fit"),
    request("ZonesMismatched", "the dedicated host is in another zone"),
    request("InvalidAffinity", "the launch template's host affinity is wrong"),
    request("InvalidTenancy", "the launch template's tenancy is wrong"),
    request("UnsupportedTenancy", "the launch template's tenancy is wrong"),
    request("InvalidBlockDeviceMapping", "the launch template's volumes are wrong"),
    request("BootForVolumeTypeUnsupported", "the launch template's root volume is of a type that cannot boot"),
    request("UnknownVolumeType", "the launch template's volume type is wrong"),
    request("CustomerKeyHasBeenRevoked", "the key that encrypts the volumes cannot be used"),
    request("UnsupportedHibernationConfiguration", "the launch template's hibernation is wrong"),
    request("InvalidCpuCredits.Malformed", "the launch template's CPU credits are wrong"),
    request("InvalidInstanceAttributeValue", "the launch template holds a wrong value"),
    request("InvalidKernelId.Malformed", "the launch template's kernel is wrong"),
    request("InvalidRamDiskId.Malformed", "the launch template's RAM disk is wrong"),
    request("InvalidFpgaImageID.NotFound", "there is no such FPGA image"),
    request("InvalidFpgaImageID.Malformed", "there is no such FPGA image"),
    request("InvalidTagKey.Malformed", "a tag's key is wrong"),
    request("TagLimitExceeded", "there are too many tags"),
    request("DefaultVpcDoesNotExist", "there is no default VPC"),
    request("VPCIdNotSpecified", "there is no default VPC"),
    request("VPCResourceNotSpecified", "a subnet is missing"),
    request("OperationNotPermitted", "EC2 does not allow this"),
    request("UnsupportedOperation", "EC2 does not launch this with these settings"),
    request("InvalidParameter", "the request or the launch template holds a wrong value"),
    request("InvalidParameterValue", "the request or the launch template holds a wrong value"),
    request("InvalidParameterCombination", "the request or the launch template holds values that do not go together"),
    request("InvalidInput", "the request or the launch template holds a wrong value"),
    request("InvalidRequest", "the request or the launch template is wrong"),
    request("InvalidClientToken", "the request's client token is wrong"),
    request("MissingInput", "the request or the launch template lacks a value"),
    request("MissingParameter", "the request or the launch template lacks a value"),
    request("UnknownParameter", "the request holds an unknown value"),
    request("ValidationError", "the request or the launch template holds a wrong value"),
    request("RequestResourceCountExceeded", "the request asks for too many instances at once"),
    request("ResourceCountExceeded", "the request asks for too many instances at once"),
    request("RequestExpired", "the clock of the controller's machine is wrong"),
    request("IdempotentInstanceTerminated", "what the client token launched has ended"),
    of("IdempotentParameterMismatch", CodeScope::Token, Duration::ZERO, "the client token belongs to another request"),
    of("RequestLimitExceeded", CodeScope::Throttled, Duration::ZERO, "too many calls"),
    of("Throttling", CodeScope::Throttled, Duration::ZERO, "too many calls"),
    of("ThrottlingException", CodeScope::Throttled, Duration::ZERO, "too many calls"),
    of("IncorrectState", CodeScope::Again, Duration::ZERO, "something that is needed is not ready yet"),
    of("ConcurrentTagAccess", CodeScope::Again, Duration::ZERO, "two calls tag the same thing"),
    of(
        "CreditSpecificationUpdateInProgress",
        CodeScope::Again,
        Duration::ZERO,
        "the account's default CPU credits are being changed",
    ),
    of("InternalError", CodeScope::Again, Duration::ZERO, "EC2 failed"),
    of("InternalFailure", CodeScope::Again, Duration::ZERO, "EC2 failed"),
    of("ServiceUnavailable", CodeScope::Again, Duration::ZERO, "EC2 failed"),
    of("Unavailable", CodeScope::Again, Duration::ZERO, "EC2 is overloaded"),
];

/// What an unknown code means: it is first taken to be about its offering.
pub const UNKNOWN: Refusal = short(CodeScope::Offering, "", "EC2 refuses it");

/// A spot interruption, which shows that the offering is short of capacity.
pub const INTERRUPTED: Refusal = short(CodeScope::Offering, "interrupted", "spot took back an instance of this kind");

impl Refusal {
    /// The meaning of a code. None: the code is not on the list.
    pub fn known(code: &str) -> Option<Refusal> {
        REFUSALS.iter().find(|r| r.code == code).copied()
    }

    /// The meaning of a code. An unknown code is [`UNKNOWN`].
    pub fn of(code: &str) -> Refusal {
        Refusal::known(code).unwrap_or(UNKNOWN)
    }

    /// Whether the code is about offerings, so that the pool may ask for others at once.
    pub const fn of_offerings(self) -> bool {
        matches!(self.scope, CodeScope::Offering | CodeScope::Subnet | CodeScope::Quota | CodeScope::Asked | CodeScope::Untried)
    }

    /// Whether the refusal passes by itself, so that EC2's message adds nothing.
    pub fn passes(self) -> bool {
        self.holds == SHORT && self != UNKNOWN
    }
}

/// The table of `docs/ec2-errors.md`.
pub fn table() -> String {
    let mut text = String::from("| code | what it means | what is refused | left alone for |\n|---|---|---|---|\n");
    for r in REFUSALS {
        let holds = match r.holds {
            Duration::ZERO => "-".to_owned(),
            holds => crate::time::human(holds).to_string(),
        };
        text += &format!("| `{}` | {} | {} | {holds} |\n", r.code, r.means, r.scope.said());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_code_stands_once_and_holds_only_where_something_is_left_alone() {
        let codes: BTreeSet<&str> = REFUSALS.iter().map(|r| r.code).collect();
        assert_eq!(codes.len(), REFUSALS.len());
        assert!(REFUSALS.iter().all(|r| r.of_offerings() != r.holds.is_zero()));
        assert!(REFUSALS.iter().all(|r| !r.means.is_empty() && !r.means.ends_with('.') && r.means.is_ascii()));
    }

    #[test]
    fn an_unknown_code_is_about_its_offering_first() {
        assert_eq!((Refusal::known("BrandNew"), Refusal::of("BrandNew").scope), (None, CodeScope::Offering));
    }
}
