//! The rule that moves filters down a physical plan, kept away from where it is wrong.
//!
//! It knows columns by their names, and takes the wrong one where both sides of a join have a column of that name
//! (DataFusion 55.2). Filters are moved before, by the logical plan; what the rule adds is that the first rows of an order
//! are found without reading all.

use std::sync::Arc;

use datafusion::{
    common::{DataFusionError, config::ConfigOptions, tree_node::TreeNode},
    physical_optimizer::{PhysicalOptimizerRule, optimizer::PhysicalOptimizer},
    physical_plan::{ExecutionPlan, union::UnionExec},
};

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// The engine's rules for physical plans.
pub(crate) fn rules() -> Vec<Rule> {
    let kept_away = |rule: Rule| -> Rule {
        match rule.name().starts_with("FilterPushdown") {
            true => Arc::new(WithoutJoins(rule)),
            false => rule,
        }
    };
    PhysicalOptimizer::new().rules.into_iter().map(kept_away).collect()
}

/// A rule that leaves plans alone in which rows of several inputs meet, or of inputs with other names for their columns.
#[derive(Debug)]
struct WithoutJoins(Rule);

impl PhysicalOptimizerRule for WithoutJoins {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        if plan.exists(|node| Ok(mixes(node)))? { Ok(plan) } else { self.0.optimize(plan, config) }
    }
}

fn mixes(node: &Arc<dyn ExecutionPlan>) -> bool {
    let (children, schema) = (node.children(), node.schema());
    let has_names = |child: &&Arc<dyn ExecutionPlan>| {
        let of_child = child.schema();
        let names = of_child.fields().iter().map(|field| field.name());
        names.eq(schema.fields().iter().map(|field| field.name()))
    };
    children.len() > 1 && !(node.is::<UnionExec>() && children.iter().all(has_names))
}
