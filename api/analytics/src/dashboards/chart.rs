//! The chart of a tile as a file.

use actix_web::{HttpRequest, HttpResponse, web};
use reports::ChartFormat;
use rest::{
    page::visitor,
    principal::{Gate, ViewDashboard},
    problem::{Problem, parameters},
};

use super::{DashboardParameters, definition, page, problem_of, reading};
use crate::Lake;

/// What the address says besides that of the page.
const OWN: [&str; 3] = ["tile", "panel", "format"];

pub(super) async fn file(
    request: HttpRequest,
    name: web::Path<String>,
    asked: Result<web::Query<Vec<(String, String)>>, actix_web::Error>,
    gate: web::Data<Gate>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let principal = match visitor::<ViewDashboard>(&request, &gate).await? {
        Ok(principal) => principal,
        Err(way_in) => return Ok(way_in),
    };
    let (own, others): (Vec<_>, Vec<_>) =
        parameters(asked)?.into_iter().partition(|(name, _)| OWN.contains(&name.as_str()));
    let value =
        |wanted: &str| own.iter().find(|(name, _)| name == wanted).map(|(_, text)| text.as_str());
    let refuse = |name: &str| Problem::invalid_parameters(format!("`{name}` is not possible"));
    let number = |name: &str| {
        value(name).map_or(Ok(0), |text| text.parse::<usize>().map_err(|_| refuse(name)))
    };
    let (tile, panel) = (number("tile")?, number("panel")?);
    let format = value("format").unwrap_or("png").parse::<ChartFormat>();
    let format = format.map_err(|_| refuse("format"))?;
    let asked = DashboardParameters::read(others)?;
    let mut definition = definition(&name, &lake, &principal, &principal).await?;
    let absent = || Problem::not_found("there is no such chart");
    if tile >= definition.tiles.len() {
        return Err(absent());
    }
    definition.tiles = vec![definition.tiles.swap_remove(tile)];
    let (cut, now) = (lake.lakehouse.cut(), lake.state.clock.now());
    let as_of = lake.cut_cipher.token(&cut, &principal)?;
    let page = page(&request, &lake, &principal, &asked, now, as_of)?;
    let mut reading = reading(&lake, &principal, cut, &definition, &page).await?;
    reading.lenient = false;
    let files = reading.draw(definition, page, move |answered| answered.chart_files(format));
    let file = files.await.map_err(problem_of)?.into_iter().nth(panel).ok_or_else(absent)?;
    Ok(HttpResponse::Ok()
        .content_type(match format {
            ChartFormat::Png => "image/png",
            ChartFormat::Svg => "image/svg+xml",
        })
        .insert_header(("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"))
        .body(file))
}
