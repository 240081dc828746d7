//! What is sent, before it is known to whom.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The content of a delivery, for every channel. Many deliveries may share one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// The subject of a mail, the first line of a message.
    pub subject: String,
    /// The text without markup.
    pub text: String,
    /// The HTML of a mail.
    pub html: Option<String>,
    /// Images that the HTML shows by `cid:` and their names.
    pub images: Vec<Part>,
    /// Files, for mail and for the archive.
    pub attachments: Vec<Part>,
    /// The body of a webhook.
    pub json: Value,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The name with its extension.
    pub name: String,
    /// The media type.
    pub content_type: String,
    /// What is in it.
    #[serde(serialize_with = "encode", deserialize_with = "decode")]
    pub bytes: Vec<u8>,
}

/// What differs from recipient to recipient: `%%name%%` in texts and HTML stands for the value of `name`.
pub type Personal = BTreeMap<String, String>;

impl Content {
    /// With the values of one recipient. In HTML they are escaped.
    pub(crate) fn filled(mut self, personal: &Personal) -> Self {
        for (name, value) in personal {
            let mark = format!("%%{name}%%");
            self.text = self.text.replace(&mark, value);
            self.html = self.html.map(|html| html.replace(&mark, &escaped(value)));
        }
        self
    }
}

fn escaped(value: &str) -> String {
    value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn encode<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn personal_values_are_escaped_in_html_only() {
        let content = Content {
            text: "stop: %%link%%".into(),
            html: Some("<a href=\"%%link%%\">".into()),
            ..Content::default()
        };
        let personal = Personal::from([("link".to_owned(), "https://x/?a=1&b=\"".to_owned())]);
        let filled = content.filled(&personal);
        assert_eq!(filled.text, "stop: https://x/?a=1&b=\"");
        assert_eq!(filled.html.unwrap(), "<a href=\"https://x/?a=1&amp;b=&quot;\">");
    }

    #[test]
    fn content_reads_back() {
        let part =
            Part { name: "a.png".into(), content_type: "image/png".into(), bytes: vec![0, 255] };
        let content = Content { images: vec![part], ..Content::default() };
        let text = serde_json::to_string(&content).unwrap();
        assert_eq!(serde_json::from_str::<Content>(&text).unwrap(), content);
    }
}
