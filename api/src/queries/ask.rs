//! Our own questions to the lake, on behalf of a principal.

use pipeline::{Cut, Lakehouse};
use query::{Answer, Engine, Request, Task, metric::Catalog};

use super::{QueryBody, Runner, problem, reach};
use crate::{
    as_of::Seal, clock::Clock, config, persons, principal::Principal, problem::Problem,
    store::Store,
};

/// What asks the lake: one for all handlers.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) lakehouse: Lakehouse,
    pub(crate) engine: Engine,
    pub(crate) catalog: Catalog,
    pub(crate) runner: Runner,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) limits: config::Query,
    pub(crate) seal: Seal,
}

impl Asker {
    /// Runs SQL of ours over the rows in the principal's reach, at the newest cut.
    pub(crate) async fn ask(
        &self,
        principal: &Principal,
        sql: String,
    ) -> Result<(Cut, Answer), Problem> {
        let cut = self.lakehouse.cut();
        let (reach, now) = (reach(principal), self.clock.now().timestamp_micros());
        let request = Request::of_ourselves(sql, reach, cut.clone(), now, self.deadline_ms());
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
