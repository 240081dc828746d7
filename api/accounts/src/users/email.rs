//! An e-mail address, in the one form that is stored and compared.

use std::fmt;

use ingest::control;

use super::AccountError;

/// Lowercase, `local@domain.tld`, at most 254 bytes (RFC 5321). Whether it exists, only a mail can tell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Email(String);

impl Email {
    /// Trims the text and makes it lowercase. Fails when it is not `local@domain.tld`, has more than 254 bytes, or
    /// holds a character that is not visible.
    pub fn parse(text: &str) -> Result<Self, AccountError> {
        if text.chars().any(is_invisible) {
            return Err(Self::refusal());
        }
        Self::stored(text)
    }

    /// One that was taken by an earlier version, which asked for less.
    pub(super) fn stored(text: &str) -> Result<Self, AccountError> {
        let text = text.trim().to_lowercase();
        let plain =
            text.len() <= 254 && !text.contains(char::is_whitespace) && !control::in_name(&text);
        let parts = text.split_once('@').filter(|(local, domain)| {
            let labels = domain.split('.').collect::<Vec<_>>();
            (1..=64).contains(&local.len())
                && !domain.contains('@')
                && labels.len() >= 2
                && labels.iter().all(|label| !label.is_empty())
        });
        if plain && parts.is_some() { Ok(Self(text)) } else { Err(Self::refusal()) }
    }

    fn refusal() -> AccountError {
        AccountError::Invalid { field: "email", reason: "must be an e-mail address" }
    }

    /// The address as it is stored: lowercase, without spaces around it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// An address that nobody has (RFC 2606).
    pub(super) fn nobody() -> Self {
        Self("x@x.invalid".to_owned())
    }

    /// What stands before the `@`.
    pub fn local_part(&self) -> &str {
        self.0.split_once('@').map_or("", |(local, _)| local)
    }
}

/// Characters that are not shown, by which one address looks like another: Unicode's Default_Ignorable_Code_Point.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
