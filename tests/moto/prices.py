"""Prices. moto lacks some of them (the Price List API), and invents the others (0.00001 for every type and every question).

The figures are made up; the form is the vendor's:
https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_GetProducts.html
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html
"""

import json
from xml.sax.saxutils import escape

from werkzeug.wrappers import Response

EC2_NS = "http://ec2.amazonaws.com/doc/2016-11-15"
# What an hour costs: on demand for Linux and for Windows, and as spot in each zone. A type that is not here has no price.
ON_DEMAND = {"m7i.large": ("0.1123000000", "0.2043000000"), "m6i.large": ("0.1070000000", "0.1990000000")}
SPOT = {"m7i.large": {"a": "0.040000", "b": "0.050000", "c": "0.900000"}, "m6i.large": {"a": "0.030000", "b": "0.030000", "c": "0.900000"}}


def product(region, name, system, price):
    sku = f"SKU{name.replace('.', '').upper()}{system.upper()}"
    term, rate = f"{sku}.JRTCKXETXF", f"{sku}.JRTCKXETXF.6YS6EN2CT7"
    return {
        "product": {
            "productFamily": "Compute Instance",
            "attributes": {
                "instanceType": name, "operatingSystem": system, "regionCode": region, "tenancy": "Shared", "preInstalledSw": "NA",
                "capacitystatus": "Used", "licenseModel": "No License required", "servicecode": "AmazonEC2",
            },
            "sku": sku,
        },
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": {term: {
            "priceDimensions": {rate: {
                "unit": "Hrs", "beginRange": "0", "endRange": "Inf", "appliesTo": [], "rateCode": rate,
                "description": f"${price} per On Demand {system} {name} Instance Hour", "pricePerUnit": {"USD": price},
            }},
            "sku": sku, "effectiveDate": "2026-11-01T00:00:00Z", "offerTermCode": "JRTCKXETXF", "termAttributes": {},
        }}},
        "version": "20261101000000",
        "publicationDate": "2026-11-01T00:00:00Z",
    }


def products(call):
    """Answers GetProducts with the product of the type and the system that the filters name, if it has a price."""
    said = json.loads(call.body)
    wanted = {f["Field"]: f["Value"] for f in said.get("Filters", []) if f["Type"] == "TERM_MATCH"}
    prices = ON_DEMAND.get(wanted.get("instanceType"), ())
    found = [
        json.dumps(product(wanted["regionCode"], wanted["instanceType"], system, price))
        for system, price in zip(("Linux", "Windows"), prices)
        if wanted.get("operatingSystem") == system
    ]
    return Response(json.dumps({"FormatVersion": "aws_v1", "PriceList": found}), content_type="application/x-amz-json-1.1")


def spot(call):
    """Answers DescribeSpotPriceHistory for equal start and end: the current price for each type, system and zone."""
    types = [value for key, value in call.form.items() if key.startswith("InstanceType.")]
    systems = [value for key, value in call.form.items() if key.startswith("ProductDescription.")]
    items = "".join(
        f"<item><instanceType>{escape(name)}</instanceType><productDescription>{escape(system)}</productDescription>"
        f"<spotPrice>{price}</spotPrice><timestamp>2026-11-29T04:55:01.000Z</timestamp>"
        f"<availabilityZone>{call.region}{zone}</availabilityZone></item>"
        for name in types for system in systems for zone, price in SPOT.get(name, {}).items()
    )
    return Response(
        f'<?xml version="1.0" encoding="UTF-8"?><DescribeSpotPriceHistoryResponse xmlns="{EC2_NS}">'
        "<requestId>00000000-0000-0000-0000-000000000000</requestId>"
        f"<spotPriceHistorySet>{items}</spotPriceHistorySet><nextToken/></DescribeSpotPriceHistoryResponse>",
        content_type="text/xml;charset=UTF-8",
    )
