//! Expressions of rules before they are accepted.

use kube_cel::cel::Program;

use super::schema::Schema;
use crate::validate::FieldError;

/// What is known of an accepted expression.
pub(super) struct Checked {
    /// Estimate of the most that one evaluation costs.
    pub(super) cost: u64,
    pub(super) uses_old_self: bool,
}

/// What expressions of a schema node can speak of.
pub(super) struct Environment<'a> {
    _schema: &'a Schema,
}

#[expect(
    clippy::unused_self,
    reason = "types and cost of expressions are not checked yet"
)]
impl<'a> Environment<'a> {
    pub(super) fn new(schema: &'a Schema, _is_resource: bool) -> Self {
        Self { _schema: schema }
    }

    pub(super) fn check_rule(&self, source: &str, _optional: bool) -> Result<Checked, String> {
        let program = Program::compile(source).map_err(|error| format!("compilation failed: {error}"))?;
        Ok(Checked {
            cost: 0,
            uses_old_self: program.references().has_variable("oldSelf"),
        })
    }

    pub(super) fn check_message(&self, source: &str, optional: bool) -> Result<Checked, String> {
        self.check_rule(source, optional)
            .map_err(|problem| format!("messageExpression {problem}"))
    }

    pub(super) fn total_cost(&self, cost: u64, cardinality: Option<u64>) -> u64 {
        cost.saturating_mul(cardinality.unwrap_or(1))
    }
}

/// What the rules of a definition may cost together.
pub(super) struct Budget;

#[expect(
    clippy::unused_self,
    reason = "types and cost of expressions are not checked yet"
)]
impl Budget {
    pub(super) fn new(_unchanged: bool) -> Self {
        Self
    }

    pub(super) fn spend(&mut self, _field: &str, _name: &str, _cost: u64) -> Option<FieldError> {
        None
    }

    pub(super) fn verdict(&self, _path: &str) -> Vec<FieldError> {
        Vec::new()
    }
}
