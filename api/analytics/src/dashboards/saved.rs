//! `/queries`: saved queries as pages, for those who do not write SQL.

use actix_web::{HttpRequest, HttpResponse, web};
use pages::saved_query::{
    Field, Listed, Reader, SavedQueryPage, SavedQueryResult, saved_queries_page, saved_query_page,
};
use rest::{
    page::{html_page, language, user_name, visitor},
    principal::{Ability, Gate, Principal, ReadMetrics},
    problem::{Problem, parameters},
};
use serde::Deserialize;

use super::saved_rows::rows_of;
use crate::{
    Lake,
    queries::{PARAMETER, QueryBody, SavedQuery, saved_for, visible},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LanguageParameters {
    pub(super) lang: Option<String>,
}

pub(super) async fn list(
    request: HttpRequest,
    asked: Result<web::Query<LanguageParameters>, actix_web::Error>,
    gate: web::Data<Gate>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let principal = match visitor::<ReadMetrics>(&request, &gate).await? {
        Ok(principal) => principal,
        Err(way_in) => return Ok(way_in),
    };
    let asked = parameters(asked)?;
    let queries = saved_for(&lake.state.store, &principal).await?;
    let queries: Vec<_> = queries
        .into_iter()
        .map(|query| Listed { name: query.name, description: query.description })
        .collect();
    let reader = who_reads(&request, &principal, asked.lang.as_deref());
    saved_queries_page(&reader, &queries).map(html_page).map_err(|error| unshown(&error))
}

pub(super) async fn page(
    request: HttpRequest,
    name: web::Path<String>,
    asked: Result<web::Query<Vec<(String, String)>>, actix_web::Error>,
    gate: web::Data<Gate>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let principal = match visitor::<ReadMetrics>(&request, &gate).await? {
        Ok(principal) => principal,
        Err(way_in) => return Ok(way_in),
    };
    let address = PageParameters::read(parameters(asked)?)?;
    let saved = visible(&lake.state.store, &principal, &name, address.version).await?;
    let fields = saved.parameters.iter().map(|(name, declared)| Field {
        name: name.clone(),
        kind: declared.kind.as_str(),
        value: address.value(name).or(declared.default.as_deref()).unwrap_or_default().to_owned(),
        required: declared.default.is_none(),
    });
    let fields: Vec<_> = fields.collect();
    let is_unasked = |(name, field): (&String, &Field)| {
        saved.parameters[name].default.is_none() && address.value(name).is_none() && field.required
    };
    let answer = match saved.parameters.keys().zip(&fields).any(is_unasked) {
        true => SavedQueryResult::Unasked,
        false => shown(&principal, &lake, &saved, &address).await?,
    };
    let rest = address.rest();
    let page = SavedQueryPage {
        rows_address: format!("/v1/saved-queries/{}/rows?{}format=", saved.name, led(&rest)),
        rest: rest.clone(),
        kept: address.kept(),
        name: saved.name,
        description: saved.description,
        version: saved.version,
        fields,
        answer,
    };
    let reader = who_reads(&request, &principal, address.lang.as_deref());
    saved_query_page(&reader, &page).map(html_page).map_err(|error| unshown(&error))
}

pub(crate) fn who_reads(
    request: &HttpRequest,
    principal: &Principal,
    lang: Option<&str>,
) -> Reader {
    Reader {
        language: language(request, lang),
        user: user_name(principal),
        organization: principal.reach.organization_id().map(str::to_owned),
        asks_sql: principal.may(Ability::RunSql),
    }
}

/// What the address of a page says.
#[derive(Debug, Default)]
struct PageParameters {
    lang: Option<String>,
    version: Option<i32>,
    tz: Option<String>,
    /// With their texts. An empty one is as good as none.
    values: Vec<(String, String)>,
}

impl PageParameters {
    fn read(pairs: Vec<(String, String)>) -> Result<Self, Problem> {
        let mut address = Self::default();
        for (name, text) in pairs {
            let refuse = || Problem::invalid_parameters(format!("`{name}={text}` is not possible"));
            match name.as_str() {
                "lang" => address.lang = Some(text),
                "version" => address.version = Some(text.parse().map_err(|_| refuse())?),
                "tz" => address.tz = Some(text),
                _ => match name.strip_prefix(PARAMETER) {
                    Some(_) if text.is_empty() => {}
                    Some(parameter) => address.values.push((parameter.to_owned(), text)),
                    None => return Err(refuse()),
                },
            }
        }
        Ok(address)
    }

    fn kept(&self) -> Vec<(&'static str, String)> {
        let version = self.version.map(|version| ("version", version.to_string()));
        version.into_iter().chain(self.tz.clone().map(|tz| ("tz", tz))).collect()
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    /// All but the language, each with an `&` before it.
    fn rest(&self) -> String {
        let mut rest = url::form_urlencoded::Serializer::new(String::new());
        if let Some(version) = self.version {
            rest.append_pair("version", &version.to_string());
        }
        if let Some(tz) = &self.tz {
            rest.append_pair("tz", tz);
        }
        for (name, text) in &self.values {
            rest.append_pair(&format!("{PARAMETER}{name}"), text);
        }
        match rest.finish() {
            empty if empty.is_empty() => empty,
            rest => format!("&{rest}"),
        }
    }
}

/// The pairs of an address as the beginning of one.
fn led(rest: &str) -> String {
    rest.strip_prefix('&').map_or_else(String::new, |rest| format!("{rest}&"))
}

/// The answer, or what is wrong with the values.
async fn shown(
    principal: &Principal,
    lake: &Lake,
    saved: &SavedQuery,
    address: &PageParameters,
) -> Result<SavedQueryResult, Problem> {
    let body = QueryBody { tz: address.tz.clone(), ..QueryBody::default() };
    let too_large =
        || SavedQueryResult::Failed("the answer is too large for a page: download it".into());
    match rows_of(principal, lake, saved, address.values.clone(), body).await {
        Ok(rows) => Ok(rows.map_or_else(too_large, SavedQueryResult::Rows)),
        // The reader can change the values.
        Err(problem) if matches!(problem.status, 400 | 413 | 422) => {
            Ok(SavedQueryResult::Failed(problem.detail.unwrap_or_default().into()))
        }
        Err(problem) => Err(problem),
    }
}

fn unshown(error: &pages::Error) -> Problem {
    tracing::error!(error = error as &dyn std::error::Error, "a page of saved queries");
    Problem::internal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back() {
        let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let pairs =
            vec![pair("lang", "en"), pair("p.a", "x&y=1"), pair("p.b", ""), pair("version", "2")];
        let address = PageParameters::read(pairs).unwrap();
        assert_eq!(address.rest(), "&version=2&p.a=x%26y%3D1");
        assert_eq!((address.value("a"), address.value("b")), (Some("x&y=1"), None));
        assert!(PageParameters::read(vec![pair("other", "1")]).is_err());
        assert_eq!(PageParameters::default().rest(), "");
    }
}
