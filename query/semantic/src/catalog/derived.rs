//! Metrics over other metrics.

use super::Catalog;
use crate::{
    Error, Groups, Metric, MetricKind, MetricRequest, Rollups, Statement, Viewer, kind::derived,
    statement,
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

    /// Writes the statement of a metric over others.
    pub(super) fn write_derived(
        &self,
        statement: &mut Statement,
        metric: &Metric,
        request: &MetricRequest,
        viewer: Viewer,
        rollups: &Rollups<'_>,
    ) -> Result<(), Error> {
        let groups = match &request.groups {
            // The groups are ranked by what comes out.
            Groups::Largest(_) => Groups::All,
            groups => groups.clone(),
        };
        let (mut operands, mut over_rollups) = (Vec::new(), Vec::new());
        let mut has_rollup = false;
        statement.reads.clear();
        for name in derived::names(&metric.value) {
            let operand = self.get(&name, viewer.audience)?;
            let request =
                MetricRequest { metric: name.clone(), groups: groups.clone(), ..request.clone() };
            for part in self.compile_over(&[request], viewer, rollups)? {
                statement.reads.extend(part.reads);
                has_rollup |= part.over_rollups.is_some();
                let sql = part.over_rollups.unwrap_or_else(|| part.sql.clone());
                over_rollups.push(derived::Operand { metric: operand, sql });
                operands.push(derived::Operand { metric: operand, sql: part.sql });
            }
        }
        let keys = statement::key_names(metric, request);
        let write = |operands: &[derived::Operand<'_>]| {
            let sql = derived::select(metric, operands, &keys);
            match request.groups {
                Groups::Largest(count) => statement::largest(&sql, &keys, count),
                _ => sql,
            }
        };
        statement.sql = write(&operands);
        statement.over_rollups = has_rollup.then(|| write(&over_rollups));
        Ok(())
    }
}
