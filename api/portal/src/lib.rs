//! What the engineers of customers work with: the contract of the HTTP interface (OpenAPI), the documentation at `/docs`,
//! code samples, SDKs, a Postman collection, and their pages. All of it is made from one document, the contract, and that
//! is made from the routes. Nothing is loaded from elsewhere.

#![warn(missing_docs)]

pub mod contract;
mod developer;
mod docs;
mod own;
pub mod postman;
pub mod requests;
pub mod sdk;
mod tester;
mod webhooks;
mod words;

use std::sync::Arc;

use accounts::Directory;
use actix_web::{HttpRequest, web};
use delivery::Courier;
use rest::feature::Feature;
use state::State;

use self::requests::RequestSource;

/// What the features of the portal work with.
#[derive(Debug, Clone)]
pub struct Portal {
    /// The database and the clock.
    pub state: State,
    /// Users, keys and organizations.
    pub directory: Directory,
    /// Sends mail, and has the webhooks of customers.
    pub courier: Courier,
    /// The address of the server as people know it; empty where no setting says it.
    pub public_url: String,
    /// Where requests are read.
    pub requests: Arc<dyn RequestSource>,
}

/// The features of this crate.
pub const FEATURES: &[Feature<Portal>] = &[
    SHARED,
    developer::FEATURE,
    docs::FEATURE,
    webhooks::FEATURE,
    requests::FEATURE,
    tester::FEATURE,
];

const SHARED: Feature<Portal> = Feature::new("portal_shared").with_routes(|config, portal| {
    config.app_data(web::Data::new(portal.clone()));
});

impl Portal {
    /// The address of this server: of the settings, else as the request names it.
    pub(crate) fn base_url(&self, request: &HttpRequest) -> Option<String> {
        if !self.public_url.is_empty() {
            return Some(self.public_url.trim_end_matches('/').to_owned());
        }
        let connection = request.connection_info();
        let host = connection.host();
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || ".:-[]".contains(letter);
        (!host.is_empty() && host.chars().all(is_name))
            .then(|| format!("{}://{host}", connection.scheme()))
    }
}
