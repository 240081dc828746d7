use super::*;

/// Prices of published tests and pages, with what they cost there: the amounts of the lines.
const GOLDEN: &[(&str, &str, &str, &[&str])] = &[
    // docs.stripe.com/products-prices/pricing-models: the same tiers, by volume and graduated.
    ("volume: [{up_to: 5, unit: 7}, {up_to: 10, unit: '6.5'}, {unit: 6}]", "", "1", &["7"]),
    ("volume: [{up_to: 5, unit: 7}, {up_to: 10, unit: '6.5'}, {unit: 6}]", "", "5", &["35"]),
    ("volume: [{up_to: 5, unit: 7}, {up_to: 10, unit: '6.5'}, {unit: 6}]", "", "6", &["39"]),
    ("volume: [{up_to: 5, unit: 7}, {up_to: 10, unit: '6.5'}, {unit: 6}]", "", "20", &["120"]),
    ("volume: [{up_to: 5, unit: 7}, {up_to: 10, unit: '6.5'}, {unit: 6}]", "", "25", &["150"]),
    ("graduated: [{up_to: 5, unit: 7}, {up_to: 10, unit: '6.5'}, {unit: 6}]", "", "5", &["35"]),
    (
        "graduated: [{up_to: 5, unit: 7}, {up_to: 10, unit: '6.5'}, {unit: 6}]",
        "",
        "6",
        &["35", "6.50"],
    ),
    (
        "graduated: [{up_to: 5, unit: 7}, {up_to: 10, unit: '6.5'}, {unit: 6}]",
        "",
        "20",
        &["35", "32.50", "60"],
    ),
    (
        "graduated: [{up_to: 5, unit: 7}, {up_to: 10, unit: '6.5'}, {unit: 6}]",
        "",
        "25",
        &["35", "32.50", "90"],
    ),
    (
        "graduated: [{up_to: '0.1', unit: 10}, {up_to: 1, unit: 5}, {unit: 2}]",
        "",
        "'0.05'",
        &["0.50"],
    ),
    (
        "graduated: [{up_to: '0.1', unit: 10}, {up_to: 1, unit: 5}, {unit: 2}]",
        "",
        "'0.5'",
        &["1", "2"],
    ),
    // OpenMeter: tieredgraduated_test, tieredvolume_test, package_test, unit_test.
    (
        "graduated: [{up_to: 5, flat: 100}, {up_to: 10, flat: 50}, {up_to: 15, unit: 5}, {unit: 1}]",
        "",
        "22",
        &["100", "50", "25", "7"],
    ),
    (
        "graduated: [{up_to: 5, flat: 100}, {up_to: 10, flat: 50}, {up_to: 15, unit: 5}, {unit: 1}]",
        "",
        "{quantity: 10, before: 12}",
        &["15", "7"],
    ),
    (
        "graduated: [{up_to: 5, flat: 100}, {up_to: 10, flat: 50}, {up_to: 15, unit: 5}, {unit: 1}]",
        "maximum: 170; billed: 160",
        "{quantity: 10, before: 12}",
        &["10", "0"],
    ),
    (
        "volume: [{up_to: 5, flat: 100}, {up_to: 10, flat: 150}, {up_to: 15, unit: 10}, {unit: 5}]",
        "",
        "0",
        &["100"],
    ),
    (
        "volume: [{up_to: 5, flat: 100}, {up_to: 10, flat: 150}, {up_to: 15, unit: 10}, {unit: 5}]",
        "",
        "14",
        &["140"],
    ),
    (
        "volume: [{up_to: 5, flat: 100}, {up_to: 10, flat: 150}, {up_to: 15, unit: 10}, {unit: 5}]",
        "",
        "15",
        &["150"],
    ),
    (
        "volume: [{up_to: 5, flat: 100}, {up_to: 10, flat: 150}, {up_to: 15, unit: 10}, {unit: 5}]",
        "",
        "16",
        &["80"],
    ),
    (
        "volume: [{up_to: 5, flat: 100}, {up_to: 10, flat: 150}, {up_to: 15, unit: 10}, {unit: 5}]",
        "",
        "100",
        &["500"],
    ),
    (
        "volume: [{up_to: 5, flat: 100}, {up_to: 10, flat: 150}, {up_to: 15, unit: 10}, {unit: 5}]",
        "minimum: 150",
        "0",
        &["100", "50"],
    ),
    ("per_unit: {amount: 10}", "maximum: 100; billed: 70", "{quantity: 5, before: 7}", &["30"]),
    (
        "per_unit: {amount: 10}",
        "maximum: 100; discount_percent: 50; billed: 35",
        "{quantity: 20, before: 7}",
        &["65"],
    ),
    // Ours: what was billed by volume is taken back, whatever it was, and the maximum is of the whole.
    (
        "volume: [{up_to: 10, unit: 10}, {unit: 8}]",
        "maximum: 100; billed: 100",
        "{quantity: 5, before: 10}",
        &["-100", "100"],
    ),
    (
        "volume: [{unit: 10}]",
        "maximum: 100; billed: 100",
        "{quantity: 1, before: 20}",
        &["-100", "100"],
    ),
    (
        "volume: [{up_to: 10, unit: 10}, {unit: 8}]",
        "billed: 50",
        "{quantity: 10, before: 5}",
        &["-50", "120"],
    ),
    ("package: {amount: 15, size: 10}", "", "0", &["0"]),
    ("package: {amount: 15, size: 10}", "", "5", &["15"]),
    ("package: {amount: 15, size: 10}", "", "10", &["15"]),
    ("package: {amount: 15, size: 10}", "minimum: 100", "0", &["0", "100"]),
    // Lago: package_service_spec.
    ("package: {amount: 100, size: 10}", "", "121", &["1300"]),
    ("package: {amount: 100, size: 10}", "included: 10", "121", &["1200"]),
    ("package: {amount: 100, size: 10}", "included: 200", "121", &["0"]),
    // OpenMeter: unitconfig_rating_test, thousands that were begun.
    ("package: {amount: 10, size: 1000}", "", "1400", &["20"]),
    // Prices of a million tokens.
    ("per_unit: {amount: '0.40', per: 1000000}", "", "482", &["0.00"]),
    ("per_unit: {amount: '2.50', per: 1000000}", "included: 1000000", "3000000", &["5.00"]),
];

fn request(price: &str, more: &str, usage: &str) -> String {
    let (mut charge, mut billed) = (String::new(), String::new());
    for part in more.split("; ").filter(|part| !part.is_empty()) {
        match part.strip_prefix("billed: ") {
            Some(amount) => billed = format!("billed: {{used: {amount}}}\n"),
            None => charge += &format!("    {part}\n"),
        }
    }
    format!(
        "currency: USD\ncharges:\n  - name: used\n    meter: units\n    price: {{{price}}}\n{charge}usage: {{units: {usage}}}\n{billed}"
    )
}

#[test]
fn amounts_are_those_that_others_publish() {
    for (price, more, usage, expected) in GOLDEN {
        let text = request(price, more, usage);
        let bill = RateRequest::parse(&text).and_then(|request| request.bill());
        let bill = bill.unwrap_or_else(|error| panic!("{text}: {error}"));
        let amounts: Vec<Decimal> = bill.lines.iter().map(|line| line.amount).collect();
        let expected: Vec<Decimal> = expected.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(amounts, expected, "{text}");
        assert_eq!(bill.subtotal, expected.iter().sum(), "{text}");
    }
}

/// A flat charge that was billed is not due again, but the rest of its minimum is.
#[test]
fn a_minimum_is_due_at_the_end() {
    let of = |more: &str| {
        let text = format!(
            "currency: USD\ncharges: [{{name: Base, price: {{flat: 100}}, minimum: 1000}}]\n{more}"
        );
        RateRequest::parse(&text).unwrap().bill().unwrap().subtotal
    };
    assert_eq!(of(""), Decimal::from(1_000));
    assert_eq!(of("billed: {Base: 100}"), Decimal::from(900));
    assert_eq!(of("is_last: false"), Decimal::from(100));
}

#[test]
fn coupon_tax_and_credit_follow_in_this_order() {
    let of = |more: &str| {
        let text =
            format!("currency: USD\ncharges: [{{name: Base, price: {{flat: '99.99'}}}}]\n{more}");
        let bill = RateRequest::parse(&text).unwrap().bill().unwrap();
        [bill.subtotal, bill.coupon, bill.tax, bill.total, bill.credit, bill.due]
            .map(|d| d.to_string())
    };
    assert_eq!(of("tax_percent: 19"), ["99.99", "0.00", "19.00", "118.99", "0.00", "118.99"]);
    assert_eq!(
        of("coupon: {percent: 10}\ntax_percent: 19\ncredit: 7"),
        ["99.99", "10.00", "17.10", "107.09", "7.00", "100.09"]
    );
    assert_eq!(
        of("coupon: {amount: 500}\ntax_percent: 19\ncredit: 7"),
        ["99.99", "99.99", "0.00", "0.00", "0.00", "0.00"]
    );
    assert_eq!(of("credit: 1000"), ["99.99", "0.00", "0.00", "99.99", "99.99", "0.00"]);
}

/// Half of a cent goes away from zero, and the digits are those of the currency.
#[test]
fn lines_are_rounded_once() {
    for (currency, amount, expected) in [
        ("USD", "1.23456789", "1.23"),
        ("USD", "1.23556789", "1.24"),
        ("USD", "0.005", "0.01"),
        ("USD", "0.015", "0.02"),
        ("USD", "0.025", "0.03"),
        ("JPY", "1.9556789", "2"),
        ("KWD", "1.2345", "1.235"),
    ] {
        let text =
            format!("currency: {currency}\ncharges: [{{name: Base, price: {{flat: '{amount}'}}}}]");
        let bill = RateRequest::parse(&text).unwrap().bill().unwrap();
        assert_eq!(bill.subtotal.to_string(), expected, "{amount}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    let charge = |text: &str| format!("currency: USD\ncharges: [{{name: A, {text}}}]");
    for (text, part) in [
        ("currency: XAU\ncharges: []".to_owned(), "ISO 4217"),
        ("currency: usd\ncharges: []".to_owned(), "capital letters"),
        (charge("price: {flat: 1.5}"), "in quotes"),
        (charge("price: {flat: -1}"), "not negative"),
        (charge("price: {flat: 1}, meter: units"), "unless its price is `flat`"),
        (charge("price: {per_unit: {amount: 1}}"), "unless its price is `flat`"),
        (charge("price: {per_unit: {amount: 1, per: 0}}, meter: units"), "above 0"),
        (charge("price: {graduated: []}, meter: units"), "at least one tier"),
        (charge("price: {graduated: [{up_to: 5, unit: 1}]}, meter: units"), "last tier"),
        (charge("price: {graduated: [{unit: 1}, {up_to: 5}]}, meter: units"), "last tier"),
        (
            charge("price: {volume: [{up_to: 5}, {up_to: 5}, {unit: 1}]}, meter: units"),
            "above the one before",
        ),
        (charge("price: {flat: 1}, discount_percent: 101"), "0 to 100"),
        (charge("price: {flat: 1}, maximum: 1, minimum: 2"), "above `maximum`"),
        (charge("price: {flat: 1}, colour: red"), "colour"),
        (charge("price: {flat: '99999999999999'}"), "in quotes"),
        (charge("price: {flat: 1}").replace("A", "' '"), "needs a name"),
        (charge("price: {flat: 1}") + "\nusage: {units: 1}", "has no charge"),
        (charge("price: {flat: 1}") + "\nbilled: {B: 1}", "is no charge"),
        (charge("price: {flat: 1}") + "\ntax_percent: -1", "0 to 100"),
        (charge("price: {flat: 1}") + "\ncredit: '0.005'", "more digits"),
        (charge("price: {flat: 1}") + "\ncoupon: {amount: '0.005'}", "more digits"),
        (charge("price: {flat: 1}, maximum: '100.005'"), "more digits"),
        (charge("price: {flat: 1}, minimum: '0.001'"), "more digits"),
        (
            charge("price: {volume: [{unit: 1}]}, meter: units")
                + "\nusage: {units: {quantity: 1, before: 2}}",
            "was billed before",
        ),
        (charge("price: {flat: 1}") + "\ncoupon: {amount: -1}", "not negative"),
        (
            charge("price: {per_unit: {amount: 1}}, meter: units") + "\nusage: {units: -1}",
            "not negative",
        ),
        (
            charge("price: {per_unit: {amount: 1}}, meter: units") + "\nusage: {units: 1.5}",
            "in quotes",
        ),
        (
            "currency: USD\ncharges: [{name: A, price: {flat: 1}}, {name: A, price: {flat: 1}}]"
                .to_owned(),
            "two charges",
        ),
    ] {
        let refused = RateRequest::parse(&text).and_then(|request| request.bill());
        let said = refused.expect_err(&text).to_string();
        assert!(said.contains(part), "{text}: {said}");
    }
}
