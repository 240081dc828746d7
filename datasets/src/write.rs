//! CloudEvents as JSON text, written by hand: every string is known to need no escaping.

use std::ops::Range;

use crate::identity::Ids;

/// The lines of one day, in the order they were made, to be put in order of time at the end.
///
/// A page may be blank: then nothing is written and only the counting beside it happens.
pub(crate) struct Page {
    ids: Ids,
    /// Scrambled into the event ids: the day, then the number of the event within it.
    serial: u64,
    /// `2026-01-31T`.
    date: String,
    text: Option<Vec<u8>>,
    lines: Vec<(u64, Range<usize>)>,
}

/// What every event has.
pub(crate) struct EventHead<'a> {
    /// The beginning of the event's id.
    pub(crate) prefix: &'a str,
    pub(crate) source: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) organization: Option<u32>,
    /// Microseconds within the day.
    pub(crate) at: u64,
}

/// The members of a JSON object.
pub(crate) struct Fields<'a> {
    text: &'a mut Vec<u8>,
    started: bool,
}

impl Page {
    pub(crate) fn new(ids: Ids, day: u32, date: chrono::NaiveDate, blank: bool) -> Self {
        Self {
            ids,
            serial: u64::from(day) << 40,
            date: format!("{date}T"),
            text: (!blank).then(Vec::new),
            lines: Vec::new(),
        }
    }

    pub(crate) fn event(&mut self, head: &EventHead<'_>, data: impl FnOnce(&mut Fields<'_>)) {
        self.serial += 1;
        let Some(text) = &mut self.text else { return };
        let from = text.len();
        let mut fields = Fields { text, started: false };
        fields.object(|event| {
            event.text("specversion", "1.0");
            event.code("id", head.prefix, &self.ids.long(self.serial));
            event.text("source", head.source);
            event.text("type", head.kind);
            if let Some(index) = head.organization {
                event.code("subject", "org_", &self.ids.short(crate::identity::member(index, 0)));
            }
            event.time("time", &self.date, head.at);
            event.key("data");
            event.object(data);
        });
        text.push(b'\n');
        let to = text.len();
        self.lines.push((head.at, from..to));
    }

    /// The lines in order of time; those of one instant stay in the order they were made.
    pub(crate) fn in_order(mut self) -> Vec<u8> {
        let text = self.text.unwrap_or_default();
        self.lines.sort_by_key(|(at, _)| *at);
        let mut ordered = Vec::with_capacity(text.len());
        for (_, line) in self.lines {
            ordered.extend_from_slice(&text[line]);
        }
        ordered
    }
}

impl Fields<'_> {
    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.code(key, value, b"");
    }

    /// A string of two parts, most often a prefix and the code of an id.
    pub(crate) fn code(&mut self, key: &str, prefix: &str, code: &[u8]) {
        self.key(key);
        self.text.push(b'"');
        self.text.extend_from_slice(prefix.as_bytes());
        self.text.extend_from_slice(code);
        self.text.push(b'"');
    }

    pub(crate) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        digits(self.text, value);
    }

    pub(crate) fn flag(&mut self, key: &str, value: bool) {
        self.key(key);
        self.text.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// An amount in pico-dollars, as a decimal string without trailing zeros.
    pub(crate) fn pico(&mut self, key: &str, value: u64) {
        const ONE: u64 = 1_000_000_000_000;
        self.key(key);
        self.text.push(b'"');
        digits(self.text, value / ONE);
        let mut rest = value % ONE;
        if rest > 0 {
            let mut places = 12;
            while rest.is_multiple_of(10) {
                rest /= 10;
                places -= 1;
            }
            self.text.push(b'.');
            padded(self.text, rest, places);
        }
        self.text.push(b'"');
    }

    /// An amount in cents, as a decimal string with two places.
    pub(crate) fn cents(&mut self, key: &str, value: u64) {
        self.key(key);
        self.text.push(b'"');
        digits(self.text, value / 100);
        self.text.push(b'.');
        padded(self.text, value % 100, 2);
        self.text.push(b'"');
    }

    /// A nested object of one text.
    pub(crate) fn attribute(&mut self, key: &str, value: &str) {
        self.key("attributes");
        self.object(|attributes| attributes.text(key, value));
    }

    fn time(&mut self, key: &str, date: &str, at: u64) {
        let seconds = at / 1_000_000;
        self.key(key);
        self.text.push(b'"');
        self.text.extend_from_slice(date.as_bytes());
        padded(self.text, seconds / 3600, 2);
        self.text.push(b':');
        padded(self.text, seconds / 60 % 60, 2);
        self.text.push(b':');
        padded(self.text, seconds % 60, 2);
        self.text.push(b'.');
        padded(self.text, at % 1_000_000, 6);
        self.text.extend_from_slice(b"Z\"");
    }

    fn key(&mut self, key: &str) {
        self.text.extend_from_slice(if self.started { b",\"" } else { b"\"" });
        self.started = true;
        self.text.extend_from_slice(key.as_bytes());
        self.text.extend_from_slice(b"\":");
    }

    fn object(&mut self, members: impl FnOnce(&mut Fields<'_>)) {
        self.text.push(b'{');
        members(&mut Fields { text: &mut *self.text, started: false });
        self.text.push(b'}');
    }
}

fn digits(text: &mut Vec<u8>, value: u64) {
    let places = value.checked_ilog10().map_or(1, |log| log as usize + 1);
    padded(text, value, places);
}

/// Exactly `places` digits, at most 20.
fn padded(text: &mut Vec<u8>, mut value: u64, places: usize) {
    let mut buffer = [b'0'; 20];
    for place in buffer[..places].iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
    text.extend_from_slice(&buffer[..places]);
}

#[cfg(test)]
mod tests {
    use super::Fields;

    fn written(write: impl FnOnce(&mut Fields<'_>)) -> String {
        let mut text = Vec::new();
        write(&mut Fields { text: &mut text, started: false });
        String::from_utf8(text).expect("ASCII")
    }

    #[test]
    fn amounts_are_exact_decimals() {
        assert_eq!(written(|f| f.pico("a", 0)), r#""a":"0""#);
        assert_eq!(written(|f| f.pico("a", 1)), r#""a":"0.000000000001""#);
        assert_eq!(written(|f| f.pico("a", 3_559_800_000)), r#""a":"0.0035598""#);
        assert_eq!(written(|f| f.pico("a", 12_000_000_000_000)), r#""a":"12""#);
        assert_eq!(written(|f| f.cents("a", 150_005)), r#""a":"1500.05""#);
    }

    #[test]
    fn numbers_have_no_leading_zeros() {
        assert_eq!(written(|f| f.number("a", 0)), r#""a":0"#);
        assert_eq!(written(|f| f.number("a", 1_000)), r#""a":1000"#);
        assert_eq!(written(|f| f.number("a", u64::MAX)), r#""a":18446744073709551615"#);
    }

    #[test]
    fn times_have_microseconds() {
        let time = written(|f| f.time("t", "2026-01-31T", 86_399_999_999));
        assert_eq!(time, r#""t":"2026-01-31T23:59:59.999999Z""#);
    }
}
