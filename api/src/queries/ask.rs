//! Our own questions to the lake, on behalf of a principal.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use pipeline::{Cut, Lakehouse};
use query::{Answer, Author, Engine, Request, Task, Terms};

use super::{QueryBody, Runner, problem, reach};
use crate::{
    as_of::Seal, clock::Clock, config, persons, principal::Principal, problem::Problem,
    store::Store,
};

/// Asks the lake. A handler takes it as an argument.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) lakehouse: web::Data<Lakehouse>,
    pub(crate) clock: web::Data<Clock>,
    pub(crate) engine: web::Data<Engine>,
    pub(crate) runner: web::Data<Runner>,
    pub(crate) store: web::Data<Store>,
    pub(crate) limits: web::Data<config::Query>,
    pub(crate) seal: web::Data<Seal>,
}

impl Asker {
    /// Runs SQL of ours over the rows in the principal's reach, at the newest cut.
    pub(crate) async fn ask(
        &self,
        principal: &Principal,
        sql: String,
    ) -> Result<(Cut, Answer), Problem> {
        let cut = self.lakehouse.cut();
        let request = Request {
            author: Author::Ourselves,
            sql,
            reach: reach(principal),
            cut: cut.clone(),
            now: self.clock.now().timestamp_micros(),
            deadline_ms: self.deadline_ms(),
            max_rows: None,
            truncate: false,
            gives_way: false,
            terms: Terms { persons: true, ..Terms::default() },
        };
        let answer = self.engine.run(request).await.map_err(problem)?;
        Ok((cut, answer))
    }

    /// The question of a principal, in the principal's reach.
    pub(crate) async fn question(
        &self,
        principal: &Principal,
        body: QueryBody,
        deadline_ms: u64,
        task: Task,
    ) -> Result<Request, Problem> {
        let persons = persons::are_shown_to(&self.store, principal).await?;
        let cut = body.cut(&self.seal, self.lakehouse.cut(), principal)?;
        body.request(principal, cut, &self.clock, deadline_ms, persons, task)
    }

    /// The most that a query may take whose client waits.
    pub(crate) fn deadline_ms(&self) -> u64 {
        self.limits.deadline_seconds * 1_000
    }
}

/// A text as SQL writes it.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl FromRequest for Asker {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let asker = || {
            Some(Self {
                lakehouse: request.app_data::<web::Data<Lakehouse>>()?.clone(),
                clock: request.app_data::<web::Data<Clock>>()?.clone(),
                engine: request.app_data::<web::Data<Engine>>()?.clone(),
                runner: request.app_data::<web::Data<Runner>>()?.clone(),
                store: request.app_data::<web::Data<Store>>()?.clone(),
                limits: request.app_data::<web::Data<config::Query>>()?.clone(),
                seal: request.app_data::<web::Data<Seal>>()?.clone(),
            })
        };
        ready(asker().ok_or_else(|| {
            tracing::error!("the lake is not registered with the application");
            Problem::internal()
        }))
    }
}
