//! Mails about accounts.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use delivery::{ACCOUNT_MAIL, Channel, Content, Links, NewDelivery, Personal, enqueue};
use pages::{Language, Vocabulary};
use state::{
    ids::{base62, random_bytes},
    store::{StoreError, Write},
};

static WORDS: LazyLock<Vocabulary> =
    LazyLock::new(|| Vocabulary::read(include_str!("../words/mails.yaml")).unwrap_or_default());

/// How mails leave: where their links lead, and whether any can be sent.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Makes links to our pages.
    pub links: Links,
    /// Whether a mail server is configured.
    pub sends_mail: bool,
}

/// What a mail says. The name of the words, and what stands for what is named in them.
#[derive(Debug, Clone, Copy)]
pub(super) struct AccountMail<'a> {
    pub(super) words: &'static str,
    /// A path of ours.
    pub(super) path: &'a str,
    pub(super) organization: &'a str,
    pub(super) inviter: &'a str,
}

impl AccountMail<'_> {
    /// A mail that names nobody.
    pub(super) fn of(words: &'static str, path: &'static str) -> AccountMail<'static> {
        AccountMail { words, path, organization: "", inviter: "" }
    }
}

impl Outgoing {
    /// Sends nothing.
    pub fn none() -> Self {
        Self { links: Links::new("", &[0; 32]), sends_mail: false }
    }

    /// Sends a mail, in the transaction that makes it necessary.
    pub(super) async fn send(
        &self,
        write: &Write,
        to: &str,
        language: Language,
        mail: AccountMail<'_>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        if !self.sends_mail {
            return Ok(());
        }
        let reference = format!("{ACCOUNT_MAIL}{}", base62(&random_bytes::<16>()?, 22));
        let new = NewDelivery {
            content_id: reference.clone(),
            reference,
            channel: Channel::Mail,
            address: to.to_owned(),
            personal: Personal::new(),
            notice: None,
        };
        enqueue(write, &new, &self.content(language, mail), now).await.map(drop)
    }

    fn content(&self, language: Language, mail: AccountMail<'_>) -> Content {
        let link = self.links.to(mail.path);
        let text = |name: &str| {
            let name = format!("{}_{name}", mail.words);
            WORDS
                .text(&name, language)
                .replace("{link}", &link)
                .replace("{organization}", mail.organization)
                .replace("{inviter}", mail.inviter)
        };
        Content { subject: text("subject"), text: text("text") + "\n", ..Content::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mail_has_its_words() {
        let outgoing =
            Outgoing { links: Links::new("https://hub.example", &[0; 32]), sends_mail: true };
        for words in [
            "register",
            "known",
            "reset",
            "changed",
            "email",
            "moved",
            "invitation",
            "factor_on",
            "factor_off",
            "reused",
        ] {
            for language in Language::ALL {
                let mail = AccountMail { words, path: "/x", organization: "Acme", inviter: "ann" };
                let content = outgoing.content(language, mail);
                assert!(
                    !content.subject.contains('_') && content.text.chars().count() > 20,
                    "{words}"
                );
                assert!(!content.text.contains('{') && !content.subject.contains('{'), "{words}");
            }
        }
    }
}
