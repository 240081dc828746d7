//! Metrics over other metrics.

use super::Catalog;
use crate::{
    Error, Groups, Metric, MetricKind, MetricRequest, TableRead, Viewer, kind::derived, statement,
};

impl Catalog {
    /// The metrics of an expression; none of a metric that is not derived.
    pub(super) fn operands(&self, metric: &Metric) -> Vec<&Metric> {
        if metric.kind != MetricKind::Derived {
            return Vec::new();
        }
        derived::names(&metric.value).iter().filter_map(|name| self.metric(name)).collect()
    }

    /// The questions that a question about a metric is computed from: itself, if it is not derived.
    pub fn components(&self, request: &MetricRequest) -> Vec<MetricRequest> {
        let operands = self.metric(&request.metric).map(|metric| self.operands(metric));
        let operands = operands.unwrap_or_default();
        if operands.is_empty() {
            return vec![request.clone()];
        }
        let of =
            |operand: &Metric| MetricRequest { metric: operand.name.clone(), ..request.clone() };
        operands.into_iter().flat_map(|operand| self.components(&of(operand))).collect()
    }

    /// The statement of a metric over others, and the rows that it depends on.
    pub(super) fn derived(
        &self,
        metric: &Metric,
        request: &MetricRequest,
        viewer: Viewer,
    ) -> Result<(String, Vec<TableRead>), Error> {
        let groups = match &request.groups {
            // The groups are ranked by what comes out.
            Groups::Largest(_) => Groups::All,
            groups => groups.clone(),
        };
        let mut operands = Vec::new();
        let mut reads: Vec<TableRead> = Vec::new();
        for name in derived::names(&metric.value) {
            let operand = self.get(&name, viewer.audience)?;
            let request =
                MetricRequest { metric: name.clone(), groups: groups.clone(), ..request.clone() };
            let statements = self.compile(&[request], viewer)?;
            for statement in statements {
                reads.extend(statement.reads);
                operands.push(derived::Operand { metric: operand, sql: statement.sql });
            }
        }
        let keys = statement::key_names(metric, request);
        let sql = derived::select(metric, &operands, &keys);
        Ok(match request.groups {
            Groups::Largest(count) => (statement::largest(&sql, &keys, count), reads),
            _ => (sql, reads),
        })
    }
}
