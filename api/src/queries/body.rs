//! What a client asks for, as it comes: in a body, or in a URL.

use actix_web::{
    HttpRequest,
    http::header::{self, HeaderMap},
};
use pipeline::Cut;
use query::{Author, Form, Parameters, Request, Task, Terms, Zone};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{problem, reach};
use crate::{
    as_of::Seal,
    clock::Clock,
    config,
    principal::Principal,
    problem::{Code, Problem},
};

/// A query.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct QueryBody {
    #[schema(required)]
    pub(crate) sql: String,
    /// Values for `$name` (an object) or `$1`, `$2` (an array): JSON scalars, or `{"type": …, "value": …}` with
    /// `boolean`, `integer`, `decimal`, `double`, `text`, `timestamp` or `date`.
    #[schema(value_type = Object)]
    pub(crate) params: Value,
    /// `json` (the default), `ndjson`, `csv`, `arrow` or `parquet`; else the `Accept` header says.
    #[schema(value_type = Option<String>)]
    pub(crate) format: Option<Form>,
    /// `spreadsheet`: CSV for a spreadsheet, with a `'` before what it would run as a formula.
    pub(crate) csv: Option<Csv>,
    /// At most the server's own limit.
    pub(crate) timeout_ms: Option<u64>,
    /// More rows are an error, unless `truncate` is set. JSON answers have 10,000 unless this says otherwise.
    pub(crate) max_rows: Option<u64>,
    pub(crate) truncate: bool,
    /// The zone in which times are shown and cut into days: `Europe/Berlin`, `+02:00`. Default: `UTC`.
    pub(crate) tz: Option<String>,
    /// An earlier answer's `as_of`: the same question then gives the same rows.
    pub(crate) as_of: Option<String>,
    /// An `as_of` that the answer must not be older than: what was acknowledged then is read.
    pub(crate) at_least: Option<String>,
    /// `string`: 64-bit integers are text in JSON, for readers whose numbers are floats.
    pub(crate) int64: Option<Int64>,
}

/// The same in a URL.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryParameters {
    pub(crate) q: String,
    /// JSON, as in the body.
    pub(crate) params: Option<String>,
    #[param(value_type = Option<String>)]
    pub(crate) format: Option<Form>,
    pub(crate) csv: Option<Csv>,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) max_rows: Option<u64>,
    #[serde(default)]
    pub(crate) truncate: bool,
    pub(crate) tz: Option<String>,
    pub(crate) as_of: Option<String>,
    pub(crate) at_least: Option<String>,
    pub(crate) int64: Option<Int64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Int64 {
    Number,
    String,
}

/// Who reads CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Csv {
    /// A program: every cell is what it is.
    Raw,
    Spreadsheet,
}

impl Csv {
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "raw" => Some(Self::Raw),
            "spreadsheet" => Some(Self::Spreadsheet),
            _ => None,
        }
    }
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) form: Form,
    pub(crate) text_integers: bool,
    pub(crate) spreadsheet: bool,
}

impl QueryBody {
    /// How the answer is wanted: the body's word, else the first of `Accept` that is known, else JSON. Who says how
    /// CSV is to be wants CSV.
    pub(crate) fn written(&self, request: &HttpRequest) -> Written {
        let form = self.format.or(self.csv.map(|_| Form::Csv));
        Written {
            form: form.or_else(|| accepted(request.headers())).unwrap_or(Form::Json),
            text_integers: self.int64 == Some(Int64::String),
            spreadsheet: self.csv == Some(Csv::Spreadsheet),
        }
    }

    /// The cut that is asked about.
    pub(super) fn cut(
        &self,
        seal: &Seal,
        newest: Cut,
        principal: &Principal,
    ) -> Result<Cut, Problem> {
        let back_to = |token: &str| seal.back_to(token, newest.clone(), principal);
        let refuse = |detail| Err(Problem::bad_request(Code::InvalidAsOf, detail));
        let at_least = self.at_least.as_deref().map(back_to).transpose()?;
        let cut = self.as_of.as_deref().map(back_to).transpose()?.unwrap_or(newest.clone());
        match at_least {
            // Which of two cuts is the later one tells whether anybody sent an event in between.
            Some(_) if self.as_of.is_some() && principal.reach.organization_id().is_some() => {
                refuse("an organization sends `as_of` or `at_least`, not both")
            }
            Some(at_least) if at_least.lsn > cut.lsn => refuse("`as_of` is older than `at_least`"),
            _ => Ok(cut),
        }
    }

    /// The question to the engine, at a cut. `deadline_ms` is the most that a query may take; `persons`, whether its author
    /// sees what says something of them.
    pub(super) fn request(
        self,
        principal: &Principal,
        cut: Cut,
        clock: &Clock,
        deadline_ms: u64,
        persons: bool,
        task: Task,
    ) -> Result<Request, Problem> {
        let parameters = Parameters::from_json(&self.params).map_err(problem)?;
        let zone = self.tz.as_deref().map(Zone::parse).transpose().map_err(problem)?;
        Ok(Request {
            author: Author::Stranger,
            sql: self.sql,
            reach: reach(principal),
            now: clock.now().timestamp_micros(),
            deadline_ms: self.timeout_ms.unwrap_or(deadline_ms).clamp(1, deadline_ms),
            max_rows: self.max_rows,
            truncate: self.truncate,
            gives_way: false,
            terms: Terms { parameters, zone: zone.unwrap_or_default(), persons, task },
            cut,
        })
    }

    /// A JSON answer has a limit unless the request says otherwise: somebody may look at it by hand.
    pub(crate) fn limited(mut self, form: Form, limits: &config::Query) -> Self {
        if form == Form::Json {
            self.max_rows.get_or_insert(limits.json_rows_max);
        }
        self
    }
}

impl QueryParameters {
    pub(crate) fn into_body(self) -> Result<QueryBody, Problem> {
        let params = self.params.map_or(Ok(Value::Null), |text| serde_json::from_str(&text));
        let params = params.map_err(|_| Problem::invalid_parameters("`params` is not JSON"))?;
        Ok(QueryBody {
            sql: self.q,
            params,
            format: self.format,
            csv: self.csv,
            timeout_ms: self.timeout_ms,
            max_rows: self.max_rows,
            truncate: self.truncate,
            tz: self.tz,
            as_of: self.as_of,
            at_least: self.at_least,
            int64: self.int64,
        })
    }
}

fn accepted(headers: &HeaderMap) -> Option<Form> {
    let accept = headers.get(header::ACCEPT)?.to_str().ok()?;
    accept.split(',').find_map(|part| Form::of_media_type(part.split(';').next()?.trim()))
}
