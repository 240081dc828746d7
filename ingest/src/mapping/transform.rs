//! What a mapping does to the values of a column before they are read: text is trimmed, put in one case and looked up in
//! a table, and numbers are multiplied.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;
use serde_json::Value;

use super::cells::Cell;
use crate::money;

/// The steps of one column, in the order in which they are taken.
#[derive(Debug, Clone)]
pub(crate) struct Transform {
    trim: bool,
    case: Option<Case>,
    /// The JSON of what takes the place of a text.
    values: BTreeMap<String, String>,
    values_only: bool,
    scale: Option<Scale>,
    /// Whether more digits than money has are rounded.
    rounds_money: bool,
}

/// A number to multiply with: an unscaled value, and the digits after its point.
#[derive(Debug, Clone, Copy)]
struct Scale {
    factor: (i128, i8),
    round: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Case {
    Lower,
    Upper,
}

/// A transform as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TransformSpec {
    #[serde(default)]
    trim: bool,
    case: Option<Case>,
    #[serde(default)]
    values: BTreeMap<String, Value>,
    #[serde(default)]
    values_only: bool,
    scale: Option<Value>,
    #[serde(default)]
    round: bool,
}

impl Transform {
    /// Checks what is written.
    pub(super) fn parse(written: TransformSpec) -> Result<Self, String> {
        if written.values_only && written.values.is_empty() {
            return Err("`values_only` needs `values`".into());
        }
        if let Some((from, _)) =
            written.values.iter().find(|(_, to)| matches!(to, Value::Array(_) | Value::Object(_)))
        {
            return Err(format!("the value of `{from}` is not a text, a number or a flag"));
        }
        let scale = match written.scale {
            None if written.round => return Err("`round` needs `scale`".into()),
            None => None,
            Some(factor) => {
                let text = match &factor {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let factor = money::decimal(&text).filter(|(factor, _)| *factor > 0);
                let factor = factor.ok_or("`scale` is not a decimal number above zero")?;
                Some(Scale { factor, round: written.round })
            }
        };
        Ok(Self {
            trim: written.trim,
            case: written.case,
            values: written.values.into_iter().map(|(from, to)| (from, to.to_string())).collect(),
            values_only: written.values_only,
            scale,
            rounds_money: false,
        })
    }

    /// What is done to the columns of a gateway: its program writes `None` where it has no value, and computes costs in
    /// binary fractions.
    pub(super) fn of_gateway(is_money: bool) -> Self {
        let none = ("None".to_owned(), "\"\"".to_owned());
        Self {
            trim: false,
            case: None,
            values: BTreeMap::from([none]),
            values_only: false,
            scale: None,
            rounds_money: is_money,
        }
    }

    /// Whether the values are multiplied.
    pub(super) fn is_number(&self) -> bool {
        self.scale.is_some()
    }

    /// A cell after all steps. One that a step cannot take rejects its row.
    pub(super) fn apply<'a>(&'a self, cell: Cell<'a>) -> Cell<'a> {
        let cell = match cell {
            Cell::Text(text) => self.text(text),
            cell => cell,
        };
        if matches!(cell, Cell::Absent | Cell::Unfit(_)) {
            return cell;
        }
        let found = cell.text().and_then(|text| self.values.get(&*text));
        let cell = match found {
            Some(json) => Cell::of_json(json),
            None if self.values_only => return cell.unfit(),
            None => cell,
        };
        match self.scale {
            Some(scale) if cell != Cell::Absent => {
                scale.apply(&cell).unwrap_or_else(|| cell.unfit())
            }
            _ if self.rounds_money => match cell.text().and_then(|text| money::rounded(&text)) {
                Some(text) => Cell::Text(text.into()),
                None => cell,
            },
            _ => cell,
        }
    }

    fn text<'a>(&self, text: Cow<'a, str>) -> Cell<'a> {
        let text = match (self.trim, text) {
            (true, Cow::Borrowed(text)) => Cow::Borrowed(text.trim()),
            (true, Cow::Owned(text)) => Cow::Owned(text.trim().to_owned()),
            (false, text) => text,
        };
        match self.case {
            _ if text.is_empty() => Cell::Absent,
            Some(Case::Lower) => Cell::Text(text.to_lowercase().into()),
            Some(Case::Upper) => Cell::Text(text.to_uppercase().into()),
            None => Cell::Text(text),
        }
    }
}

impl Scale {
    /// The product; `None` when there is no number, or it has more digits than a decimal holds.
    fn apply<'a>(self, cell: &Cell<'_>) -> Option<Cell<'a>> {
        let (number, digits) = match cell {
            Cell::Decimal(number, digits) => (*number, *digits),
            Cell::Flag(_) | Cell::Time(_) | Cell::Clock(_) => return None,
            cell => money::decimal(cell.text()?.trim())?,
        };
        let (factor, places) = self.factor;
        let mut product = number.checked_mul(factor)?;
        let mut digits = digits.checked_add(places)?;
        // Zeros at the end say nothing.
        while digits > 0 && product % 10 == 0 {
            product /= 10;
            digits -= 1;
        }
        if self.round && digits > 0 {
            let one = 10_i128.checked_pow(digits.unsigned_abs().into())?;
            // Half away from zero, as all money is rounded.
            let half = (product % one).abs() >= one / 2;
            product = product / one + if half { product.signum() } else { 0 };
            digits = 0;
        }
        let is_whole = digits == 0;
        Some(match i64::try_from(product) {
            Ok(count) if is_whole => Cell::Count(count),
            _ => Cell::Decimal(product, digits),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transform(text: &str) -> Result<Transform, String> {
        Transform::parse(toml::from_str(text).map_err(|error| error.to_string())?)
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, part) in [
            ("values_only = true", "`values_only` needs `values`"),
            ("round = true", "`round` needs `scale`"),
            ("scale = 0", "above zero"),
            ("scale = -1", "above zero"),
            ("scale = \"1k\"", "above zero"),
            ("scale = nan", "above zero"),
            ("values = { a = [1] }", "the value of `a`"),
            ("case = \"title\"", "unknown variant"),
            ("factor = 2", "unknown field"),
        ] {
            let error = transform(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn numbers_are_multiplied_exactly() {
        for (scale, cell, product) in [
            ("scale = 1000", Cell::Text("0.25".into()), Cell::Count(250)),
            ("scale = 1000", Cell::Text(" 1.2345678 ".into()), Cell::Decimal(12_345_678, 4)),
            ("scale = 1000\nround = true", Cell::Text("1.2345".into()), Cell::Count(1_235)),
            ("scale = 1000\nround = true", Cell::Text("-1.2345".into()), Cell::Count(-1_235)),
            ("scale = 1000\nround = true", Cell::Text("1.2344999".into()), Cell::Count(1_234)),
            ("scale = 1000\nround = true", Cell::Number(0.1 + 0.2), Cell::Count(300)),
            ("scale = \"0.000001\"", Cell::Count(15), Cell::Decimal(15, 6)),
            ("scale = 1e-6", Cell::Count(15), Cell::Decimal(15, 6)),
            ("scale = 0.000001", Cell::Decimal(250, 2), Cell::Decimal(25, 7)),
            ("scale = 1000", Cell::Json("2.5e-1"), Cell::Count(250)),
            ("scale = 1000", Cell::Absent, Cell::Absent),
            ("scale = 1000", Cell::Text("fast".into()), Cell::Unfit("fast".into())),
            ("scale = 1000", Cell::Number(f64::NAN), Cell::Unfit("NaN".into())),
            ("scale = 1000", Cell::Flag(true), Cell::Unfit("true".into())),
            (
                "scale = 1000",
                Cell::Decimal(10_i128.pow(37), 0),
                Cell::Unfit(money::text(10_i128.pow(37), 0).into()),
            ),
        ] {
            let transform = transform(scale).unwrap();
            assert_eq!(transform.apply(cell.clone()), product, "{scale} {cell:?}");
        }
    }

    #[test]
    fn texts_are_trimmed_then_cased_then_looked_up() {
        let all = "trim = true\ncase = \"lower\"\nvalues = { acme = \"org_acme\", yes = true, none = \"\" }";
        for (more, cell, result) in [
            ("", Cell::Text(" ACME ".into()), Cell::Text("org_acme".into())),
            ("", Cell::Text("Other".into()), Cell::Text("other".into())),
            ("", Cell::Text("YES".into()), Cell::Json("true")),
            ("", Cell::Text("none".into()), Cell::Absent),
            ("", Cell::Text("  ".into()), Cell::Absent),
            ("", Cell::Count(7), Cell::Count(7)),
            ("values_only = true", Cell::Text("Other".into()), Cell::Unfit("other".into())),
            ("values_only = true", Cell::Absent, Cell::Absent),
        ] {
            let transform = transform(&format!("{all}\n{more}")).unwrap();
            assert_eq!(transform.apply(cell.clone()), result, "{more} {cell:?}");
        }
    }
}
