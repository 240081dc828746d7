//! Characters that do something where a text is shown: they move a terminal's cursor, end a line, or turn the order
//! of what is read. Names hold none, other texts hold only tabs and line ends, and what is shown shows them as
//! escapes.

use std::borrow::Cow;

/// Whether a name or an id holds one.
pub fn in_name(text: &str) -> bool {
    !is_printable_ascii(text) && text.chars().any(is_control)
}

/// Whether a text that may have several lines holds another one than tabs and line ends.
pub fn in_text(text: &str) -> bool {
    !is_printable_ascii(text)
        && text.chars().any(|c| is_control(c) && !matches!(c, '\t' | '\n' | '\r'))
}

/// A name or a message as a terminal may show it: `\t`, `\n`, `\r` or `\u{1b}` in the place of what they stand for.
pub fn shown(text: &str) -> Cow<'_, str> {
    if in_name(text) { Cow::Owned(escaped(text, is_control)) } else { Cow::Borrowed(text) }
}

/// The same for a text of several lines, whose tabs and line ends stay.
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    let moves = |c| is_control(c) && !matches!(c, '\t' | '\n');
    if in_name(text) { Cow::Owned(escaped(text, moves)) } else { Cow::Borrowed(text) }
}

fn escaped(text: &str, is_hidden: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_hidden(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Unicode's controls (Cc: C0 with NUL and ESC, DEL, and C1, which some terminals obey as they do ESC), line and
/// paragraph separators, and what overrides the direction of writing.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Nearly every text is: the loop has no branch, for each column of each event comes here.
fn is_printable_ascii(text: &str) -> bool {
    text.bytes().fold(true, |printable, byte| printable & (0x20..0x7f).contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_something_is_found_and_shown() {
        for (text, name, lines, as_shown) in [
            ("", false, false, ""),
            ("plain ~ text", false, false, "plain ~ text"),
            (
                "Zoë 株式会社 👩\u{200d}🔬 \u{5d0}\u{200f}",
                false,
                false,
                "Zoë 株式会社 👩\u{200d}🔬 \u{5d0}\u{200f}",
            ),
            ("a\tb\r\n", true, false, "a\\tb\\r\\n"),
            ("\u{1b}[2J", true, true, "\\u{1b}[2J"),
            ("a\0", true, true, "a\\u{0}"),
            ("\u{7f}", true, true, "\\u{7f}"),
            ("é\u{9b}2J", true, true, "é\\u{9b}2J"),
            ("\u{202e}gpj.exe", true, true, "\\u{202e}gpj.exe"),
            ("\u{2028}", true, true, "\\u{2028}"),
            ("\u{2066}", true, true, "\\u{2066}"),
        ] {
            assert_eq!((in_name(text), in_text(text)), (name, lines), "{text:?}");
            assert_eq!(shown(text), as_shown);
        }
        assert_eq!(shown_lines("a\tb\n\u{1b}\r"), "a\tb\n\\u{1b}\\r");
    }
}
