//! `/why/{metric}`: why a metric changed, as a page for people.

use actix_web::{HttpRequest, HttpResponse, web};
use pages::Language;
use query::metric::{Compare, Filter, Unit, audience};
use reports::{
    anomaly::anomaly_word,
    number::{print_difference, print_float},
    why::{WhyPage, WhyRow, WhyTable, dimension_title, why_page},
};
use rest::{principal::Gate, problem::Problem};

use super::{
    why::{MOVEMENT, OTHERS, Question, answer, dimensions},
    why_route::{WhyDimension, WhyPart, WhyView},
};
use crate::{
    Lake,
    alerts::reading::Reader,
    dashboards::DashboardParameters,
    metrics::parse_filter,
    queries::{problem, reach},
    reporting::{Asked, opened, page_of, value},
};

pub(super) async fn show(
    request: HttpRequest,
    name: web::Path<String>,
    asked: Asked,
    gate: web::Data<Gate>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (principal, mut asked, reader) = match opened(&request, asked, &gate).await? {
        Ok(opened) => opened,
        Err(way_in) => return Ok(way_in),
    };
    let metric = lake.known(&principal, &name)?;
    let currency = value(&asked, "currency").map(str::to_owned);
    asked.retain(|(name, _)| name != "currency");
    let asked = DashboardParameters::read(asked)?;
    let now = lake.state.clock.now();
    let selection = asked.selection(now, &lake, &principal)?;
    let compare = selection.compare.unwrap_or(Compare::PreviousPeriod);
    let window = selection.window;
    let before = window.compared(compare);
    let texts: Vec<&str> = selection.filters().collect();
    let filter: Option<Filter> = match texts.is_empty() {
        true => None,
        false => Some(parse_filter(&texts.join(";")).map_err(problem)?),
    };
    let who = Reader::of(&lake, &principal).await?;
    let audience = audience(&reach(&principal));
    let question = Question {
        metric,
        filter,
        window: (window.from(), window.to()),
        before: (before.from(), before.to()),
        earlier: Vec::new(),
        cut: lake.lakehouse.cut(),
        zone: window.zone(),
        currency,
        dimensions: dimensions(&lake, metric, audience, None),
    };
    let asked = (window.range(), Some(compare));
    let view = Box::pin(answer(&lake, &who, question, asked, audience)).await;
    let view = view.map_err(problem)?;
    let language = reader.language;
    let title = match language {
        Language::En => &metric.title.en,
        Language::ZhCn => &metric.title.zh_cn,
    };
    let (after, before) = (window.label(language), before.label(language));
    let words = InWords { view: &view, unit: metric.unit, language };
    let page = WhyPage {
        title: title.clone(),
        period: anomaly_word("versus", &[("after", &after), ("before", &before)], language),
        said: view.said[language.tag()].as_str().unwrap_or_default().to_owned(),
        note: anomaly_word(view.method, &[], language),
        href: format!("/metrics-catalog/{}?lang={}", metric.name, language.tag()),
        tables: view.dimensions.iter().map(|one| words.table(one)).collect(),
    };
    page_of(why_page(&reader, &page))
}

struct InWords<'a> {
    view: &'a WhyView,
    unit: Unit,
    language: Language,
}

impl InWords<'_> {
    fn table(&self, of: &WhyDimension) -> WhyTable {
        let changes = of.parts.iter().map(|part| part.change.abs());
        let longest = changes.fold(0.0, f64::max);
        let is_movement = of.dimension == MOVEMENT;
        WhyTable {
            title: dimension_title(&of.dimension, self.language),
            values: !is_movement,
            effects: of.parts.iter().any(|part| part.mix.is_some()),
            rows: of.parts.iter().map(|part| self.row(part, longest, is_movement)).collect(),
        }
    }

    fn row(&self, part: &WhyPart, longest: f64, is_movement: bool) -> WhyRow {
        let currency = self.view.currency.as_deref();
        let value = |value| print_float(value, self.unit, currency, self.language);
        let difference = |value| print_difference(value, self.unit, currency, self.language);
        let effect = |effect: Option<f64>| effect.map(difference).unwrap_or_default();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 0 and 100"
        )]
        let bar = match longest > 0.0 {
            true => (100.0 * part.change.abs() / longest).round().min(100.0) as u8,
            false => 0,
        };
        let word = |name: &str| anomaly_word(name, &[], self.language);
        WhyRow {
            name: match part.value.as_deref() {
                None => word("no_value"),
                Some(OTHERS) => word("other_values"),
                Some(movement) if is_movement => word(movement),
                Some(name) => name.to_owned(),
            },
            before: value(part.before),
            after: value(part.after),
            change: difference(part.change),
            mix: effect(part.mix),
            rate: effect(part.rate),
            bar,
        }
    }
}
