//! `steersman sandbox --demo`: rolls out a small shop, updates it, and shows both as they happen.

use std::io::{IsTerminal as _, Write};
use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt as _};
use serde_json::json;

const SHOP: &str = include_str!("demo/shop.yaml");
const NAMESPACE: &str = "shop";
/// A rollout of the shop takes a second or two; past this something is wrong.
const DEADLINE: Duration = Duration::from_mins(1);
const REFRESH: Duration = Duration::from_millis(100);

/// Runs the demo to its end: everything available, then a rolling update done.
///
/// # Errors
///
/// The API server refused something, or a rollout did not end within [`DEADLINE`]; the message says which.
pub(crate) async fn run(client: &Client, out: &mut (impl Write + Send)) -> anyhow::Result<()> {
    writeln!(
        out,
        "Creating namespace {NAMESPACE} with three Deployments and their Services ..."
    )?;
    apply(client, SHOP).await?;
    follow(client, out, "1.0").await?;
    writeln!(out, "all Deployments are available")?;

    writeln!(out, "\nRolling update: every image goes from 1.0 to 2.0 ...")?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    for name in ["web", "catalog", "cart"] {
        let image = format!("example.com/shop/{name}:2.0");
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": name, "image": image}]}}}});
        deployments
            .patch(name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .with_context(|| format!("updating deployment {NAMESPACE}/{name}"))?;
    }
    follow(client, out, "2.0").await?;
    writeln!(out, "rolling update done")?;
    Ok(())
}

/// Creates every object of a manifest; one that exists already (`--data`) is brought back to it.
async fn apply(client: &Client, manifest: &str) -> anyhow::Result<()> {
    let objects: Vec<DynamicObject> =
        serde_saphyr::from_multiple(manifest).context("the bundled manifest")?;
    for object in objects {
        let types = object.types.clone().unwrap_or_default();
        let kind = GroupVersionKind::try_from(types).context("the bundled manifest")?;
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> = match object.namespace() {
            Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let name = object.name_any();
        let created = match api.create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                api.patch(&name, &PatchParams::default(), &Patch::Merge(&object))
                    .await
            }
            other => other,
        };
        created.with_context(|| format!("creating {} {name}", kind.kind))?;
    }
    Ok(())
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    name: String,
    wanted: i32,
    updated: i32,
    total: i32,
    available: i32,
    image: String,
    done: bool,
}

impl Row {
    fn of(deployment: &Deployment, tag: &str) -> Self {
        let spec = deployment.spec.as_ref();
        let status = deployment.status.clone().unwrap_or_default();
        let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let pod = spec.and_then(|spec| spec.template.spec.as_ref());
        let image = pod
            .and_then(|pod| pod.containers.first()?.image.clone())
            .unwrap_or_default();
        let (updated, total) = (status.updated_replicas.unwrap_or(0), status.replicas.unwrap_or(0));
        let available = status.available_replicas.unwrap_or(0);
        let seen = status.observed_generation >= deployment.metadata.generation;
        let done = seen && image.ends_with(tag) && [updated, total, available] == [wanted; 3];
        Self {
            name: deployment.name_any(),
            wanted,
            updated,
            total,
            available,
            image,
            done,
        }
    }

    fn line(&self) -> String {
        let Self {
            name,
            wanted,
            updated,
            total,
            available,
            image,
            done,
        } = self;
        let state = if *done { "done" } else { "rolling out" };
        let name = format!("{NAMESPACE}/{name}");
        format!(
            "{name:<14} {available:>2}/{wanted:<2} available  {updated:>2} updated  {total:>2} pods  {image:<28} {state}"
        )
    }
}

/// Shows the Deployments until all have rolled out the image `tag`: a live table on a terminal, else a line for each
/// change.
async fn follow(client: &Client, out: &mut (impl Write + Send), tag: &str) -> anyhow::Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let live = std::io::stdout().is_terminal();
    let mut shown: Vec<Row> = Vec::new();
    let rounds = DEADLINE.as_millis() / REFRESH.as_millis();
    for _ in 0..rounds {
        let list = deployments
            .list(&ListParams::default())
            .await
            .context("listing the shop's Deployments")?;
        let rows: Vec<Row> = list
            .items
            .iter()
            .map(|deployment| Row::of(deployment, tag))
            .collect();
        if rows != shown {
            if live && !shown.is_empty() {
                // Back over the lines shown before; each is cleared as it is written anew.
                write!(out, "\x1b[{}A", shown.len())?;
            }
            for row in rows.iter().filter(|row| live || !shown.contains(row)) {
                let clear = if live { "\x1b[2K" } else { "" };
                writeln!(out, "{clear}{}", row.line())?;
            }
            out.flush()?;
            shown = rows;
        }
        if shown.len() == 3 && shown.iter().all(|row| row.done) {
            return Ok(());
        }
        tokio::time::sleep(REFRESH).await;
    }
    let stuck: Vec<String> = shown.iter().filter(|row| !row.done).map(Row::line).collect();
    bail!(
        "not rolled out within {} s:\n{}",
        DEADLINE.as_secs(),
        stuck.join("\n")
    )
}
