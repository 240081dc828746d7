//! A feature: one folder, which exports one value. The server folds a list of them, and so do its tests.

use std::fmt;

use actix_web::web::Data;
use state::{State, migration::Migration};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::{body::BodyBudget, pace::AnswerLimiter, principal::Gate};

/// What a feature adds to the server. `C` is what its handlers and tasks work with.
#[derive(Clone, Copy)]
pub struct Feature<C: 'static> {
    /// The folder's name.
    pub name: &'static str,
    /// The changes of its tables, in their order.
    pub migrations: &'static [Migration],
    /// Registers what its handlers share, and its handlers. A handler that is a service with `#[utoipa::path]` is in the
    /// OpenAPI document by that; a page is a plain route.
    pub routes: fn(&mut ServiceConfig<'_>, &C),
    /// Begins what goes on beside the requests.
    pub tasks: fn(&C),
}

impl<C> Feature<C> {
    /// One that adds nothing yet.
    pub const fn new(name: &'static str) -> Self {
        Self { name, migrations: &[], routes: |_, _| {}, tasks: |_| {} }
    }

    /// The feature with these routes instead of its former ones.
    pub const fn with_routes(self, routes: fn(&mut ServiceConfig<'_>, &C)) -> Self {
        Self { routes, ..self }
    }

    /// The feature with these migrations instead of its former ones.
    pub const fn with_migrations(self, migrations: &'static [Migration]) -> Self {
        Self { migrations, ..self }
    }

    /// The feature with these tasks instead of its former ones.
    pub const fn with_tasks(self, tasks: fn(&C)) -> Self {
        Self { tasks, ..self }
    }
}

impl<C> fmt::Debug for Feature<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Feature").field(&self.name).finish()
    }
}

/// The changes of the tables of all these features.
pub fn migrations<C>(features: &[Feature<C>]) -> impl Iterator<Item = Migration> {
    features.iter().flat_map(|feature| feature.migrations).copied()
}

/// Registers the routes of all these features.
pub fn routes<C>(features: &[Feature<C>], context: &C, config: &mut ServiceConfig<'_>) {
    for feature in features {
        (feature.routes)(config, context);
    }
}

/// Begins the tasks of all these features.
pub fn tasks<C>(features: &[Feature<C>], context: &C) {
    for feature in features {
        (feature.tasks)(context);
    }
}

/// What the handlers of all features share: one per process. Clones share it.
#[derive(Debug, Clone)]
pub struct AppData {
    state: Data<State>,
    gate: Data<Gate>,
    bodies: Data<BodyBudget>,
    readers: Data<AnswerLimiter>,
}

impl AppData {
    /// Wraps the three values for the handlers, and adds an empty budget for the bodies of requests.
    pub fn new(state: State, gate: Gate, readers: AnswerLimiter) -> Self {
        Self {
            state: Data::new(state),
            gate: Data::new(gate),
            bodies: Data::default(),
            readers: Data::new(readers),
        }
    }

    /// Registers what it holds with the application: handlers take each as `web::Data`.
    pub fn register(&self, config: &mut ServiceConfig<'_>) {
        config
            .app_data(self.state.clone())
            .app_data(self.gate.clone())
            .app_data(self.bodies.clone())
            .app_data(self.readers.clone());
    }
}
