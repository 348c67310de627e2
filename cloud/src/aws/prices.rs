//! Prices: EC2's spot price history, and AWS's Price List. muster makes a handful of these calls a day, and nothing waits for
//! them.

pub mod answer;

use std::time::SystemTime;

use aws_config::{Region, SdkConfig};
use aws_sdk_ec2::types;
use aws_sdk_pricing::types::{Filter, FilterType};
use muster_reconciler::failure::Failure;
use muster_reconciler::manifest::Os;

use super::Probe;

/// Prices on one page of the spot price history. 100 types in six zones under two systems have 1,200 prices, and `SPOT_PAGES`
/// pages are the most that are read.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html>
const SPOT_PAGE: i32 = 1_000;
const SPOT_PAGES: usize = 20;
/// The most pages that are read of one type's products. With all filters there is one product, on one page.
const LIST_PAGES: usize = 5;
/// Subnets in one DescribeSubnets call.
const SUBNETS: usize = 200;

/// The adapter for EC2's spot prices and for AWS's Price List.
#[derive(Clone, Debug)]
pub struct PriceApi {
    ec2: aws_sdk_ec2::Client,
    /// None: the region's partition has no Price List API.
    list: Option<aws_sdk_pricing::Client>,
    region: Option<String>,
    pub(super) probe: Probe,
}

/// The spot price of one instance type under one operating system in one zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Spot {
    /// The instance type, such as `m7i.large`.
    pub instance_type: String,
    /// The operating system, whose licence may be in the price.
    pub os: Os,
    /// The availability zone, such as `eu-west-1a`.
    pub zone: String,
    /// The price of one hour, in the currency that [`answer::currency`] gives for the region.
    pub hour: f64,
    /// Since when the price holds, in seconds since 1970.
    pub since_s: i64,
}

impl PriceApi {
    pub(super) fn new(config: &SdkConfig, probe: Probe) -> PriceApi {
        let region = config.region().map(|region| region.as_ref().to_owned());
        let list = region.as_deref().and_then(answer::endpoint_region).map(|endpoint| {
            let config = aws_sdk_pricing::config::Builder::from(config).region(Region::from_static(endpoint)).build();
            aws_sdk_pricing::Client::from_conf(config)
        });
        PriceApi { ec2: aws_sdk_ec2::Client::new(config), list, region, probe }
    }

    /// The region whose prices are read. None: no region is known.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// Whether the region's partition has a Price List API.
    pub fn has_list(&self) -> bool {
        self.list.is_some()
    }

    /// The availability zones of the subnets. A zone comes once for each of its subnets.
    pub async fn zones(&self, subnets: &[String]) -> Result<Vec<String>, Failure> {
        let mut zones = Vec::new();
        for some in subnets.chunks(SUBNETS) {
            let call = self.ec2.describe_subnets().set_subnet_ids(Some(some.to_vec()));
            let answer = self.probe.call("ec2.DescribeSubnets", "look up the zones of the pools' subnets", call.send()).await?;
            zones.extend(answer.subnets().iter().filter_map(|subnet| subnet.availability_zone().map(str::to_owned)));
        }
        Ok(zones)
    }

    /// The spot prices that hold now. When start and end are the same, EC2 answers with "the last price change before the start
    /// time, which is the effective price as of the start time".
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html>
    pub async fn spot(&self, types: &[String], systems: &[Os]) -> Result<Vec<Spot>, Failure> {
        let now = aws_smithy_types::DateTime::from(SystemTime::now());
        let names: Vec<types::InstanceType> = types.iter().map(|name| name.as_str().into()).collect();
        let products: Vec<String> = systems.iter().map(|os| answer::product(*os).to_owned()).collect();
        let (mut prices, mut next) = (Vec::new(), None);
        for _ in 0..SPOT_PAGES {
            let call = self
                .ec2
                .describe_spot_price_history()
                .set_instance_types(Some(names.clone()))
                .set_product_descriptions(Some(products.clone()))
                .start_time(now)
                .end_time(now)
                .max_results(SPOT_PAGE)
                .set_next_token(next);
            let answer = self.probe.call("ec2.DescribeSpotPriceHistory", "read spot prices", call.send()).await?;
            prices.extend(answer.spot_price_history().iter().filter_map(spot));
            next = answer.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next.is_none() {
                break;
            }
        }
        Ok(prices)
    }

    /// The products of an instance type under an operating system that are paid for by the hour: the elements of `PriceList`, as
    /// AWS sends them. The answer is empty in a region that has no Price List API.
    /// <https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_GetProducts.html>
    pub async fn products(&self, instance_type: &str, os: Os) -> Result<Vec<String>, Failure> {
        let (Some(list), Some(region)) = (&self.list, &self.region) else { return Ok(Vec::new()) };
        let wanted = [
            ("instanceType", instance_type),
            ("regionCode", region),
            ("operatingSystem", answer::system(os)),
            ("tenancy", "Shared"),
            ("preInstalledSw", "NA"),
            ("capacitystatus", "Used"),
        ];
        // The price includes the licence, as it does for muster's Windows instances. Linux has the same value here.
        let wanted = wanted.into_iter().chain([("licenseModel", "No License required")]);
        let filters: Vec<Filter> = wanted
            .filter_map(|(field, value)| Filter::builder().r#type(FilterType::TermMatch).field(field).value(value).build().ok())
            .collect();
        let what = format!("read the on-demand price of {instance_type}");
        let (mut products, mut next) = (Vec::new(), None);
        for _ in 0..LIST_PAGES {
            let call = list.get_products().service_code("AmazonEC2").set_filters(Some(filters.clone())).set_next_token(next);
            let answer = self.probe.call("pricing.GetProducts", &what, call.send()).await?;
            products.extend(answer.price_list().iter().cloned());
            next = answer.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next.is_none() {
                break;
            }
        }
        Ok(products)
    }
}

fn spot(price: &types::SpotPrice) -> Option<Spot> {
    Some(Spot {
        instance_type: price.instance_type()?.as_str().to_owned(),
        os: answer::os_of_product(price.product_description()?.as_str())?,
        zone: price.availability_zone()?.to_owned(),
        hour: answer::amount(price.spot_price()?)?,
        since_s: price.timestamp().map_or(0, aws_smithy_types::DateTime::secs),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example comes from AWS's documentation.
    #[test]
    fn a_spot_price_is_read_as_documented_and_others_systems_are_left_out() {
        let said = |product: &str, price: &str| {
            types::SpotPrice::builder()
                .instance_type(types::InstanceType::from("m1.xlarge"))
                .product_description(product.into())
                .spot_price(price)
                .availability_zone("us-west-1b")
                .timestamp(aws_smithy_types::DateTime::from_secs(1_389_078_655))
                .build()
        };
        let read = spot(&said("Linux/UNIX", "0.087000")).expect("a price");
        let wanted = Spot {
            instance_type: "m1.xlarge".into(),
            os: Os::Linux,
            zone: "us-west-1b".into(),
            hour: 0.087,
            since_s: 1_389_078_655,
        };
        assert_eq!(read, wanted);
        assert_eq!(spot(&said("SUSE Linux", "0.087000")), None);
        assert_eq!(spot(&said("Windows", "")), None);
    }
}
