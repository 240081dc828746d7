//! How a CSV file is written: `[csv]` of a mapping.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};
use serde::Deserialize;

/// The settings of `[csv]`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct CsvFormat {
    pub delimiter: u8,
    /// `None`: a quote is a character like any other.
    pub quote: Option<u8>,
    /// A mark at the beginning of the file (BOM) wins.
    pub encoding: &'static Encoding,
    /// Lines before the header.
    pub skip_lines: u64,
    /// Fields that are absent, besides the empty one.
    pub null: Vec<String>,
    /// Whether fields beyond those of the header are left out. Otherwise their row is refused.
    pub ignore_surplus_fields: bool,
    decimal: char,
    thousands: Option<char>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CsvSpec {
    delimiter: String,
    quote: String,
    encoding: String,
    skip_lines: u64,
    null: Vec<String>,
    ignore_surplus_fields: bool,
    decimal: String,
    thousands: String,
}

impl Default for CsvSpec {
    fn default() -> Self {
        Self {
            delimiter: ",".into(),
            quote: "\"".into(),
            encoding: UTF_8.name().into(),
            skip_lines: 0,
            null: Vec::new(),
            ignore_surplus_fields: false,
            decimal: ".".into(),
            thousands: String::new(),
        }
    }
}

impl CsvFormat {
    /// # Errors
    /// A sentence that says what is wrong.
    pub(super) fn parse(written: CsvSpec) -> Result<Self, String> {
        let delimiter = character("delimiter", &written.delimiter)?
            .ok_or("`delimiter` of [csv] is empty: it is one character, such as ; or \\t")?;
        let quote = character("quote", &written.quote)?;
        if quote == Some(delimiter) {
            return Err("`delimiter` and `quote` of [csv] are the same".into());
        }
        let encoding = Encoding::for_label(written.encoding.as_bytes())
            .filter(|encoding| *encoding != encoding_rs::REPLACEMENT)
            .ok_or_else(|| {
                format!(
                    "`encoding = \"{}\"` of [csv] is no encoding that we know; those of \
                     https://encoding.spec.whatwg.org are, such as utf-8, utf-16le, latin1, gbk",
                    written.encoding
                )
            })?;
        let decimal = match written.decimal.as_str() {
            "." => '.',
            "," => ',',
            _ => return Err("`decimal` of [csv] is neither \".\" nor \",\"".into()),
        };
        let thousands = match written.thousands.chars().collect::<Vec<_>>()[..] {
            [] => None,
            [mark @ ('.' | ',' | ' ' | '\'' | '_' | '\u{a0}' | '\u{202f}')] if mark != decimal => {
                Some(mark)
            }
            _ => {
                return Err(
                    "`thousands` of [csv] is none of \".\", \",\", \" \", \"'\", \"_\", or \
                            it is the mark of the decimals"
                        .into(),
                );
            }
        };
        Ok(Self {
            delimiter,
            quote,
            encoding,
            skip_lines: written.skip_lines,
            null: written.null,
            ignore_surplus_fields: written.ignore_surplus_fields,
            decimal,
            thousands,
        })
    }

    /// A number as it is written everywhere else, with a point and without marks of thousands; `None` when the text
    /// has one of these marks in a place where it cannot be. A text without any of them is left as it is.
    pub fn number<'a>(&self, text: &'a str) -> Option<Cow<'a, str>> {
        let is_foreign = |mark: char| (mark == ',' || mark == '.') && mark != self.decimal;
        let has_thousands = self.thousands.is_some_and(|mark| text.trim().contains(mark));
        if !has_thousands {
            return if self.decimal == '.' {
                Some(Cow::Borrowed(text))
            } else if text.contains(is_foreign) {
                None
            } else {
                Some(Cow::Owned(text.replace(self.decimal, ".")))
            };
        }
        let mark = self.thousands?;
        let (whole, fraction) = match text.trim().split_once(self.decimal) {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (text.trim(), None),
        };
        let (sign, digits) = match whole.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", whole),
        };
        let mut groups = digits.split(mark);
        let is_group = |group: &str| group.bytes().all(|byte| byte.is_ascii_digit());
        let is_first = groups.next().is_some_and(|g| (1..=3).contains(&g.len()) && is_group(g));
        let is_whole = is_first && groups.all(|group| group.len() == 3 && is_group(group));
        if !is_whole || fraction.is_some_and(|digits| digits.contains(['.', ',', mark])) {
            return None;
        }
        let point = if fraction.is_some() { "." } else { "" };
        let digits = digits.replace(mark, "");
        Some(Cow::Owned(format!("{sign}{digits}{point}{}", fraction.unwrap_or_default())))
    }
}

fn character(name: &str, text: &str) -> Result<Option<u8>, String> {
    match *text.as_bytes() {
        [] => Ok(None),
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Ok(Some(byte)),
        _ => Err(format!("`{name} = \"{text}\"` of [csv] is not one ASCII character")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(text: &str) -> Result<CsvFormat, String> {
        CsvFormat::parse(toml::from_str(text).unwrap())
    }

    #[test]
    fn numbers_are_read_as_the_file_writes_them() {
        let plain = format("").unwrap();
        let german = format("decimal = \",\"\nthousands = \".\"").unwrap();
        let comma = format("decimal = \",\"").unwrap();
        let english = format("thousands = \",\"").unwrap();
        let swiss = format("thousands = \"'\"").unwrap();
        for (format, text, number) in [
            (&plain, "1.5", Some("1.5")),
            (&plain, "1,5", Some("1,5")),
            (&german, "1.234.567,89", Some("1234567.89")),
            (&german, "-1.234", Some("-1234")),
            (&german, "0,5", Some("0.5")),
            (&german, "12", Some("12")),
            (&german, "1.23", None),
            (&german, "1.2345", None),
            (&german, ".234", None),
            (&german, "1,234.5", None),
            (&comma, "1234,5", Some("1234.5")),
            (&comma, "1.234", None),
            (&english, "1,234,567.25", Some("1234567.25")),
            (&english, "12,34", None),
            (&english, "1,234.5,6", None),
            (&swiss, "1'234", Some("1234")),
            (&swiss, "1'2345", None),
        ] {
            assert_eq!(format.number(text).as_deref(), number, "{text}");
        }
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        for (text, part) in [
            ("delimiter = \"\"", "is empty"),
            ("delimiter = \";;\"", "not one ASCII character"),
            ("delimiter = \"§\"", "not one ASCII character"),
            ("quote = \",\"", "are the same"),
            ("encoding = \"ebcdic\"", "no encoding"),
            ("decimal = \";\"", "neither"),
            ("thousands = \"x\"", "none of"),
            ("decimal = \",\"\nthousands = \",\"", "the mark of the decimals"),
        ] {
            let error = format(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
