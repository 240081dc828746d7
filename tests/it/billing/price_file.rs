//! `aihub billing`: what the page says can be done, and what it costs.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tests::{folder, run, run_ok};

/// The examples of the page, in their order.
fn examples() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/billing.md");
    let page = fs::read_to_string(page).expect("the page");
    let blocks = page.split("```yaml\n").skip(1);
    blocks.map(|block| block.split("```").next().expect("an end").to_owned()).collect()
}

#[test]
fn a_price_is_checked_without_a_server() {
    let (dir, beside) = (folder(), folder());
    let write = |name: &str, text: &str| {
        let path = beside.path().join(name);
        fs::write(&path, text).expect("the file is written");
        path.display().to_string()
    };
    let examples = examples();
    let request = write("request.yaml", &examples[0]);
    let told = run_ok(dir.path(), &["billing", "rate", &request, "--format", "json"]);
    let bill: Value = serde_json::from_str(&told).expect("JSON");
    let amounts: Vec<_> = bill["lines"]
        .as_array()
        .expect("lines")
        .iter()
        .map(|line| line["amount"].clone())
        .collect();
    // 49; two million at 2.50; 9,000 at 0.002 and 15,000 at 0.001.
    assert_eq!(amounts, [json!("49.00"), json!("5.00"), json!("18.00"), json!("15.00")], "{bill}");
    // 87.00 − 8.70 = 78.30; 19 % are 14.88; 93.18 − 5.
    let of = ["subtotal", "coupon", "tax", "total", "credit", "due"].map(|name| bill[name].clone());
    let expected = ["87.00", "8.70", "14.88", "93.18", "5.00", "88.18"].map(|text| json!(text));
    assert_eq!(of, expected, "{bill}");
    let told = run_ok(dir.path(), &["billing", "rate", &request]);
    assert!(told.contains("Base\tflat\t1\t49\t") && told.contains("due\t88.18 USD"), "{told}");

    let list = write("prices.yaml", &examples[1]);
    let told = run_ok(dir.path(), &["billing", "price", "check", &list]);
    assert!(told.contains("plan\tpro\t1\t2026-01-01\tUSD\tBase"), "{told}");
    assert!(told.contains("model\tgpt-5*\t1\t2026-01-01\tUSD\t1.25 in, 10 out"), "{told}");

    let wrong = write("wrong.yaml", &examples[0].replace("\"2.50\"", "2.5"));
    for (command, part) in [
        (&["billing", "rate", &wrong][..], "in quotes"),
        (&["billing", "rate", "nothing.yaml"], "reading nothing.yaml"),
        (&["billing", "price", "check", &request], "unknown field"),
    ] {
        let refused = run(dir.path(), command);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && said.contains(part), "{command:?}: {said}");
    }
    // Nothing is made in the data folder.
    assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 0);
}
