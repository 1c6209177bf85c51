//! Which resources the server has.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIResource, APIResourceList};
use kube::Client;
use kube::core::ApiResource;
use tracing::debug;

/// A resource of the server in one version.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) api: ApiResource,
    pub(crate) namespaced: bool,
    verbs: Vec<String>,
}

impl Served {
    pub(crate) fn has(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    /// `replicasets.apps`, `pods`: the same in all versions.
    pub(crate) fn name(&self) -> String {
        if self.api.group.is_empty() {
            self.api.plural.clone()
        } else {
            format!("{}.{}", self.api.plural, self.api.group)
        }
    }
}

/// Everything that discovery told.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    /// Each resource once, in the version that the server prefers.
    pub(crate) preferred: Vec<Arc<Served>>,
    /// By `apiVersion` and `kind`, in all versions.
    by_kind: BTreeMap<(String, String), Arc<Served>>,
    /// Group versions that could not be asked.
    pub(crate) failed: Vec<String>,
}

impl Catalogue {
    pub(crate) fn find(&self, api_version: &str, kind: &str) -> Option<&Arc<Served>> {
        self.by_kind.get(&(api_version.to_owned(), kind.to_owned()))
    }

    fn add(&mut self, list: &APIResourceList) {
        for resource in list
            .resources
            .iter()
            .filter(|resource| !resource.name.contains('/'))
        {
            let served = Arc::new(served(resource, &list.group_version));
            let key = (served.api.api_version.clone(), served.api.kind.clone());
            let name = served.name();
            if !self.preferred.iter().any(|known| known.name() == name) {
                self.preferred.push(Arc::clone(&served));
            }
            self.by_kind.insert(key, served);
        }
    }
}

fn served(resource: &APIResource, group_version: &str) -> Served {
    let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
    let api = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: group_version.to_owned(),
        kind: resource.kind.clone(),
        plural: resource.name.clone(),
    };
    Served {
        api,
        namespaced: resource.namespaced,
        verbs: resource.verbs.clone(),
    }
}

/// Asks the server. A group version that fails is noted in the result.
pub(crate) async fn discover(client: &Client) -> Result<Catalogue, kube::Error> {
    let mut catalogue = Catalogue::default();
    for version in client.list_core_api_versions().await?.versions {
        catalogue.add(&client.list_core_api_resources(&version).await?);
    }
    for group in client.list_api_groups().await?.groups {
        let preferred = group
            .preferred_version
            .iter()
            .map(|version| &version.group_version);
        let others = group.versions.iter().map(|version| &version.group_version);
        let mut asked: Vec<&String> = Vec::new();
        for group_version in preferred.chain(others) {
            if asked.contains(&group_version) {
                continue;
            }
            asked.push(group_version);
            match client.list_api_group_resources(group_version).await {
                Ok(list) => catalogue.add(&list),
                Err(error) => {
                    debug!(
                        group_version,
                        error = &error as &dyn std::error::Error,
                        "discovery of a group failed"
                    );
                    catalogue.failed.push(group_version.clone());
                }
            }
        }
    }
    Ok(catalogue)
}

#[cfg(test)]
pub(crate) mod testing {
    use super::{ApiResource, Served};

    /// A resource with the verbs that housekeeping needs.
    pub(crate) fn served(api: ApiResource, namespaced: bool) -> Served {
        let verbs = ["get", "list", "watch", "delete", "patch"]
            .map(str::to_owned)
            .to_vec();
        Served {
            api,
            namespaced,
            verbs,
        }
    }
}
