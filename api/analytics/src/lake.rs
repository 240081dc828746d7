//! What the features of this crate work with.

use std::{path::PathBuf, sync::Arc};

use delivery::Courier;
use pipeline::{Cut, Lakehouse};
use query::{Engine, QueryMode, Request, ResultSet, metric::Catalog};
use reports::DashboardSet;
use rest::{
    principal::{Authenticator, Principal},
    problem::Problem,
};
use state::State;
use tokio::sync::OnceCell;

use crate::{
    as_of::CutCipher,
    events::EventIntake,
    metrics, persons,
    queries::{self, Background, QueryBody, Runner, problem, reach},
    reporting::Reporting,
};

/// The lake and what asks it. Clones share it.
#[derive(Debug, Clone)]
pub struct Lake {
    pub state: State,
    pub authenticator: Arc<dyn Authenticator>,
    pub lakehouse: Lakehouse,
    pub engine: Engine,
    pub catalog: Catalog,
    /// The dashboards that everybody has.
    pub dashboards: Arc<DashboardSet>,
    pub runner: Runner,
    pub background: Background,
    pub limits: queries::Settings,
    pub metrics: metrics::Settings,
    pub cut_cipher: CutCipher,
    pub event_intake: Arc<EventIntake>,
    pub courier: Courier,
    pub reporting: Reporting,
    /// Set once the rollups that are there were opened.
    pub rollups_opened: Arc<OnceCell<()>>,
    /// The data folder.
    pub dir: PathBuf,
}

impl Lake {
    /// Runs SQL of ours over the rows in the principal's reach, at the newest cut.
    pub async fn ask(
        &self,
        principal: &Principal,
        sql: String,
    ) -> Result<(Cut, ResultSet), Problem> {
        let cut = self.lakehouse.cut();
        let (reach, now) = (reach(principal), self.state.clock.now().timestamp_micros());
        let request = Request::of_ourselves(sql, reach, cut.clone(), now, self.deadline_ms());
        let answer = self.engine.run(request).await.map_err(problem)?;
        Ok((cut, answer))
    }

    /// The question of a principal, in the principal's reach.
    pub async fn question(
        &self,
        principal: &Principal,
        body: QueryBody,
        deadline_ms: u64,
        task: QueryMode,
    ) -> Result<Request, Problem> {
        let persons = persons::are_shown_to(&self.state.store, principal).await?;
        let cut = body.cut(&self.cut_cipher, self.lakehouse.cut(), principal)?;
        body.request(principal, cut, &self.state.clock, deadline_ms, persons, task)
    }

    /// The most that a query may take whose client waits.
    pub fn deadline_ms(&self) -> u64 {
        self.limits.deadline_seconds * 1_000
    }
}
