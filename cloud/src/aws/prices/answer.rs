//! Reads what AWS says of prices. These are pure functions, tested with the examples of AWS's documentation.

use muster_reconciler::manifest::Os;
use serde::Deserialize;
use serde_json::Value;

/// The region whose Price List endpoint answers for prices of `region`. There is one endpoint in the Americas, one in Europe, one
/// in Asia, and one for China. None: AWS GovCloud has no endpoint, and its credentials are not valid at another one.
/// <https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html>
pub fn endpoint_region(region: &str) -> Option<&'static str> {
    match region.split('-').next().unwrap_or_default() {
        "cn" => Some("cn-northwest-1"),
        _ if region.starts_with("us-gov-") || region.starts_with("us-iso") => None,
        "eu" | "me" | "af" | "il" => Some("eu-central-1"),
        "ap" => Some("ap-south-1"),
        _ => Some("us-east-1"),
    }
}

/// The currency of a region's prices, such as `USD`.
pub fn currency(region: &str) -> &'static str {
    if region.starts_with("cn-") { "CNY" } else { "USD" }
}

/// The name of an operating system in the Price List API (`operatingSystem`).
pub const fn system(os: Os) -> &'static str {
    match os {
        Os::Linux => "Linux",
        Os::Windows => "Windows",
    }
}

/// The name of an operating system in EC2's spot price history (`ProductDescription`).
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SpotPrice.html>
pub const fn product(os: Os) -> &'static str {
    match os {
        Os::Linux => "Linux/UNIX",
        Os::Windows => "Windows",
    }
}

/// The operating system of a spot price. None: a system that muster does not launch.
pub fn os_of_product(product: &str) -> Option<Os> {
    match product.trim_end_matches(" (Amazon VPC)") {
        "Linux/UNIX" => Some(Os::Linux),
        "Windows" => Some(Os::Windows),
        _ => None,
    }
}

/// Reads the price of an hour. None: the text is no such price. Zero counts as no price, because AWS lists zero for hours that
/// are paid for in another way.
pub fn amount(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|hour| hour.is_finite() && *hour > 0.0 && *hour < 1000.0)
}

/// A product of the price list, as far as muster needs it.
#[derive(Deserialize)]
struct Product {
    product: ProductJson,
    terms: PriceTerms,
}

#[derive(Deserialize)]
struct ProductJson {
    attributes: Attributes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attributes {
    instance_type: Option<String>,
    operating_system: Option<String>,
    region_code: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PriceTerms {
    #[serde(default)]
    on_demand: serde_json::Map<String, Value>,
}

/// The on-demand price of one instance type under one operating system.
#[derive(Clone, Debug, PartialEq)]
pub struct OnDemand {
    /// The instance type, such as `m7i.large`.
    pub instance_type: String,
    /// The operating system, whose licence is in the price.
    pub os: Os,
    /// The price of one hour, in the currency that was asked for.
    pub hour: f64,
}

/// Reads one element of GetProducts' `PriceList`: a JSON text that describes a product and its terms. None: the product has no
/// price of an hour in `currency` in `region`.
///
/// # Errors
///
/// When the text is not what AWS documents.
/// <https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/reading-service-price-list-file.html>
pub fn on_demand(text: &str, region: &str, currency: &str) -> Result<Option<OnDemand>, serde_json::Error> {
    let Product { product: ProductJson { attributes }, terms } = serde_json::from_str(text)?;
    let os = match attributes.operating_system.as_deref() {
        Some("Linux") => Os::Linux,
        Some("Windows") => Os::Windows,
        _ => return Ok(None),
    };
    let Some(instance_type) = attributes.instance_type.filter(|_| attributes.region_code.as_deref().is_none_or(|r| r == region))
    else {
        return Ok(None);
    };
    let dimensions = terms.on_demand.values().filter_map(|term| term["priceDimensions"].as_object()).flat_map(|all| all.values());
    let hours = dimensions.filter(|d| d["unit"].as_str().is_some_and(|unit| unit.eq_ignore_ascii_case("hrs")));
    let hour = hours.filter_map(|d| amount(d["pricePerUnit"][currency].as_str()?)).next();
    Ok(hour.map(|hour| OnDemand { instance_type, os, hour }))
}

#[cfg(test)]
mod tests {
    use super::product as product_of;
    use super::*;

    /// The example of GetProducts in AWS's documentation, shortened, with the fields of an instance.
    /// <https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_GetProducts.html>
    fn listed(unit: &str, price: &str) -> String {
        serde_json::json!({
            "product": {
                "productFamily": "Compute Instance",
                "attributes": {
                    "instanceType": "m7i.large", "operatingSystem": "Linux", "regionCode": "eu-west-1", "tenancy": "Shared",
                    "preInstalledSw": "NA", "capacitystatus": "Used", "servicecode": "AmazonEC2", "vcpu": "2",
                },
                "sku": "3EKTV2HQDSUBRWSZ",
            },
            "serviceCode": "AmazonEC2",
            "terms": {
                "OnDemand": { "3EKTV2HQDSUBRWSZ.JRTCKXETXF": {
                    "priceDimensions": { "3EKTV2HQDSUBRWSZ.JRTCKXETXF.6YS6EN2CT7": {
                        "unit": unit, "endRange": "Inf", "beginRange": "0", "appliesTo": [],
                        "description": "$0.1123 per On Demand Linux m7i.large Instance Hour",
                        "rateCode": "3EKTV2HQDSUBRWSZ.JRTCKXETXF.6YS6EN2CT7", "pricePerUnit": { "USD": price },
                    } },
                    "sku": "3EKTV2HQDSUBRWSZ", "effectiveDate": "2026-11-01T00:00:00Z", "offerTermCode": "JRTCKXETXF",
                    "termAttributes": {},
                } },
                "Reserved": { "3EKTV2HQDSUBRWSZ.38NPMPTW36": { "priceDimensions": { "x": {
                    "unit": "Hrs", "pricePerUnit": { "USD": "0.0500000000" } } } } },
            },
            "version": "20261101000000", "publicationDate": "2026-11-01T00:00:00Z",
        })
        .to_string()
    }

    #[test]
    fn an_on_demand_price_is_read_from_the_documented_answer() {
        let read = |text: &str| on_demand(text, "eu-west-1", "USD").expect("AWS's form");
        let wanted = OnDemand { instance_type: "m7i.large".into(), os: Os::Linux, hour: 0.1123 };
        assert_eq!(read(&listed("Hrs", "0.1123000000")), Some(wanted));
        assert_eq!(read(&listed("Hrs", "0.0000000000")), None, "zero is no price");
        assert_eq!(read(&listed("Quantity", "50.0")), None, "an upfront fee is no hour");
        assert_eq!(on_demand(&listed("Hrs", "0.1"), "us-east-1", "USD").expect("AWS's form"), None, "another region's");
        assert_eq!(on_demand(&listed("Hrs", "0.1"), "eu-west-1", "CNY").expect("AWS's form"), None, "another currency");
        assert_eq!(read(&listed("Hrs", "0.1").replace("\"Linux\"", "\"RHEL\"")), None, "another system");
        assert!(on_demand("{}", "eu-west-1", "USD").is_err() && on_demand("no", "eu-west-1", "USD").is_err());
    }

    #[test]
    fn the_nearest_endpoint_of_the_partition_is_asked() {
        for (region, endpoint) in [
            ("us-east-1", Some("us-east-1")),
            ("sa-east-1", Some("us-east-1")),
            ("eu-west-1", Some("eu-central-1")),
            ("me-south-1", Some("eu-central-1")),
            ("ap-southeast-2", Some("ap-south-1")),
            ("cn-north-1", Some("cn-northwest-1")),
            ("us-gov-west-1", None),
        ] {
            assert_eq!(endpoint_region(region), endpoint, "{region}");
        }
    }

    #[test]
    fn spot_prices_are_of_the_systems_that_pools_have() {
        assert_eq!(os_of_product("Linux/UNIX (Amazon VPC)"), Some(Os::Linux));
        assert_eq!(os_of_product("Windows"), Some(Os::Windows));
        assert_eq!(os_of_product("SUSE Linux"), None);
        for os in [Os::Linux, Os::Windows] {
            assert_eq!(os_of_product(product_of(os)), Some(os));
        }
        for text in ["", "0", "0.000", "-1", "NaN", "inf", "1e9", "x"] {
            assert_eq!(amount(text), None, "{text}");
        }
        assert_eq!(amount("0.040100"), Some(0.0401));
    }
}
