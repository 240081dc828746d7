//! `/metrics-catalog`: every metric with its definition, and one with its values.

use actix_web::{HttpRequest, HttpResponse, web};
use query::metric::{Audience, Metric, audience};
use reports::{CATALOG_DAYS, Definition, Page, catalog_page, metric_dashboard};
use rest::{
    page::{html_page, language, visitor},
    principal::{Gate, ReadMetrics},
    problem::{Problem, parameters},
};

use super::{
    DashboardParameters,
    saved::{LanguageParameters, who_reads},
};
use crate::{Lake, queries::reach};

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
    let metrics: Vec<_> = lake.catalog.metrics(audience(&reach(&principal))).collect();
    let reader = who_reads(&request, &principal, asked.lang.as_deref());
    let html = catalog_page(&reader, &metrics).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "the catalog is not shown");
        Problem::internal()
    })?;
    Ok(html_page(html))
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
    let mut asked = DashboardParameters::read(parameters(asked)?)?;
    let metric = lake.known(&principal, &name)?;
    if !asked.names_a_period() {
        asked.days = Some(CATALOG_DAYS);
    }
    let (cut, now) = (lake.lakehouse.cut(), lake.state.clock.now());
    let as_of = lake.cut_cipher.token(&cut, &principal)?;
    let page = super::page(&request, &lake, &principal, &asked, now, as_of)?;
    let dimensions = dimensions(&lake, metric, audience(&reach(&principal)));
    let language = language(&request, asked.lang.as_deref());
    let options: Vec<_> = lake.catalog.options(metric).collect();
    let definition = Definition::new(metric, &dimensions, &options, language);
    let page = Page { definition: Some(definition), ..page };
    super::shown(&lake, &principal, cut, metric_dashboard(metric), page).await
}

fn dimensions<'a>(lake: &'a Lake, metric: &Metric, audience: Audience) -> Vec<&'a str> {
    let dimensions = lake.catalog.dimensions(metric, audience);
    dimensions.map(|dimension| dimension.name.as_str()).collect()
}
