//! What a client asks for, as it comes: in a body, or in a URL.

use actix_web::{
    HttpRequest,
    http::header::{self, HeaderMap},
};
use pipeline::Cut;
use query::{AnswerFormat, Author, Parameters, QueryMode, QueryOptions, Request, Zone};
use rest::schema::AnyValue;
use rest::{
    principal::Principal,
    problem::{Code, Problem},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use state::clock::Clock;
use utoipa::{IntoParams, ToSchema};

use super::{Settings, problem, reach};
use crate::as_of::CutCipher;

/// A query.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueryBody {
    #[schema(required)]
    pub sql: String,
    /// Values for `$name` (an object) or `$1`, `$2` (an array): JSON scalars, or `{"type": …, "value": …}` with
    /// `boolean`, `integer`, `decimal`, `double`, `text`, `timestamp` or `date`.
    #[schema(value_type = AnyValue)]
    pub params: Value,
    /// `json` (the default), `ndjson`, `csv`, `arrow` or `parquet`; else the `Accept` header says.
    #[schema(value_type = Option<String>)]
    pub format: Option<AnswerFormat>,
    /// `spreadsheet`: CSV for a spreadsheet, with a `'` before what it would run as a formula.
    pub csv: Option<Csv>,
    /// At most the server's own limit.
    pub timeout_ms: Option<u64>,
    /// More rows are an error, unless `truncate` is set. JSON answers have 10,000 unless this says otherwise.
    pub max_rows: Option<u64>,
    pub truncate: bool,
    /// The zone in which times are shown and cut into days: `Europe/Berlin`, `+02:00`. Default: `UTC`.
    pub tz: Option<String>,
    /// An earlier answer's `as_of`: the same question then gives the same rows.
    pub as_of: Option<String>,
    /// An `as_of` that the answer must not be older than: what was acknowledged then is read.
    pub at_least: Option<String>,
    /// `string`: 64-bit integers are text in JSON, for readers whose numbers are floats.
    pub int64: Option<Int64>,
}

/// The same in a URL.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct QueryParameters {
    pub q: String,
    /// JSON, as in the body.
    pub params: Option<String>,
    #[param(value_type = Option<String>)]
    pub format: Option<AnswerFormat>,
    pub csv: Option<Csv>,
    pub timeout_ms: Option<u64>,
    pub max_rows: Option<u64>,
    #[serde(default)]
    pub truncate: bool,
    pub tz: Option<String>,
    pub as_of: Option<String>,
    pub at_least: Option<String>,
    pub int64: Option<Int64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Int64 {
    Number,
    String,
}

/// Who reads CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Csv {
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
pub struct AnswerOptions {
    pub form: AnswerFormat,
    pub text_integers: bool,
    pub spreadsheet: bool,
}

impl AnswerOptions {
    /// How an answer is wanted: the question's word, else the first of `Accept` that is known, else JSON. Who says how
    /// CSV is to be wants CSV.
    pub(crate) fn of(
        request: &HttpRequest,
        format: Option<AnswerFormat>,
        csv: Option<Csv>,
    ) -> Self {
        let form = format.or(csv.map(|_| AnswerFormat::Csv));
        Self {
            form: form.or_else(|| accepted(request.headers())).unwrap_or(AnswerFormat::Json),
            text_integers: false,
            spreadsheet: csv == Some(Csv::Spreadsheet),
        }
    }
}

impl QueryBody {
    /// How the answer is wanted.
    pub fn written(&self, request: &HttpRequest) -> AnswerOptions {
        let text_integers = self.int64 == Some(Int64::String);
        AnswerOptions { text_integers, ..AnswerOptions::of(request, self.format, self.csv) }
    }

    /// The cut that is asked about.
    pub fn cut(
        &self,
        cut_cipher: &CutCipher,
        newest: Cut,
        principal: &Principal,
    ) -> Result<Cut, Problem> {
        let back_to = |token: &str| cut_cipher.back_to(token, newest.clone(), principal);
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
    pub fn request(
        self,
        principal: &Principal,
        cut: Cut,
        clock: &Clock,
        deadline_ms: u64,
        persons: bool,
        task: QueryMode,
    ) -> Result<Request, Problem> {
        let parameters = Parameters::from_json(&self.params).map_err(problem)?;
        let zone = self.tz.as_deref().map(str::parse::<Zone>).transpose();
        let zone = zone.map_err(|error| problem(error.into()))?;
        Ok(Request {
            author: Author::Stranger,
            sql: self.sql,
            reach: reach(principal),
            now: clock.now().timestamp_micros(),
            deadline_ms: self.timeout_ms.unwrap_or(deadline_ms).clamp(1, deadline_ms),
            max_rows: self.max_rows,
            truncate: self.truncate,
            gives_way: false,
            terms: QueryOptions { parameters, zone: zone.unwrap_or_default(), persons, task },
            cut,
        })
    }

    /// A JSON answer has a limit unless the request says otherwise: somebody may look at it by hand.
    pub fn limited(mut self, form: AnswerFormat, limits: &Settings) -> Self {
        if form == AnswerFormat::Json {
            self.max_rows.get_or_insert(limits.json_rows_max);
        }
        self
    }
}

impl QueryParameters {
    pub fn into_body(self) -> Result<QueryBody, Problem> {
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

/// The first form of `Accept` that is known.
fn accepted(headers: &HeaderMap) -> Option<AnswerFormat> {
    let accept = headers.get(header::ACCEPT)?.to_str().ok()?;
    accept.split(',').find_map(|part| AnswerFormat::of_media_type(part.split(';').next()?.trim()))
}
