//! Mail, by SMTP.

use std::{fmt, str::FromStr, time::Duration};

use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{
        Attachment, Body, Mailbox, MultiPart, SinglePart,
        header::{ContentType, HeaderName, HeaderValue},
    },
    transport::smtp::{
        self,
        authentication::Credentials,
        client::{Tls as SmtpTls, TlsParameters},
    },
};

use crate::{Content, Part, Personal, SendError, Smtp, Tls};

/// Sends mail through one server.
#[derive(Clone)]
pub(crate) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    patience: Duration,
}

/// The headers of a mail that are not its content.
pub(crate) struct Envelope<'a> {
    /// Unique, and the same in each attempt.
    pub(crate) id: &'a str,
    pub(crate) to: &'a str,
    pub(crate) personal: &'a Personal,
}

/// A server may take so many times its timeout for a whole mail.
const PATIENCE: u32 = 10;

impl Mailer {
    /// None where no server is named.
    pub(crate) fn new(settings: &Smtp) -> Result<Option<Self>, String> {
        if settings.host.is_empty() {
            return Ok(None);
        }
        let from = Mailbox::from_str(&settings.from)
            .map_err(|error| format!("smtp.from: `{}` is no address: {error}", settings.from))?;
        let tls = || {
            TlsParameters::new(settings.host.clone()).map_err(|error| format!("smtp.tls: {error}"))
        };
        let timeout = Duration::from_secs(settings.timeout_seconds.max(1));
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
            .port(settings.port())
            .timeout(Some(timeout))
            .tls(match settings.tls {
                Tls::Starttls => SmtpTls::Required(tls()?),
                Tls::Tls => SmtpTls::Wrapper(tls()?),
                Tls::None => SmtpTls::None,
            });
        if !settings.user.is_empty() {
            let password = settings.password.reveal().to_owned();
            transport = transport.credentials(Credentials::new(settings.user.clone(), password));
        }
        Ok(Some(Self { transport: transport.build(), from, patience: timeout * PATIENCE }))
    }

    pub(crate) async fn send(
        &self,
        content: Content,
        envelope: &Envelope<'_>,
    ) -> Result<(), SendError> {
        let message = self.compose(content, envelope)?;
        let sending = tokio::time::timeout(self.patience, self.transport.send(message));
        match sending.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(refused(&error)),
            Err(_) => Err(SendError::unclear("the mail server takes too long")),
        }
    }

    /// The mail as it is sent.
    pub(crate) fn compose(
        &self,
        content: Content,
        envelope: &Envelope<'_>,
    ) -> Result<Message, SendError> {
        let wrong = |what: &str, error: &dyn fmt::Display| {
            SendError::permanent(format!("the mail cannot be written: {what}: {error}"))
        };
        let to: Address = envelope
            .to
            .parse()
            .map_err(|error| SendError::permanent(format!("`{}`: {error}", envelope.to)))?;
        let content = content.filled(envelope.personal);
        let domain = self.from.email.domain();
        let mut message = Message::builder()
            .message_id(Some(format!("<{}@{domain}>", envelope.id)))
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(one_line(&content.subject));
        if let Some(link) = envelope.personal.get("unsubscribe").filter(|link| !link.is_empty()) {
            let name = HeaderName::new_from_ascii_str("List-Unsubscribe");
            message = message.raw_header(HeaderValue::new(name, format!("<{}>", one_line(link))));
            // RFC 8058: a mail program may do it with one POST.
            let name = HeaderName::new_from_ascii_str("List-Unsubscribe-Post");
            let click = "List-Unsubscribe=One-Click".to_owned();
            message = message.raw_header(HeaderValue::new(name, click));
        }
        // No answer of a holiday to a program.
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        message = message.raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()));
        let body = body(content).map_err(|error| wrong("a part", &error))?;
        message.multipart(body).map_err(|error| wrong("a header", &error))
    }
}

/// Text and HTML, the images in it, and the files.
fn body(content: Content) -> Result<MultiPart, lettre::message::header::ContentTypeErr> {
    let plain = SinglePart::plain(content.text);
    let mut body = match content.html {
        None => MultiPart::mixed().singlepart(plain),
        Some(html) => {
            let mut related = MultiPart::related().singlepart(SinglePart::html(html));
            for Part { name, content_type, bytes } in content.images {
                let kind = ContentType::parse(&content_type)?;
                related = related.singlepart(
                    Attachment::new_inline_with_name(name.clone(), name)
                        .body(Body::new(bytes), kind),
                );
            }
            let both = MultiPart::alternative().singlepart(plain).multipart(related);
            MultiPart::mixed().multipart(both)
        }
    };
    for Part { name, content_type, bytes } in content.attachments {
        let kind = ContentType::parse(&content_type)?;
        body = body.singlepart(Attachment::new(name).body(Body::new(bytes), kind));
    }
    Ok(body)
}

/// A header has one line, whatever its text says.
fn one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).collect()
}

/// The codes by which a server refuses us, not the recipient: an operator can mend that.
const OUR_FAULT: [u16; 5] = [530, 534, 535, 538, 454];

fn refused(error: &smtp::Error) -> SendError {
    let reason = format!("the mail server: {error}");
    match error.status().map(u16::from) {
        Some(code) if error.is_permanent() && !OUR_FAULT.contains(&code) => {
            SendError::permanent(reason)
        }
        Some(_) => SendError::temporary(reason),
        None if error.is_client() || error.is_tls() => SendError::temporary(reason),
        // Nothing was said before there was a connection.
        None if error.to_string().starts_with("Connection error") => SendError::temporary(reason),
        None => SendError::unclear(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailer() -> Mailer {
        let smtp = Smtp {
            host: "localhost".into(),
            tls: Tls::None,
            from: "AI Hub 报告 <reports@example.com>".into(),
            ..Smtp::default()
        };
        Mailer::new(&smtp).unwrap().unwrap()
    }

    fn written(content: Content, personal: &Personal) -> String {
        let envelope = Envelope { id: "delivery_1", to: "a@example.org", personal };
        let message = mailer().compose(content, &envelope).unwrap();
        String::from_utf8(message.formatted()).unwrap()
    }

    #[tokio::test]
    async fn no_text_adds_a_header() {
        let content = Content {
            subject: "Sales\r\nBcc: all@example.com\u{0}".into(),
            text: "hello".into(),
            ..Content::default()
        };
        let personal =
            Personal::from([("unsubscribe".to_owned(), "https://x\r\nX-Odd: 1".to_owned())]);
        let mail = written(content, &personal);
        let (head, _) = mail.split_once("\r\n\r\n").unwrap();
        let names: Vec<_> = head
            .lines()
            .filter(|line| !line.starts_with([' ', '\t']))
            .map(|line| line.split(':').next().unwrap().to_ascii_lowercase())
            .collect();
        assert!(!names.iter().any(|name| name == "bcc" || name == "x-odd"), "{head}");
        assert!(head.contains("Message-ID: <delivery_1@example.com>"), "{head}");
        assert!(head.contains("Auto-Submitted: auto-generated"), "{head}");
    }

    #[tokio::test]
    async fn html_images_and_files_are_parts() {
        let part = |name: &str, kind: &str| Part {
            name: name.into(),
            content_type: kind.into(),
            bytes: b"x".to_vec(),
        };
        let content = Content {
            subject: "每周报告".into(),
            text: "plain".into(),
            html: Some("<img src=\"cid:chart-1.png\">".into()),
            images: vec![part("chart-1.png", "image/png")],
            attachments: vec![part("数据.csv", "text/csv; charset=utf-8")],
            ..Content::default()
        };
        let mail = written(content, &Personal::new());
        for text in [
            "multipart/mixed",
            "multipart/alternative",
            "multipart/related",
            "Content-ID: <chart-1.png>",
            "Content-Disposition: attachment",
            "=?utf-8?b?",
        ] {
            assert!(mail.contains(text), "{text} in {mail}");
        }
    }

    /// The whole mail, without its time and with names for the boundaries, which are random.
    #[tokio::test]
    async fn a_whole_mail_is_as_it_was() {
        let content = Content {
            subject: "每周报告: Weekly report".into(),
            text: "Requests: 1,204 (+3.1 %)\n".into(),
            html: Some(
                "<p>Requests: <b>1,204</b></p><img src=\"cid:chart-1.png\" alt=\"\">".into(),
            ),
            images: vec![Part {
                name: "chart-1.png".into(),
                content_type: "image/png".into(),
                bytes: b"not a picture".to_vec(),
            }],
            attachments: vec![Part {
                name: "requests.csv".into(),
                content_type: "text/csv; charset=utf-8".into(),
                bytes: b"at,value\r\n2026-03-01,1204\r\n".to_vec(),
            }],
            ..Content::default()
        };
        let link = "https://example.com/unsubscribe/abc".to_owned();
        let mut mail = written(content, &Personal::from([("unsubscribe".to_owned(), link)]));
        let boundaries: Vec<String> = mail
            .split("boundary=\"")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()))
            .collect();
        assert_eq!(boundaries.len(), 3, "{mail}");
        for (number, boundary) in (1..).zip(&boundaries) {
            mail = mail.replace(boundary.as_str(), &format!("boundary-{number}"));
        }
        let lines = mail.split("\r\n").map(|line| match line.starts_with("Date: ") {
            true => "Date: (now)",
            false => line,
        });
        insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
    }

    #[tokio::test]
    async fn wrong_settings_and_addresses_are_said() {
        let smtp = Smtp { host: "localhost".into(), from: "nobody".into(), ..Smtp::default() };
        assert!(Mailer::new(&smtp).err().unwrap().contains("smtp.from"));
        assert!(Mailer::new(&Smtp::default()).unwrap().is_none());
        let envelope = Envelope { id: "1", to: "a@b@c", personal: &Personal::new() };
        let error = mailer().compose(Content::default(), &envelope).err().unwrap();
        assert!(error.is_final, "{error}");
    }
}
