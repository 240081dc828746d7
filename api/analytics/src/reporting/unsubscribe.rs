//! `/unsubscribe/{token}`: the way out of a report, for whoever got its mail. The link is signed; nobody signs in.

use actix_web::{HttpRequest, HttpResponse, web};
use pages::{Language, Notice, notice_page};
use rest::{
    page::{html_page, language},
    problem::Problem,
};
use sea_orm::{ActiveValue::Set, EntityTrait, sea_query::OnConflict};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    store::{StoreContext, StoreError},
};

use super::{report, row::unsubscribed as row};
use crate::Lake;

/// The report and the address that a link is for.
async fn of_link(lake: &Lake, token: &str) -> Result<(String, String, String), Problem> {
    let absent = || Problem::not_found("this link is not complete");
    let (report_id, address) = lake.reporting.links.read(token).ok_or_else(absent)?;
    let report = report::find(&lake.state.store, &report_id).await?;
    let gone = || Problem::not_found("this report is not sent any more");
    Ok((report_id, address, report.ok_or_else(gone)?.new.title))
}

/// Asks: a program that follows links must not unsubscribe anybody.
pub(super) async fn ask(
    request: HttpRequest,
    token: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (_, address, title) = of_link(&lake, &token).await?;
    let language = language(&request, None);
    let (heading, text, button) = match language {
        Language::En => (
            "Unsubscribe",
            format!("{address} does not get the report “{title}” any more."),
            "Unsubscribe",
        ),
        Language::ZhCn => ("退订", format!("{address} 将不再收到报告“{title}”。"), "退订"),
    };
    shown(&Notice { language, title: heading.to_owned(), text, button: Some(button.to_owned()) })
}

/// Does it; by the button, or by the one click of a mail program (RFC 8058).
pub(super) async fn leave(
    request: HttpRequest,
    token: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (report_id, address, title) = of_link(&lake, &token).await?;
    note(&lake, &report_id, &address).await?;
    let language = language(&request, None);
    let (heading, text) = match language {
        Language::En => {
            ("Unsubscribed", format!("{address} does not get the report “{title}” any more."))
        }
        Language::ZhCn => ("已退订", format!("{address} 不会再收到报告“{title}”。")),
    };
    shown(&Notice { language, title: heading.to_owned(), text, button: None })
}

async fn note(lake: &Lake, report_id: &str, address: &str) -> Result<(), StoreError> {
    let (write, now) = (lake.state.store.write().await?, lake.state.clock.now());
    let row = row::ActiveModel {
        report_id: Set(report_id.to_owned()),
        address: Set(address.to_owned()),
        created_at: Set(now.timestamp_micros()),
    };
    let same = [row::Column::ReportId, row::Column::Address];
    let added = row::Entity::insert(row)
        .on_conflict(OnConflict::columns(same).do_nothing().to_owned())
        .exec_without_returning(write.db())
        .await
        .doing("unsubscribing")?;
    if added > 0 {
        let detail = json!({"address": address});
        let target = report_id.to_owned();
        let act = AuditAction { action: "report.unsubscribed", target, detail };
        audit::append(&write, &AuditOrigin::local(address), act, now).await?;
    }
    write.commit().await
}

fn shown(notice: &Notice) -> Result<HttpResponse, Problem> {
    notice_page(notice).map(html_page).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a page about a report");
        Problem::internal()
    })
}
