//! Tests across crates: rules of the tree, whole-program runs with kubectl, deterministic simulation.
//!
//! One binary, so that everything links once. `KUBEBUILDER_ASSETS` (a folder with `etcd` and `kube-apiserver`) makes
//! the whole-program tests run on a real API server too.
#![expect(
    clippy::disallowed_methods,
    reason = "whole-program tests run on the wall clock"
)]

#[cfg(test)]
#[path = "suite/architecture.rs"]
mod architecture;
#[cfg(test)]
#[path = "suite/cluster.rs"]
mod cluster;
#[cfg(test)]
#[path = "suite/durability.rs"]
mod durability;
#[cfg(test)]
#[path = "suite/flow.rs"]
mod flow;
#[cfg(test)]
#[path = "suite/helm.rs"]
mod helm;
#[cfg(test)]
#[path = "suite/histories.rs"]
mod histories;
#[cfg(test)]
#[path = "suite/invariants.rs"]
mod invariants;
#[cfg(test)]
#[path = "suite/kube_client.rs"]
mod kube_client;
#[cfg(test)]
#[path = "suite/kubectl.rs"]
mod kubectl;
#[cfg(test)]
#[path = "suite/policies.rs"]
mod policies;
#[cfg(test)]
#[path = "suite/program.rs"]
mod program;
#[cfg(test)]
#[path = "suite/rbac.rs"]
mod rbac;
#[cfg(test)]
#[path = "suite/simulation.rs"]
mod simulation;
#[cfg(test)]
#[path = "suite/takeover.rs"]
mod takeover;
#[cfg(test)]
#[path = "suite/upstream/mod.rs"]
mod upstream;
#[cfg(test)]
#[path = "suite/workloads.rs"]
mod workloads;
