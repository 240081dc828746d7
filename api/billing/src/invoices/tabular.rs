//! Documents as CSV. A text of a stranger that begins like a formula gets an apostrophe before it.

use csv::Writer;

use super::{
    sheet::Sheet,
    stored::{Invoice, InvoiceKind},
};
use crate::fault::Fault;

const HEAD: [&str; 19] = [
    "number",
    "kind",
    "status",
    "organization_id",
    "issued_at",
    "line",
    "period_start",
    "from",
    "to",
    "plan",
    "price_version",
    "charge",
    "meter",
    "quantity",
    "amount",
    "currency",
    "is_adjustment",
    "tax_percent",
    "invoice_id",
];

fn unwritable<E>(_: E) -> Fault {
    Fault::InvoiceState("the document cannot be written as CSV".to_owned())
}

/// A cell that no spreadsheet takes for a formula. A number may begin with a minus.
fn cell(text: &str) -> String {
    let is_number = text.parse::<rust_decimal::Decimal>().is_ok();
    match !is_number && text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    }
}

/// The lines of invoices: one each, without tax.
pub(crate) fn lines(invoices: &[Invoice]) -> Result<Vec<u8>, Fault> {
    let mut writer = Writer::from_writer(Vec::new());
    writer.write_record(HEAD).map_err(unwritable)?;
    for of in invoices {
        for line in &of.document.lines {
            let issued = of.issued_at.map(state::store::rfc3339).unwrap_or_default();
            let kind = if of.kind == InvoiceKind::CreditNote { "credit_note" } else { "invoice" };
            let cells = [
                of.number.clone().unwrap_or_default(),
                kind.to_owned(),
                of.status.as_str().to_owned(),
                of.organization_id.clone(),
                issued,
                line.line.to_string(),
                line.period_start.to_string(),
                line.from.to_string(),
                line.to.to_string(),
                line.plan.clone(),
                line.price_version.clone(),
                line.charge.clone(),
                line.meter.clone().unwrap_or_default(),
                line.quantity.to_string(),
                line.amount.to_string(),
                of.currency.as_str().to_owned(),
                line.is_adjustment.to_string(),
                of.document.tax_percent.to_string(),
                of.invoice_id.clone(),
            ];
            writer.write_record(cells.iter().map(|text| cell(text))).map_err(unwritable)?;
        }
    }
    writer.into_inner().map_err(unwritable)
}

/// The rows of a sheet, as they are read.
pub(crate) fn rows(sheet: &Sheet) -> Result<Vec<u8>, Fault> {
    let mut writer = Writer::from_writer(Vec::new());
    writer.write_record(&sheet.head).map_err(unwritable)?;
    for row in &sheet.rows {
        writer.write_record(row.cells.iter().map(|text| cell(text))).map_err(unwritable)?;
    }
    writer.into_inner().map_err(unwritable)
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn nothing_is_taken_for_a_formula() {
        for (text, expected) in
            [("=1+1", "'=1+1"), ("-2.50", "-2.50"), ("-x", "'-x"), ("Base", "Base")]
        {
            assert_eq!(cell(text), expected);
        }
    }
}
