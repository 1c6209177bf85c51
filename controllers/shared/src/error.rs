use crate::lease::NotLeading;

/// What can go wrong in the shared machinery.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `matchExpressions` with an operator that no API version knows.
    #[error("selector: {operator:?} of key {key:?} is not a valid label selector operator")]
    SelectorOperator {
        /// Label key of the expression.
        key: String,
        /// The operator as written.
        operator: String,
    },
    /// The number of values does not fit the operator.
    #[error("selector: key {key:?}: operator {operator} {rule}")]
    SelectorValues {
        /// Label key of the expression.
        key: String,
        /// The operator as written.
        operator: String,
        /// What the operator wants.
        rule: &'static str,
    },
    /// A label key or value that no object can carry.
    #[error("selector: {part} {text:?} is not a valid label {part}")]
    SelectorLabel {
        /// `key` or `value`.
        part: &'static str,
        /// The offending text.
        text: String,
    },
    /// Text that is no Kubernetes quantity.
    #[error("{text:?} is not a quantity")]
    Quantity {
        /// The offending text.
        text: String,
    },
    /// A write was attempted without a valid lease (INV-12).
    #[error("refused to write")]
    NotLeading(#[from] NotLeading),
    /// A request to the API server failed.
    #[error("{verb} {resource} {name}")]
    Request {
        /// API verb.
        verb: &'static str,
        /// Plural resource name.
        resource: &'static str,
        /// Namespace and name of the object.
        name: String,
        /// What the client or the server said.
        #[source]
        source: Box<kube::Error>,
    },
    /// A setting that cannot work.
    #[error("{field}: {rule}")]
    Setting {
        /// Field path in the configuration.
        field: &'static str,
        /// What the field has to satisfy.
        rule: &'static str,
    },
    /// A supervised task ended although nobody asked it to.
    #[error("task {task} ended")]
    TaskEnded {
        /// Name given at spawn.
        task: &'static str,
    },
    /// A supervised task failed.
    #[error("task {task} failed")]
    TaskFailed {
        /// Name given at spawn.
        task: &'static str,
        /// Its error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A supervised task panicked or was aborted.
    #[error("task {task} died")]
    TaskDied {
        /// Name given at spawn.
        task: &'static str,
        /// The panic, as far as the runtime knows it.
        #[source]
        source: tokio::task::JoinError,
    },
    /// Tasks that did not end within the drain deadline.
    #[error("still running after the drain deadline: {tasks}")]
    DrainDeadline {
        /// Names, separated by commas.
        tasks: String,
    },
}

/// Result with the [`Error`] of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
