//! The values of a dashboard as CSV.

use chrono::SecondsFormat;

use crate::MetricResult;

const HEAD: [&str; 8] = ["metric", "from", "to", "grain", "at", "group", "currency", "value"];

/// Every value of the answers, one per row. A spreadsheet takes no cell for a formula.
pub fn csv<'a>(answers: impl IntoIterator<Item = &'a MetricResult>) -> Vec<u8> {
    let mut lines = vec![HEAD.join(",")];
    for MetricResult { request, answer } in answers {
        let time =
            |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
        for row in &answer.rows {
            let group: Vec<&str> =
                row.group.iter().map(|value| value.as_deref().unwrap_or_default()).collect();
            let value = row.value.map(|value| value.to_decimal().normalize().to_string());
            let cells = [
                request.metric.clone(),
                time(request.from),
                time(request.to),
                request.grain.map(|grain| grain.name().to_owned()).unwrap_or_default(),
                row.at.map(time).unwrap_or_default(),
                text(&group.join(" / ")),
                row.currency.clone().unwrap_or_default(),
                value.unwrap_or_default(),
            ];
            lines.push(cells.map(|cell| quoted(&cell)).join(","));
        }
    }
    lines.push(String::new());
    lines.join("\r\n").into_bytes()
}

/// A text of a stranger: one that begins like a formula gets an apostrophe before it.
fn text(cell: &str) -> String {
    match cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{cell}"),
        false => cell.to_owned(),
    }
}

/// By RFC 4180.
fn quoted(cell: &str) -> String {
    match cell.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_none_breaks_its_row() {
        for (cell, expected) in [
            ("gpt-4o", "gpt-4o"),
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("a,\"b\"\r\nc", "\"a,\"\"b\"\"\r\nc\""),
        ] {
            assert_eq!(quoted(&text(cell)), expected);
        }
        assert_eq!(csv(&[]), b"metric,from,to,grain,at,group,currency,value\r\n");
    }
}
