//! Documents as people get them.

use accounts::plans::Currency;
use pages::Language;
use rust_decimal::Decimal;

use super::{
    document::{Buyer, Document, InvoiceLine},
    letters::Letters,
    pdf::pdf,
    sheet::Sheet,
    statement::{month, statement},
    stored::{Invoice, InvoiceKind, InvoiceStatus},
    tabular,
};
use crate::{LineKind, RatedLine, Seller, fault::Fault, payments::Payment};

fn invoice(lines: u32) -> Invoice {
    let dec = |text: &str| text.parse::<Decimal>().unwrap();
    let line = |line: u32| InvoiceLine {
        line,
        period_start: "2026-02-01".parse().unwrap(),
        period_end: "2026-03-01".parse().unwrap(),
        from: "2026-02-01".parse().unwrap(),
        to: "2026-03-01".parse().unwrap(),
        plan: "pro".into(),
        price_version: "pro@2".into(),
        charge: "=Requests <b>".into(),
        meter: Some("requests".into()),
        models: Vec::new(),
        quantity: dec("1500"),
        amount: dec("4.50"),
        is_adjustment: false,
        made_up: vec![RatedLine {
            charge: "Requests".into(),
            kind: LineKind::Usage,
            quantity: dec("500"),
            unit: Some(dec("0.01")),
            gross: dec("5"),
            discount: dec("0.5"),
            capped: dec("0"),
            amount: dec("4.50"),
        }],
    };
    let document = Document {
        seller: Seller {
            name: "AI Hub GmbH".into(),
            address: "Street 1\n10115 Berlin".into(),
            bank_account: "DE00 1234".into(),
            ..Seller::default()
        },
        buyer: Buyer { name: "Acme".into(), country: "DE".into(), ..Buyer::default() },
        language: "en".into(),
        lines: (1..=lines).map(line).collect(),
        subtotal: dec("4.50"),
        tax_percent: dec("19"),
        tax: dec("0.86"),
        total: dec("5.36"),
        due: dec("5.36"),
        ..Document::default()
    };
    Invoice {
        invoice_id: "inv_1".into(),
        organization_id: "org_a".into(),
        subscription_id: "sub_1".into(),
        kind: InvoiceKind::Invoice,
        status: InvoiceStatus::Open,
        number: Some("INV-000007".into()),
        corrects_id: None,
        billed_on: "2026-03-01".parse().unwrap(),
        currency: Currency::parse("USD").unwrap(),
        outstanding: dec("5.36"),
        created_at: "2026-03-01T01:00:00Z".parse().unwrap(),
        finalizes_at: None,
        issued_at: Some("2026-03-01T01:00:00Z".parse().unwrap()),
        due_at: Some("2026-03-15T01:00:00Z".parse().unwrap()),
        reminded_at: None,
        cut: "1".into(),
        document,
    }
}

#[test]
fn a_page_says_it_all_and_escapes_what_strangers_wrote() {
    let html = Sheet::of_invoice(&invoice(1), &[], None).html().unwrap();
    for part in [
        "Invoice INV-000007",
        "2026-02-01 – 2026-02-28",
        "500 × 0.01 − 0.5 discount",
        "Tax (19 %)",
        "5.36 USD",
        "DE00 1234",
        "=Requests &lt;b&gt;",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    assert!(!html.contains("<b>"));
    let chinese = Sheet::of_invoice(&invoice(1), &[], Some(Language::ZhCn)).html().unwrap();
    assert!(chinese.contains("账单 INV-000007") && chinese.contains("应付金额"), "{chinese}");
}

#[test]
fn a_table_has_a_row_for_each_line() {
    let text = String::from_utf8(tabular::lines(&[invoice(2)]).unwrap()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[1].contains(",'=Requests <b>,requests,1500,4.50,USD,false,19,inv_1"), "{text}");
}

#[test]
fn long_invoices_have_several_pages_in_pdf() {
    let letters = Letters::of(std::path::Path::new("")).unwrap();
    let drawn = |lines| pdf(&Sheet::of_invoice(&invoice(lines), &[], None), &letters).unwrap();
    let (short, long) = (drawn(1), drawn(60));
    let pages =
        |bytes: &[u8]| bytes.windows(11).filter(|part| part.starts_with(b"/Type/Page\n")).count();
    assert!(short.starts_with(b"%PDF-") && short.ends_with(b"%%EOF"), "{}", short.len());
    assert!(long.len() > short.len() && pages(&short) <= pages(&long));
    // A letter that no font has is said, and not left out.
    let mut odd = invoice(1);
    odd.document.buyer.name = "\u{10ffff}".to_owned();
    let refused = pdf(&Sheet::of_invoice(&odd, &[], None), &letters);
    assert!(
        matches!(&refused, Err(Fault::FontMissing(why)) if why.contains("install")),
        "{refused:?}"
    );
    let named = Letters::of(std::path::Path::new("/nowhere/font.ttf"));
    assert!(matches!(named, Err(Fault::FontMissing(why)) if why.contains("/nowhere/font.ttf")));
}

/// What is owed at the end is what was owed at the beginning with all that came.
#[test]
fn a_statement_adds_up() {
    let dec = |text: &str| text.parse::<Decimal>().unwrap();
    let usd = Currency::parse("USD").unwrap();
    let first = invoice(1);
    let void = Invoice { status: InvoiceStatus::Void, ..invoice(1) };
    let mut note =
        Invoice { kind: InvoiceKind::CreditNote, status: InvoiceStatus::Paid, ..invoice(1) };
    note.document.total = dec("-2.00");
    note.number = Some("CN-000001".into());
    note.issued_at = Some("2026-04-02T00:00:00Z".parse().unwrap());
    let paid_at = "2026-03-31T23:59:59Z".parse().unwrap();
    let paid = Payment::new(&first, ("bank_transfer", "T1"), dec("5.36"), paid_at).unwrap();
    let pending = Payment { status: "pending".into(), ..paid.clone() };
    let refunds = [("2026-04-05T00:00:00Z".parse().unwrap(), dec("2.00"))];
    let of = |name: &str| {
        let all = [first.clone(), void.clone(), note.clone()];
        let payments = [paid.clone(), pending.clone()];
        let found = statement(month(name).unwrap(), usd, &all, &payments, &refunds);
        let kinds: Vec<_> =
            found.entries.iter().map(|entry| format!("{} {}", entry.kind, entry.balance)).collect();
        (found.opening.to_string(), kinds, found.closing.to_string())
    };
    let kinds = |all: &[&str]| all.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>();
    assert_eq!(of("2026-02"), ("0.00".into(), kinds(&[]), "0.00".into()));
    assert_eq!(
        of("2026-03"),
        ("0.00".into(), kinds(&["invoice 5.36", "payment 0.00"]), "0.00".into())
    );
    assert_eq!(
        of("2026-04"),
        ("0.00".into(), kinds(&["credit_note -2.00", "refund 0.00"]), "0.00".into())
    );
    assert_eq!(of("2026-05"), ("0.00".into(), kinds(&[]), "0.00".into()));
}
