//! `/developers/requests`: the request log.

use accounts::{Directory, Visit, visit};
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, NaiveDate, Utc};
use pages::screen::{Field, Form, Row, Screen, Section, Table};
use rest::{
    principal::{Gate, Permission, ReadMetrics},
    problem::{Problem, parameters},
};
use serde::Deserialize;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{LoggedRequest, RequestFilter, SKIP_MAX, status_of, window};
use crate::{Portal, own::own_organization, words::Say};

const SHOWN: u64 = 50;

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.route("/developers/requests", web::get().to(show));
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageParameters {
    lang: Option<String>,
    request_id: Option<String>,
    api_key_id: Option<String>,
    model: Option<String>,
    status: Option<String>,
    /// Days in UTC; the last one is included.
    from: Option<String>,
    to: Option<String>,
    page: Option<u64>,
}

fn filled(text: Option<&String>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn day(text: Option<&String>, is_end: bool) -> Result<Option<DateTime<Utc>>, Problem> {
    let Some(text) = filled(text) else { return Ok(None) };
    let wrong = || Problem::invalid_parameters(format!("`{text}` is no day such as 2026-01-31"));
    let day: NaiveDate = text.parse().map_err(|_| wrong())?;
    let day = if is_end { day.succ_opt().ok_or_else(wrong)? } else { day };
    Ok(Some(day.and_time(chrono::NaiveTime::MIN).and_utc()))
}

impl PageParameters {
    fn filter(&self, now: DateTime<Utc>) -> Result<RequestFilter, Problem> {
        let (from, to) =
            window(day(self.from.as_ref(), false)?, day(self.to.as_ref(), true)?, now)?;
        Ok(RequestFilter {
            from,
            to,
            request_id: filled(self.request_id.as_ref()),
            api_key_id: filled(self.api_key_id.as_ref()),
            model: filled(self.model.as_ref()),
            status: filled(self.status.as_ref()).as_deref().map(status_of).transpose()?,
            page: (self.page.unwrap_or_default().min(SKIP_MAX), SHOWN),
        })
    }

    /// The same question from another place on.
    fn address(&self, skip: u64) -> String {
        let given = [
            ("request_id", &self.request_id),
            ("api_key_id", &self.api_key_id),
            ("model", &self.model),
            ("status", &self.status),
            ("from", &self.from),
            ("to", &self.to),
        ];
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in given {
            if let Some(value) = filled(value.as_ref()) {
                query.append_pair(name, &value);
            }
        }
        query.append_pair("page", &skip.to_string());
        format!("/developers/requests?{}", query.finish())
    }
}

async fn show(
    request: HttpRequest,
    asked: Result<web::Query<PageParameters>, actix_web::Error>,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    portal: web::Data<Portal>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let said = (asked.lang.as_deref(), None);
    let visit = match visit(&request, &gate, &directory, said, ReadMetrics::check).await? {
        Ok(visit) => visit,
        Err(way_in) => return Ok(way_in),
    };
    let say = Say::of(&visit);
    let id = own_organization(&visit.principal)?;
    // What is wrong with the question stands above its fields.
    let (found, failure) = match asked.filter(portal.state.clock.now()) {
        Ok(filter) => (portal.requests.requests(id, &filter).await?, None),
        Err(problem) => {
            let reason = problem.detail.as_deref().unwrap_or_default().to_owned();
            (Vec::new(), Some(say.filled("refused", &[("reason", &reason)])))
        }
    };
    let skip = asked.page.unwrap_or_default().min(SKIP_MAX);
    let mut links = Vec::new();
    if skip > 0 {
        links.push((say.to(&asked.address(skip.saturating_sub(SHOWN))), say.word("newer")));
    }
    if found.len() as u64 == SHOWN && skip + SHOWN <= SKIP_MAX {
        links.push((say.to(&asked.address(skip + SHOWN)), say.word("older")));
    }
    let form = Form { failure, ..form(&say, &asked) };
    visit.shown(Screen {
        here: "developers",
        title: say.word("requests"),
        lead: Some(say.word("requests_lead")),
        tabs: say.tabs("/developers/requests"),
        sections: vec![
            Section { title: say.word("filter"), forms: vec![form], ..Section::default() },
            Section {
                title: say.word("requests"),
                table: Some(table(&say, &visit, found)),
                empty: Some(say.word("no_requests")),
                links,
                ..Section::default()
            },
        ],
        ..Screen::default()
    })
}

fn form(say: &Say, asked: &PageParameters) -> Form {
    let text = |name: &'static str, value: &Option<String>| {
        Field::new(name, &say.word(name), "text")
            .with(value.as_deref().unwrap_or_default())
            .optional()
    };
    let statuses = [("", "any_status"), ("error", "errors_only")];
    let mut options: Vec<_> =
        statuses.map(|(value, name)| (value.to_owned(), say.word(name))).to_vec();
    options.extend(["200", "400", "401", "429", "500", "503"].map(|one| (one.into(), one.into())));
    Form {
        path: "/developers/requests".into(),
        fields: vec![
            text("request_id", &asked.request_id),
            text("api_key_id", &asked.api_key_id),
            text("model", &asked.model),
            Field::new("status", &say.word("status"), "select")
                .with(asked.status.as_deref().unwrap_or_default())
                .of(options)
                .optional(),
            text("from", &asked.from).hinted("YYYY-MM-DD"),
            text("to", &asked.to).hinted("YYYY-MM-DD"),
        ],
        button: say.word("show"),
        is_query: true,
        ..Form::default()
    }
}

/// The rows of requests.
pub(super) fn table(say: &Say, visit: &Visit, requests: Vec<LoggedRequest>) -> Table {
    let head = ["at", "request_id", "model", "api_key_id", "tokens", "latency", "cost"];
    let row = |request: LoggedRequest| {
        let class = if request.failed() { "failed" } else { "ok" };
        let status = request.status_code.map(|status| status.to_string());
        let status = [status, request.error_code].into_iter().flatten().collect::<Vec<_>>();
        let number = |number: Option<i64>| number.map_or_else(|| "–".to_owned(), |n| n.to_string());
        let cost = request.list_price.zip(request.currency);
        Row {
            cells: vec![
                visit.minute(request.occurred_at),
                request.request_id,
                request.model.unwrap_or_default(),
                request.api_key_id.unwrap_or_default(),
                format!("{} / {}", number(request.input_tokens), number(request.output_tokens)),
                request.latency_ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms} ms")),
                cost.map(|(amount, currency)| format!("{} {currency}", short(&amount)))
                    .unwrap_or_default(),
            ],
            status: (!status.is_empty()).then(|| (status.join(" "), class)),
            ..Row::default()
        }
    };
    Table {
        head: head.map(|name| say.word(name)).to_vec(),
        rows: requests.into_iter().map(row).collect(),
    }
}

/// A decimal without the zeros at its end.
pub(super) fn short(amount: &str) -> &str {
    match amount.contains('.') {
        true => amount.trim_end_matches('0').trim_end_matches('.'),
        false => amount,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_from_its_address_and_written_back() {
        let now = "2026-01-31T12:00:00Z".parse().unwrap();
        let asked = PageParameters {
            model: Some(" gpt-4o ".into()),
            status: Some("error".into()),
            from: Some("2026-01-30".into()),
            to: Some("2026-01-30".into()),
            request_id: Some(String::new()),
            ..PageParameters::default()
        };
        let filter = asked.filter(now).unwrap();
        assert_eq!((filter.model.as_deref(), filter.request_id), (Some("gpt-4o"), None));
        assert_eq!((filter.to - filter.from).num_hours(), 24);
        let address = asked.address(50);
        assert!(
            address.ends_with("model=gpt-4o&status=error&from=2026-01-30&to=2026-01-30&page=50")
        );
        let wrong = PageParameters { from: Some("x".into()), ..PageParameters::default() };
        assert!(wrong.filter(now).is_err());
    }

    #[test]
    fn amounts_are_short() {
        assert_eq!([short("0.002300"), short("10"), short("5.000")], ["0.0023", "10", "5"]);
    }
}
