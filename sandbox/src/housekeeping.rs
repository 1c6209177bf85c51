//! What kube-controller-manager does besides workloads, so that a cluster without it behaves as users expect: garbage
//! collection (API-170 to API-174), the end of namespaces (API-176, API-177), default service accounts and the root
//! certificate (API-178), quotas (API-509), aggregated cluster roles (API-681), secrets with tokens (API-473). Each part is a loop around a `kube::Client` and can be switched off, for API servers where the
//! real one runs.

pub mod cluster_roles;
pub mod gc;
pub mod namespaces;
pub mod quota;
pub mod service_accounts;
pub mod token_secrets;

mod backlog;
mod discovery;
pub(crate) mod follow;
mod graph;

use std::sync::Arc;

use kube::{
    Client,
    api::{PatchParams, PostParams},
};
use tokio_util::sync::CancellationToken;

use crate::auth::token::Signer;
use crate::clock::Clock;

/// Field manager of everything that is written here.
const MANAGER: &str = "kube-controller-manager";

fn patching() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

fn posting() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// Which parts run. The default is all.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one switch per independent part")]
pub struct Config {
    /// Delete what has lost its owners.
    pub garbage_collector: bool,
    /// Empty and finish namespaces that are being deleted.
    pub namespaces: bool,
    /// Create service account `default` in every namespace.
    pub service_accounts: bool,
    /// Certificate authority, as PEM, to publish in every namespace; `None`: do not.
    pub root_ca: Option<String>,
    /// Count what quotas limit.
    pub quotas: bool,
    /// Fill aggregated cluster roles.
    pub cluster_roles: bool,
    /// Fill secrets that are to hold the token of a service account, signed by this; `None`: do not.
    pub token_signer: Option<Arc<Signer>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            garbage_collector: true,
            namespaces: true,
            service_accounts: true,
            root_ca: None,
            quotas: true,
            cluster_roles: true,
            token_signer: None,
        }
    }
}

/// Runs the parts that are switched on until `stop`. Failed requests are repeated with pauses.
pub async fn run(client: Client, config: Config, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let collector = async {
        if config.garbage_collector {
            gc::run(client.clone(), Arc::clone(&clock), stop.clone()).await;
        }
    };
    let namespaces = async {
        if config.namespaces {
            namespaces::run(client.clone(), Arc::clone(&clock), stop.clone()).await;
        }
    };
    let accounts = async {
        let wanted = service_accounts::Config {
            default_account: config.service_accounts,
            root_ca: config.root_ca.clone(),
        };
        if wanted.default_account || wanted.root_ca.is_some() {
            service_accounts::run(client.clone(), wanted, stop.clone()).await;
        }
    };
    let quotas = async {
        if config.quotas {
            quota::run(client.clone(), Arc::clone(&clock), stop.clone()).await;
        }
    };
    let roles = async {
        if config.cluster_roles {
            cluster_roles::run(client.clone(), stop.clone()).await;
        }
    };
    let tokens = async {
        if let Some(signer) = config.token_signer.clone() {
            token_secrets::run(client.clone(), signer, config.root_ca.clone(), stop.clone()).await;
        }
    };
    // Separate allocations: the loops together are a large future.
    futures::join!(
        Box::pin(collector),
        Box::pin(namespaces),
        Box::pin(accounts),
        Box::pin(quotas),
        Box::pin(roles),
        Box::pin(tokens)
    );
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
