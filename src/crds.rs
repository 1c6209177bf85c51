//! The definitions of our custom resources: `steersman crds` prints them, to be piped into `kubectl apply -f -`; the
//! sandbox installs them itself.

use std::io::Write as _;

use anyhow::Context as _;
#[cfg(feature = "sandbox")]
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
#[cfg(feature = "sandbox")]
use kube::api::{Api, Patch, PatchParams};

/// Prints all definitions as one YAML stream.
///
/// # Errors
///
/// Standard output is closed.
pub(crate) fn print() -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    for definition in steersman_crds::all() {
        let text = steersman_crds::yaml(&definition)?;
        write!(out, "---\n{text}").context("standard output")?;
    }
    Ok(())
}

/// Brings all definitions on the API server up to date.
///
/// # Errors
///
/// The server refuses one.
#[cfg(feature = "sandbox")]
pub(crate) async fn install(client: &kube::Client) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in steersman_crds::all() {
        let name = definition.metadata.name.clone().unwrap_or_default();
        let params = PatchParams::apply("steersman").force();
        api.patch(&name, &params, &Patch::Apply(&definition))
            .await
            .with_context(|| format!("install the definition {name}"))?;
    }
    Ok(())
}
