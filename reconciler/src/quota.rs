//! EC2's vCPU quotas, and which one an instance type counts against. An account has one quota for each class of families and each
//! market. If one quota is used up, instances of the other classes can still be launched.
//! <https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html>

use crate::market::Market;

/// A class of instance families that share a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaClass {
    /// The families A, C, D, H, I, M, R, T and Z.
    Standard,
    /// The family DL.
    Dl,
    /// The family F.
    F,
    /// The families G and VT.
    GAndVt,
    /// The family U: high memory.
    HighMemory,
    /// The family HPC.
    Hpc,
    /// The family Inf.
    Inf,
    /// The family P, except P5.
    P,
    /// P5, which has a quota of its own on spot, and shares the quota of P on demand.
    P5,
    /// The family Trn.
    Trn,
    /// The family X.
    X,
}

impl QuotaClass {
    /// All classes.
    pub const ALL: [QuotaClass; 11] = [
        QuotaClass::Standard,
        QuotaClass::Dl,
        QuotaClass::F,
        QuotaClass::GAndVt,
        QuotaClass::HighMemory,
        QuotaClass::Hpc,
        QuotaClass::Inf,
        QuotaClass::P,
        QuotaClass::P5,
        QuotaClass::Trn,
        QuotaClass::X,
    ];

    /// The class of an instance type such as `m7i.large`. None: its family has no vCPU quota (Macs), or muster does not know the
    /// family.
    pub fn of(instance_type: &str) -> Option<QuotaClass> {
        let family = instance_type.split('.').next().unwrap_or_default();
        let letters = family.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        Some(match letters {
            // `im4gn` and `is4gen` belong to the family I.
            "a" | "c" | "d" | "h" | "i" | "im" | "is" | "m" | "r" | "t" | "z" => QuotaClass::Standard,
            "dl" => QuotaClass::Dl,
            "f" => QuotaClass::F,
            "g" | "gr" | "vt" => QuotaClass::GAndVt,
            "u" => QuotaClass::HighMemory,
            "hpc" => QuotaClass::Hpc,
            "inf" => QuotaClass::Inf,
            "p" if family.starts_with("p5") => QuotaClass::P5,
            "p" => QuotaClass::P,
            "trn" => QuotaClass::Trn,
            "x" => QuotaClass::X,
            _ => return None,
        })
    }

    /// The families, in AWS's words.
    pub const fn as_str(self) -> &'static str {
        match self {
            QuotaClass::Standard => "standard (A, C, D, H, I, M, R, T, Z)",
            QuotaClass::Dl => "DL",
            QuotaClass::F => "F",
            QuotaClass::GAndVt => "G and VT",
            QuotaClass::HighMemory => "high memory (U)",
            QuotaClass::Hpc => "HPC",
            QuotaClass::Inf => "Inf",
            QuotaClass::P => "P",
            QuotaClass::P5 => "P5",
            QuotaClass::Trn => "Trn",
            QuotaClass::X => "X",
        }
    }

    /// The code of the quota in Service Quotas. None: AWS names none.
    pub const fn code(self, market: Market) -> Option<&'static str> {
        Some(match (self, market) {
            (QuotaClass::Standard, Market::OnDemand) => "L-1216C47A",
            (QuotaClass::Standard, Market::Spot) => "L-34B43A08",
            (QuotaClass::Dl, Market::OnDemand) => "L-6E869C2A",
            (QuotaClass::Dl, Market::Spot) => "L-85EED4F7",
            (QuotaClass::F, Market::OnDemand) => "L-74FC7D96",
            (QuotaClass::F, Market::Spot) => "L-88CF9481",
            (QuotaClass::GAndVt, Market::OnDemand) => "L-DB2E81BA",
            (QuotaClass::GAndVt, Market::Spot) => "L-3819A6DF",
            (QuotaClass::HighMemory, Market::OnDemand) => "L-43DA4232",
            (QuotaClass::Hpc, Market::OnDemand) => "L-F7808C92",
            (QuotaClass::HighMemory | QuotaClass::Hpc, Market::Spot) => return None,
            (QuotaClass::Inf, Market::OnDemand) => "L-1945791B",
            (QuotaClass::Inf, Market::Spot) => "L-B5D1601B",
            (QuotaClass::P | QuotaClass::P5, Market::OnDemand) => "L-417A185B",
            (QuotaClass::P, Market::Spot) => "L-7212CCBC",
            (QuotaClass::P5, Market::Spot) => "L-C4BD4855",
            (QuotaClass::Trn, Market::OnDemand) => "L-2C3B7624",
            (QuotaClass::Trn, Market::Spot) => "L-6B0D517C",
            (QuotaClass::X, Market::OnDemand) => "L-7295265B",
            (QuotaClass::X, Market::Spot) => "L-E3A00192",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_counts_against_its_class() {
        for (class, names) in [
            (
                QuotaClass::Standard,
                &["m7i.large", "m7i-flex.large", "c7gn.xlarge", "im4gn.large", "is4gen.large", "t4g.micro"][..],
            ),
            (QuotaClass::GAndVt, &["g5.xlarge", "gr6.4xlarge", "g5g.xlarge", "vt1.3xlarge"]),
            (QuotaClass::P, &["p4d.24xlarge", "p6-b200.48xlarge"]),
            (QuotaClass::P5, &["p5.48xlarge", "p5en.48xlarge"]),
            (QuotaClass::X, &["x2idn.16xlarge", "x8g.large"]),
            (QuotaClass::HighMemory, &["u-6tb1.metal", "u7i-12tb.224xlarge"]),
            (QuotaClass::Hpc, &["hpc7a.96xlarge"]),
            (QuotaClass::Inf, &["inf2.xlarge"]),
            (QuotaClass::Trn, &["trn1.2xlarge", "trn1n.32xlarge"]),
            (QuotaClass::Dl, &["dl1.24xlarge", "dl2q.24xlarge"]),
            (QuotaClass::F, &["f2.6xlarge"]),
        ] {
            assert!(names.iter().all(|name| QuotaClass::of(name) == Some(class)), "{class:?}");
        }
        assert_eq!((QuotaClass::of("mac2-m2.metal"), QuotaClass::of("")), (None, None));
    }

    #[test]
    fn no_two_classes_share_a_quota_but_p_and_p5_on_demand() {
        let codes =
            |market| QuotaClass::ALL.iter().filter_map(|class| class.code(market)).collect::<std::collections::BTreeSet<_>>();
        assert_eq!((codes(Market::Spot).len(), codes(Market::OnDemand).len()), (9, 10));
        assert!(codes(Market::Spot).is_disjoint(&codes(Market::OnDemand)));
    }
}
