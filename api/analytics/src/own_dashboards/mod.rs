//! Own dashboards: definitions under a name, with versions, shared with roles or by a link.

mod editor;
mod link;
mod m0011_dashboards;
mod m0025_shared_roles;
mod own;
mod routes;
mod row;

use actix_web::web;
use rest::feature::Feature;
use state::migration::Migration;

pub(crate) use own::{list, visible};

use crate::Lake;

/// Bytes of a request.
const BODY_BYTES_MAX: usize = 256 << 10;

/// Own dashboards.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("own_dashboards")
    .with_routes(|config, _| {
        config
            .route("/dashboards/{name}/copy", web::post().to(editor::copy))
            .route("/dashboards/{name}/edit", web::get().to(editor::page))
            .route("/dashboards/{name}/edit", web::post().to(editor::act))
            .route("/dashboard-editor.js", web::get().to(editor::script))
            .route("/shared/{token}", web::get().to(link::shared))
            .service(routes::check_dashboard)
            .service(routes::list_dashboards)
            .service(routes::get_dashboard)
            .service(routes::save_dashboard)
            .service(routes::remove_dashboard)
            .service(routes::list_versions)
            .service(routes::restore_version)
            .service(routes::list_links)
            .service(routes::create_link)
            .service(routes::remove_link);
    })
    .with_migrations(&[
        Migration { name: "m0011_dashboards", up: |m| Box::pin(m0011_dashboards::up(m)) },
        Migration { name: "m0025_shared_roles", up: |m| Box::pin(m0025_shared_roles::up(m)) },
    ]);
