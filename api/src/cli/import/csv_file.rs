//! Records of a CSV file (RFC 4180), read strictly. The readers that we know go on in silence when a quote has no end,
//! or when text follows it, and do not tell the line of a record.

use anyhow::bail;
use ingest::mapping::CsvFormat;

use super::lines::{LENGTH_MAX, Lines};

/// A record: its fields one after the other, without their quotes.
#[derive(Debug, Default)]
pub(super) struct Record {
    text: Vec<u8>,
    ends: Vec<usize>,
    /// The line that it begins in.
    pub(super) line: u64,
}

impl Record {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, at: usize) -> Option<&[u8]> {
        let end = *self.ends.get(at)?;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.text[start..end])
    }
}

pub(super) struct Records {
    lines: Lines,
    delimiter: u8,
    quote: Option<u8>,
}

impl Records {
    pub(super) fn new(mut lines: Lines, format: &CsvFormat) -> anyhow::Result<Self> {
        for _ in 0..format.skip_lines {
            if !lines.advance()? {
                break;
            }
        }
        Ok(Self { lines, delimiter: format.delimiter, quote: format.quote })
    }

    /// Reads the next record. Empty lines are none. At the end there is none.
    pub(super) fn read(&mut self, record: &mut Record) -> anyhow::Result<bool> {
        record.text.clear();
        record.ends.clear();
        loop {
            if !self.lines.advance()? {
                return Ok(false);
            }
            if !self.lines.line().is_empty() {
                break;
            }
        }
        record.line = self.lines.number();
        let mut at = 0;
        loop {
            let rest = &self.lines.line()[at..];
            if self.quote.is_some() && rest.first().copied() == self.quote {
                at = self.quoted(record, at + 1)?;
            } else {
                let end = rest.iter().position(|byte| *byte == self.delimiter);
                let field = &rest[..end.unwrap_or(rest.len())];
                record.text.extend_from_slice(field);
                at += field.len();
            }
            record.ends.push(record.text.len());
            if at == self.lines.line().len() {
                return Ok(true);
            }
            at += 1;
        }
    }

    /// Reads a field whose quote stands before `at`. Returns the place behind it, in the line that it ends in.
    fn quoted(&mut self, record: &mut Record, mut at: usize) -> anyhow::Result<usize> {
        let start = self.lines.number();
        let field = record.text.len();
        loop {
            let rest = &self.lines.line()[at..];
            let Some(end) = rest.iter().position(|byte| Some(*byte) == self.quote) else {
                record.text.extend_from_slice(rest);
                record.text.extend_from_slice(self.lines.end());
                if record.text.len() - field > LENGTH_MAX {
                    bail!(
                        "the quote that begins in line {start} does not end within {} MiB",
                        LENGTH_MAX >> 20
                    );
                }
                if !self.lines.advance()? {
                    bail!("the quote that begins in line {start} does not end");
                }
                at = 0;
                continue;
            };
            record.text.extend_from_slice(&rest[..end]);
            at += end + 1;
            match rest.get(end + 1) {
                Some(next) if Some(*next) == self.quote => {
                    record.text.push(*next);
                    at += 1;
                }
                Some(next) if *next != self.delimiter => bail!(
                    "line {}: text follows the end of the quote that begins in line {start}",
                    self.lines.number()
                ),
                _ => return Ok(at),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use ingest::mapping::Mapping;

    use super::*;

    fn format(settings: &str) -> CsvFormat {
        let mapping = "type = \"usage.request\"\nsource = \"/x\"\n[time]\ncolumn = \"t\"\n[csv]\n";
        Mapping::parse(&format!("{mapping}{settings}")).unwrap().csv().clone()
    }

    fn records(format: &CsvFormat, bytes: &[u8]) -> anyhow::Result<Vec<(u64, Vec<String>)>> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(bytes)?;
        let mut records = Records::new(Lines::open(file.path(), format.encoding)?, format)?;
        let (mut record, mut all) = (Record::default(), Vec::new());
        while records.read(&mut record)? {
            let fields = (0..record.len()).map(|at| record.get(at).unwrap());
            let fields = fields.map(|field| String::from_utf8_lossy(field).into_owned());
            all.push((record.line, fields.collect()));
        }
        Ok(all)
    }

    #[test]
    fn records_are_told_with_their_lines() {
        let text = "a,b\r\n\r\n\"x\r\ny\",\"say \"\"no\"\"\"\r\n5\" disk,\n,\n\"\",z";
        let expected = [
            (1, ["a", "b"]),
            (3, ["x\r\ny", "say \"no\""]),
            (5, ["5\" disk", ""]),
            (6, ["", ""]),
            (7, ["", "z"]),
        ]
        .map(|(line, fields)| (line, fields.map(str::to_owned).to_vec()));
        assert_eq!(records(&format(""), text.as_bytes()).unwrap(), expected);
        assert_eq!(records(&format(""), b"").unwrap(), []);
    }

    #[test]
    fn quotes_end_where_they_should() {
        for (text, part) in [
            ("a,b\n1,\"x\n2,y\n", "the quote that begins in line 2 does not end"),
            ("a\n\"x\ny\" z\n", "line 3: text follows the end of the quote that begins in line 2"),
            ("a\n\"\"\"", "begins in line 2 does not end"),
        ] {
            let error = records(&format(""), text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let plain = records(&format("quote = \"\""), b"a,\"b\n").unwrap();
        assert_eq!(plain, [(1, vec!["a".to_owned(), "\"b".to_owned()])]);
        let long = format!("a\n\"{}", "x\n".repeat(LENGTH_MAX / 2 + 1));
        let error = records(&format(""), long.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("does not end within 16 MiB"), "{error}");
        let error = records(&format(""), "x".repeat(LENGTH_MAX + 1).as_bytes()).unwrap_err();
        assert!(error.to_string().contains("line 1 is longer"), "{error}");
    }

    #[test]
    fn every_encoding_is_read() {
        let encoded = |encoding: &str, text: &str| {
            let encoding = encoding_rs::Encoding::for_label(encoding.as_bytes()).unwrap();
            encoding.encode(text).0.into_owned()
        };
        let utf16 = |text: &str, mark: bool| -> Vec<u8> {
            let mark = if mark { "\u{feff}" } else { "" };
            format!("{mark}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
        };
        let text = "é;中\n";
        let rows = |fields: [&str; 2]| vec![(1, fields.map(str::to_owned).to_vec())];
        for (encoding, bytes) in [
            ("utf-8", text.as_bytes().to_vec()),
            ("utf-8", [b"\xef\xbb\xbf", text.as_bytes()].concat()),
            ("utf-8", utf16(text, true)),
            ("utf-16le", utf16(text, false)),
            ("gbk", encoded("gbk", text)),
            ("gb18030", encoded("gb18030", text)),
        ] {
            let format = format(&format!("delimiter = \";\"\nencoding = \"{encoding}\""));
            assert_eq!(records(&format, &bytes).unwrap(), rows(["é", "中"]), "{encoding}");
        }
        let latin = format("encoding = \"latin1\"");
        assert_eq!(records(&latin, b"\xe9,\xfc").unwrap(), rows(["é", "ü"]));
        // What the encoding does not know is not guessed.
        let gbk = format("encoding = \"gbk\"");
        assert_eq!(records(&gbk, b"a\xff,b").unwrap(), rows(["a\u{fffd}", "b"]));
    }

    #[test]
    fn what_another_program_wrote_is_read() {
        let mut state = 7_u64;
        let mut next = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let parts = ["a", "\"", ",", "\n", "\r\n", " ", "é", "中文", "''", ";"];
        let rows: Vec<Vec<String>> = (0..500)
            .map(|_| {
                let field = |next: &mut dyn FnMut(u64) -> u64| -> String {
                    (0..next(6)).map(|_| parts[next(10) as usize]).collect()
                };
                (0..3).map(|_| field(&mut next)).collect()
            })
            .collect();
        let mut writer = csv::Writer::from_writer(Vec::new());
        rows.iter().for_each(|row| writer.write_record(row).unwrap());
        let read = records(&format(""), &writer.into_inner().unwrap()).unwrap();
        let read: Vec<_> = read.into_iter().map(|(_, fields)| fields).collect();
        assert_eq!(read, rows);
    }
}
