//! The pages of billing: what customers see of their plan and invoices, and what staff sees of all. Each is complete without a
//! script.

mod invoice;
mod own;
mod paying;
mod plans;
mod priced;
mod prices;
mod staff;
mod staff_organization;

use std::sync::LazyLock;

use accounts::{Directory, Visit, visit};
use actix_web::{HttpRequest, HttpResponse, web};
use pages::{Language, Vocabulary};
use rest::{
    feature::Feature,
    principal::{Gate, Permission},
    problem::{Problem, parameters},
};
use rust_decimal::Decimal;
use serde::Deserialize;

use crate::{
    Billing,
    fault::Fault,
    invoices::{Invoice, InvoiceStatus},
};

/// Pages of billing.
pub(crate) const FEATURE: Feature<Billing> =
    Feature::new("billing_pages").with_routes(|config, _| {
        own::routes(config);
        plans::routes(config);
        invoice::routes(config);
        paying::routes(config);
        staff::routes(config);
        staff_organization::routes(config);
        prices::routes(config);
    });

static WORDS: LazyLock<Vocabulary> =
    LazyLock::new(|| Vocabulary::read(include_str!("../words/portal.yaml")).unwrap_or_default());

/// What a page works with.
struct Desk<'a> {
    billing: &'a Billing,
    visit: Visit,
}

/// What addresses of these pages may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    lang: Option<String>,
    done: Option<String>,
    act: Option<String>,
    plan: Option<String>,
    seats: Option<u32>,
    when: Option<String>,
}

type Parameters = Result<web::Query<Asked>, actix_web::Error>;

async fn opened<'a, P: Permission>(
    request: &HttpRequest,
    (gate, directory): (&Gate, &Directory),
    billing: &'a Billing,
    asked: Parameters,
) -> Result<Result<(Desk<'a>, Asked), HttpResponse>, Problem> {
    let asked = parameters(asked)?;
    let said = (asked.lang.as_deref(), asked.done.as_deref());
    let found = visit(request, gate, directory, said, P::check).await?;
    Ok(found.map(|visit| (Desk { billing, visit }, asked)))
}

impl Desk<'_> {
    fn word(&self, name: &str) -> String {
        WORDS.text(name, self.language()).to_owned()
    }

    fn filled(&self, name: &str, places: &[(&str, &str)]) -> String {
        WORDS.filled(name, places, self.language())
    }

    fn language(&self) -> Language {
        self.visit.reader.language
    }

    fn words<const N: usize>(&self, names: [&str; N]) -> Vec<String> {
        names.map(|name| self.word(name)).to_vec()
    }

    /// An address of ours in the language of the reader.
    fn to(&self, path: &str) -> String {
        let mark = if path.contains('?') { '&' } else { '?' };
        format!("{path}{mark}lang={}", self.language().tag())
    }

    fn status(&self, status: InvoiceStatus) -> (String, &'static str) {
        let class = match status {
            InvoiceStatus::Paid => "ok",
            InvoiceStatus::Uncollectible | InvoiceStatus::Void => "failed",
            InvoiceStatus::Open | InvoiceStatus::Draft => "",
        };
        (self.word(status.as_str()), class)
    }

    fn money(of: &Invoice, amount: Decimal) -> String {
        format!("{amount} {}", of.currency.as_str())
    }
}

/// Why a form was refused, for people: the field and a sentence. What people cannot mend is a problem.
fn refusal(desk: &Desk<'_>, fault: Fault) -> Result<(Option<&'static str>, String), Problem> {
    let reason = fault.to_string();
    match fault {
        Fault::Store(_) | Fault::Usage(_) => Err(fault.into()),
        Fault::Invalid { field, .. } => {
            Ok((Some(field), desk.filled("refused", &[("reason", &reason)])))
        }
        _ => Ok((None, desk.filled("refused", &[("reason", &reason)]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_there_in_both_languages() {
        let files = [
            include_str!("../words/portal.yaml"),
            include_str!("../words/documents.yaml"),
            include_str!("../words/mails.yaml"),
        ];
        for file in files {
            assert!(Vocabulary::read(file).is_ok(), "{:?}", Vocabulary::read(file));
        }
        for name in ["billing", "subscription", "cost_note", "refused"] {
            assert_ne!(WORDS.text(name, Language::ZhCn), name);
            assert_ne!(WORDS.text(name, Language::ZhCn), WORDS.text(name, Language::En));
        }
    }
}
