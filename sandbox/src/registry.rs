//! Which kinds are served, and how they differ: one table row per built-in kind, one entry per version of a custom
//! resource. Everything else in the server is generic and asks this table.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use serde_json::Value;

use crate::{
    crd::Schema,
    names::{GroupKind, Gvr},
    schema::{Node, Types},
    store::{Revision, TableName},
    table::PrinterColumn,
};

/// When `metadata.generation` is raised (API-66).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// The kind has none.
    None,
    /// Set to 1 at create and not raised by updates.
    Fixed,
    /// By a change of `spec`.
    Spec,
    /// By a change of `spec`; absent until then.
    SpecLater,
    /// By a change of `spec` or of the annotations.
    SpecOrAnnotations,
    /// By a change of anything outside metadata, or of the labels.
    ContentOrLabels,
    /// By a change of anything outside metadata and status.
    Content,
    /// By a change of anything outside metadata.
    ContentAndStatus,
}

/// Which operations a resource offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// All eight verbs.
    All,
    /// All but `deletecollection`.
    NoCollection,
    /// `create` only, and nothing is stored.
    CreateOnly,
}

impl Offer {
    /// Verbs in the order of discovery (API-551, API-571).
    #[must_use]
    pub fn verbs(self, custom: bool) -> &'static [&'static str] {
        match self {
            Self::All if custom => &[
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "create",
                "update",
                "watch",
            ],
            Self::All => &[
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ],
            Self::NoCollection => &["create", "delete", "get", "list", "patch", "update", "watch"],
            Self::CreateOnly => &["create"],
        }
    }
}

/// What a DELETE that removes an object answers (API-140).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteAnswer {
    /// A Status.
    Status,
    /// The removed object.
    Object,
}

/// Whether an update has to name the version that it replaces (API-123).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionCheck {
    /// Without a version the update always wins.
    Optional,
    /// An update without a version is refused.
    Required,
}

/// Where a custom resource keeps its replica counts (API-548); built-in kinds have the usual places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// For example `.spec.replicas`.
    pub spec_replicas: String,
    /// For example `.status.replicas`.
    pub status_replicas: String,
    /// Place of the selector in its text form, if the resource has one.
    pub label_selector: Option<String>,
}

/// A further path below an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// Last path segment.
    pub name: &'static str,
    /// Group of the kind that is exchanged, where it is not that of the resource.
    pub group: Option<&'static str>,
    /// Version of that group.
    pub version: Option<&'static str>,
    /// Kind that is exchanged; empty: that of the resource.
    pub kind: &'static str,
    /// Verbs in the order of discovery.
    pub verbs: &'static [&'static str],
}

const GET_PATCH_UPDATE: &[&str] = &["get", "patch", "update"];

const STATUS: Subresource = Subresource {
    name: "status",
    group: None,
    version: None,
    kind: "",
    verbs: GET_PATCH_UPDATE,
};
const SCALE: Subresource = Subresource {
    name: "scale",
    group: Some("autoscaling"),
    version: Some("v1"),
    kind: "Scale",
    verbs: GET_PATCH_UPDATE,
};

/// What is special about a custom resource.
#[derive(Debug)]
pub struct Custom {
    /// `spec.versions[].schema.openAPIV3Schema`.
    pub schema: Value,
    /// The types that the schema describes.
    pub(crate) types: Types,
    /// Columns of Tables.
    pub columns: Vec<PrinterColumn>,
    /// Paths of `selectableFields`, without the leading dot.
    pub selectable: Vec<String>,
    /// Replica counts, if the version has the scale subresource.
    pub scale: Option<ScalePaths>,
    /// Text of the `Warning` header, if the version is deprecated.
    pub deprecation: Option<String>,
    /// Whether the definition is being deleted: no new objects are accepted.
    pub terminating: bool,
    /// Objects written after this revision already have the form that the schema demands; `None`: none is known to.
    pub settled: Option<Revision>,
    /// `apiVersion` and `kind` of the objects.
    pub type_meta: [String; 2],
    /// The schema of the version in which objects are stored, if it is another one.
    pub(crate) storage: Option<Arc<Schema>>,
    /// The schema as it is evaluated.
    pub(crate) validation: Arc<Schema>,
}

/// One served kind in one version.
#[derive(Debug)]
pub struct Kind {
    /// Group, version and plural.
    pub resource: Gvr,
    /// Group and kind.
    pub gk: GroupKind,
    /// `<Kind>List` unless a custom resource says otherwise.
    pub list_kind: String,
    /// Singular resource name.
    pub singular: String,
    /// Short names for kubectl.
    pub short_names: Vec<String>,
    /// Categories for kubectl.
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Where objects are stored; shared by all versions, and by both groups of Event.
    pub table: TableName,
    /// Offered operations.
    pub offer: Offer,
    /// Subresources in the order of discovery.
    pub subresources: Vec<Subresource>,
    /// When the generation is raised.
    pub generation: Generation,
    /// What a DELETE answers.
    pub delete_answer: DeleteAnswer,
    /// Whether updates have to name a version.
    pub version_check: VersionCheck,
    /// Whether a PUT to a missing name creates the object (API-124).
    pub put_creates: bool,
    /// Whether the stored form is that of core/v1 Event and the served one that of events.k8s.io.
    pub is_new_event: bool,
    /// Set for custom resources.
    pub custom: Option<Custom>,
}

impl Kind {
    /// `v1` or `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        api_version(&self.resource.group, &self.resource.version)
    }

    /// Whether it has this subresource.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources
            .iter()
            .find(|subresource| subresource.name == name)
    }

    /// Whether status is written through its own path only (API-440).
    #[must_use]
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// What is known about the members of its objects.
    pub(crate) fn node(&self) -> Option<Node<'_>> {
        match &self.custom {
            Some(custom) => custom.types.root(),
            None => Types::built_in().kind(&self.resource.group, &self.resource.version, &self.gk.kind),
        }
    }

    /// Name of the type in messages of kube-apiserver, such as `core.ConfigMap`.
    pub(crate) fn type_name(&self) -> String {
        if self.custom.is_some() {
            return "unstructured.Unstructured".to_owned();
        }
        let package = match self.gk.group.split('.').next().unwrap_or_default() {
            "" | "events" => "core",
            first => first,
        };
        format!("{package}.{}", self.gk.kind)
    }

    /// Whether the kind is `kind` of the core group.
    #[must_use]
    pub fn is_core(&self, kind: &str) -> bool {
        self.gk.group.is_empty() && self.gk.kind == kind
    }

    /// Whether the kind is `kind` of `group`.
    #[must_use]
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.gk.group == group && self.gk.kind == kind
    }
}

/// `v1` or `apps/v1`.
#[must_use]
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// A row of the table of built-in kinds.
#[derive(Clone, Copy)]
struct Row {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    categories: &'static [&'static str],
    namespaced: bool,
    offer: Offer,
    subresources: &'static [Subresource],
    generation: Generation,
    delete_answer: DeleteAnswer,
    version_check: VersionCheck,
    put_creates: bool,
}

const fn row(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Row {
    Row {
        group,
        version,
        kind,
        plural,
        short: &[],
        categories: &[],
        namespaced: true,
        offer: Offer::All,
        subresources: &[],
        generation: Generation::None,
        delete_answer: DeleteAnswer::Status,
        version_check: VersionCheck::Optional,
        put_creates: false,
    }
}

const fn core(kind: &'static str, plural: &'static str) -> Row {
    row("", "v1", kind, plural)
}

impl Row {
    const fn short(self, short: &'static [&'static str]) -> Self {
        Self { short, ..self }
    }
    const fn in_all(self) -> Self {
        Self {
            categories: &["all"],
            ..self
        }
    }
    const fn cluster(self) -> Self {
        Self {
            namespaced: false,
            ..self
        }
    }
    const fn status(self) -> Self {
        Self {
            subresources: &[STATUS],
            ..self
        }
    }
    const fn scale(self) -> Self {
        Self {
            subresources: &[SCALE, STATUS],
            ..self
        }
    }
    const fn subresources(self, subresources: &'static [Subresource]) -> Self {
        Self { subresources, ..self }
    }
    const fn generation(self, generation: Generation) -> Self {
        Self { generation, ..self }
    }
    const fn deleted_object(self) -> Self {
        Self {
            delete_answer: DeleteAnswer::Object,
            ..self
        }
    }
    const fn versioned_update(self) -> Self {
        Self {
            version_check: VersionCheck::Required,
            ..self
        }
    }
    const fn put_creates(self) -> Self {
        Self {
            put_creates: true,
            ..self
        }
    }
    const fn create_only(self) -> Self {
        Self {
            offer: Offer::CreateOnly,
            ..self
        }
    }
    const fn no_collection(self) -> Self {
        Self {
            offer: Offer::NoCollection,
            ..self
        }
    }
}

const CREATE: &[&str] = &["create"];
const RBAC: &str = "rbac.authorization.k8s.io";
const RESOURCE: &str = "resource.k8s.io";
const STORAGE: &str = "storage.k8s.io";

const fn own(name: &'static str, kind: &'static str, verbs: &'static [&'static str]) -> Subresource {
    Subresource {
        name,
        group: None,
        version: None,
        kind,
        verbs,
    }
}

const POD_SUBRESOURCES: &[Subresource] = &[
    own("attach", "PodAttachOptions", &["create", "get"]),
    own("binding", "Binding", CREATE),
    own("ephemeralcontainers", "Pod", GET_PATCH_UPDATE),
    Subresource {
        name: "eviction",
        group: Some("policy"),
        version: Some("v1"),
        kind: "Eviction",
        verbs: CREATE,
    },
    own("exec", "PodExecOptions", &["create", "get"]),
    own("log", "Pod", &["get"]),
    own("portforward", "PodPortForwardOptions", &["create", "get"]),
    own("resize", "Pod", GET_PATCH_UPDATE),
    STATUS,
];

const TOKEN: Subresource = Subresource {
    name: "token",
    group: Some("authentication.k8s.io"),
    version: Some("v1"),
    kind: "TokenRequest",
    verbs: CREATE,
};

/// Built-in kinds (chapter "Resources served" of the specification; API-66, API-123, API-124, API-140, API-571).
const BUILT_IN: &[Row] = &[
    core("Binding", "bindings").create_only(),
    core("ConfigMap", "configmaps").short(&["cm"]),
    core("Endpoints", "endpoints").short(&["ep"]).put_creates(),
    core("Event", "events").short(&["ev"]).put_creates(),
    core("LimitRange", "limitranges").short(&["limits"]).put_creates(),
    core("Namespace", "namespaces")
        .short(&["ns"])
        .cluster()
        .no_collection()
        .deleted_object()
        .subresources(&[own("finalize", "", &["update"]), STATUS]),
    core("Node", "nodes").short(&["no"]).cluster().status(),
    core("PersistentVolumeClaim", "persistentvolumeclaims")
        .short(&["pvc"])
        .deleted_object()
        .status(),
    core("PersistentVolume", "persistentvolumes")
        .short(&["pv"])
        .cluster()
        .deleted_object()
        .status(),
    core("Pod", "pods")
        .short(&["po"])
        .in_all()
        .deleted_object()
        .generation(Generation::Spec)
        .subresources(POD_SUBRESOURCES),
    core("PodTemplate", "podtemplates")
        .deleted_object()
        .generation(Generation::Content),
    core("ReplicationController", "replicationcontrollers")
        .short(&["rc"])
        .in_all()
        .generation(Generation::Spec)
        .scale(),
    core("ResourceQuota", "resourcequotas")
        .short(&["quota"])
        .deleted_object()
        .status(),
    core("Secret", "secrets"),
    core("ServiceAccount", "serviceaccounts")
        .short(&["sa"])
        .deleted_object()
        .subresources(&[TOKEN]),
    core("Service", "services")
        .short(&["svc"])
        .in_all()
        .deleted_object()
        .put_creates()
        .status(),
    row(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
    )
    .short(&["crd", "crds"])
    .api_extensions()
    .cluster()
    .deleted_object()
    .versioned_update()
    .generation(Generation::Spec)
    .status(),
    row("apps", "v1", "ControllerRevision", "controllerrevisions"),
    row("apps", "v1", "DaemonSet", "daemonsets")
        .short(&["ds"])
        .in_all()
        .generation(Generation::Spec)
        .status(),
    row("apps", "v1", "Deployment", "deployments")
        .short(&["deploy"])
        .in_all()
        .generation(Generation::SpecOrAnnotations)
        .scale(),
    row("apps", "v1", "ReplicaSet", "replicasets")
        .short(&["rs"])
        .in_all()
        .generation(Generation::Spec)
        .scale(),
    row("apps", "v1", "StatefulSet", "statefulsets")
        .short(&["sts"])
        .in_all()
        .generation(Generation::Spec)
        .scale(),
    row(
        "authentication.k8s.io",
        "v1",
        "SelfSubjectReview",
        "selfsubjectreviews",
    )
    .cluster()
    .create_only(),
    row("authentication.k8s.io", "v1", "TokenReview", "tokenreviews")
        .cluster()
        .create_only(),
    row(
        "authorization.k8s.io",
        "v1",
        "LocalSubjectAccessReview",
        "localsubjectaccessreviews",
    )
    .create_only(),
    row(
        "authorization.k8s.io",
        "v1",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
    )
    .cluster()
    .create_only(),
    row(
        "authorization.k8s.io",
        "v1",
        "SelfSubjectRulesReview",
        "selfsubjectrulesreviews",
    )
    .cluster()
    .create_only(),
    row(
        "authorization.k8s.io",
        "v1",
        "SubjectAccessReview",
        "subjectaccessreviews",
    )
    .cluster()
    .create_only(),
    row(
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
    )
    .short(&["hpa"])
    .in_all()
    .status(),
    row("batch", "v1", "CronJob", "cronjobs")
        .short(&["cj"])
        .in_all()
        .generation(Generation::Spec)
        .status(),
    row("batch", "v1", "Job", "jobs")
        .in_all()
        .generation(Generation::Spec)
        .status(),
    row("coordination.k8s.io", "v1", "Lease", "leases")
        .versioned_update()
        .put_creates(),
    row("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices").generation(Generation::ContentOrLabels),
    row("events.k8s.io", "v1", "Event", "events")
        .short(&["ev"])
        .put_creates(),
    row("networking.k8s.io", "v1", "IngressClass", "ingressclasses")
        .cluster()
        .generation(Generation::Spec),
    row("networking.k8s.io", "v1", "Ingress", "ingresses")
        .short(&["ing"])
        .generation(Generation::Spec)
        .status(),
    row("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
        .short(&["netpol"])
        .generation(Generation::Spec),
    row("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
        .short(&["pdb"])
        .versioned_update()
        .generation(Generation::Spec)
        .status(),
    row(RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings")
        .cluster()
        .put_creates(),
    row(RBAC, "v1", "ClusterRole", "clusterroles")
        .cluster()
        .put_creates(),
    row(RBAC, "v1", "RoleBinding", "rolebindings").put_creates(),
    row(RBAC, "v1", "Role", "roles").put_creates(),
    row("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses")
        .short(&["pc"])
        .cluster()
        .generation(Generation::Fixed),
    row(RESOURCE, "v1", "DeviceClass", "deviceclasses")
        .cluster()
        .deleted_object()
        .generation(Generation::Spec),
    row(RESOURCE, "v1", "ResourceClaim", "resourceclaims")
        .deleted_object()
        .status(),
    row(RESOURCE, "v1", "ResourceClaimTemplate", "resourceclaimtemplates").deleted_object(),
    row(RESOURCE, "v1", "ResourceSlice", "resourceslices")
        .cluster()
        .deleted_object()
        .generation(Generation::Spec),
    row(STORAGE, "v1", "CSIDriver", "csidrivers")
        .cluster()
        .deleted_object()
        .versioned_update()
        .generation(Generation::SpecLater),
    row(STORAGE, "v1", "CSINode", "csinodes")
        .cluster()
        .deleted_object()
        .versioned_update(),
    row(STORAGE, "v1", "CSIStorageCapacity", "csistoragecapacities"),
    row(STORAGE, "v1", "StorageClass", "storageclasses")
        .short(&["sc"])
        .cluster()
        .deleted_object(),
    row(STORAGE, "v1", "VolumeAttachment", "volumeattachments")
        .cluster()
        .deleted_object()
        .versioned_update()
        .status(),
];

impl Row {
    const fn api_extensions(self) -> Self {
        Self {
            categories: &["api-extensions"],
            ..self
        }
    }

    fn kind(&self) -> Kind {
        let resource = Gvr::new(self.group, self.version, self.plural);
        let is_new_event = self.group == "events.k8s.io";
        let table = if is_new_event {
            "events".into()
        } else {
            resource.to_string().into()
        };
        Kind {
            gk: GroupKind::new(self.group, self.kind),
            list_kind: format!("{}List", self.kind),
            singular: self.kind.to_ascii_lowercase(),
            short_names: self.short.iter().map(|&name| name.to_owned()).collect(),
            categories: self.categories.iter().map(|&name| name.to_owned()).collect(),
            namespaced: self.namespaced,
            table,
            offer: self.offer,
            subresources: self.subresources.to_vec(),
            generation: self.generation,
            delete_answer: self.delete_answer,
            version_check: self.version_check,
            put_creates: self.put_creates,
            is_new_event,
            custom: None,
            resource,
        }
    }
}

/// Description of one version of a custom resource, from which a [`Kind`] is made.
#[derive(Debug)]
pub struct CustomVersion {
    /// Group, version, plural.
    pub resource: Gvr,
    /// Kind.
    pub kind: String,
    /// Kind of lists.
    pub list_kind: String,
    /// Singular name.
    pub singular: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Categories.
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether it has the status subresource.
    pub status: bool,
    /// Schema, columns and the like.
    pub custom: Custom,
}

impl From<CustomVersion> for Kind {
    fn from(version: CustomVersion) -> Self {
        let mut subresources = Vec::new();
        if version.status {
            subresources.push(STATUS);
        }
        if version.custom.scale.is_some() {
            subresources.push(SCALE);
        }
        Self {
            gk: GroupKind::new(version.resource.group.clone(), version.kind),
            list_kind: version.list_kind,
            singular: version.singular,
            short_names: version.short_names,
            categories: version.categories,
            namespaced: version.namespaced,
            table: version.resource.to_string().into(),
            offer: Offer::All,
            subresources,
            generation: if version.status {
                Generation::Content
            } else {
                Generation::ContentAndStatus
            },
            delete_answer: DeleteAnswer::Status,
            version_check: VersionCheck::Required,
            put_creates: false,
            is_new_event: false,
            custom: Some(version.custom),
            resource: version.resource,
        }
    }
}

/// Group versions without a resource: only subresources of other groups exchange their kinds (API-571).
const BARE: &[(&str, &str)] = &[("autoscaling", "v1")];

/// The kinds that are served at a moment; replaced as a whole when a definition of custom resources changes.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    kinds: BTreeMap<Gvr, Arc<Kind>>,
}

impl Kinds {
    /// The kind behind a URL.
    #[must_use]
    pub fn get(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<Kind>> {
        self.kinds.get(&Gvr::new(
            group.to_owned(),
            version.to_owned(),
            resource.to_owned(),
        ))
    }

    /// All kinds, ordered by group, version and plural.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.values()
    }

    /// Whether the group version is served.
    #[must_use]
    pub fn has_version(&self, group: &str, version: &str) -> bool {
        BARE.contains(&(group, version))
            || self
                .iter()
                .any(|kind| kind.resource.group == group && kind.resource.version == version)
    }

    /// Whether the group is served.
    #[must_use]
    pub fn has_group(&self, group: &str) -> bool {
        self.iter().any(|kind| kind.resource.group == group)
    }

    /// Whether the group has kinds that are built in.
    #[must_use]
    pub fn is_built_in_group(&self, group: &str) -> bool {
        self.iter()
            .any(|kind| kind.resource.group == group && kind.custom.is_none())
    }

    /// Versions of a group, the preferred one first: stable before beta before alpha, higher before lower.
    #[must_use]
    pub fn versions(&self, group: &str) -> Vec<String> {
        let mut versions: Vec<String> = self
            .iter()
            .filter(|kind| kind.resource.group == group)
            .map(|kind| kind.resource.version.to_string())
            .collect();
        versions.dedup();
        let bare = BARE.iter().filter(|(other, _)| *other == group);
        versions.extend(bare.map(|(_, version)| (*version).to_owned()));
        versions.sort_by(|a, b| version_rank(b).cmp(&version_rank(a)).then_with(|| a.cmp(b)));
        versions
    }

    /// Named groups in the order of discovery.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        let mut groups: Vec<String> = self
            .iter()
            .map(|kind| kind.resource.group.to_string())
            .filter(|group| !group.is_empty())
            .collect();
        groups.dedup();
        groups
    }
}

/// Order of API versions: `v2` above `v1` above `v2beta1` above `v1alpha1` above names of another form.
fn version_rank(version: &str) -> (u8, u32, u32) {
    let parse = || {
        let rest = version.strip_prefix('v')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major: u32 = rest.get(..digits)?.parse().ok()?;
        match rest.get(digits..)? {
            "" => Some((3, major, 0)),
            tail => match (tail.strip_prefix("beta"), tail.strip_prefix("alpha")) {
                (Some(minor), _) => Some((2, major, minor.parse().ok()?)),
                (_, Some(minor)) => Some((1, major, minor.parse().ok()?)),
                _ => None,
            },
        }
    };
    parse().unwrap_or((0, 0, 0))
}

/// The kinds served now. Readers take a snapshot; defining custom resources swaps it.
#[derive(Debug)]
pub struct Registry {
    kinds: RwLock<Arc<Kinds>>,
}

impl Default for Registry {
    fn default() -> Self {
        let kinds = BUILT_IN
            .iter()
            .map(Row::kind)
            .map(|kind| (kind.resource.clone(), Arc::new(kind)))
            .collect();
        Self {
            kinds: RwLock::new(Arc::new(Kinds { kinds })),
        }
    }
}

impl Registry {
    /// What is served now.
    #[must_use]
    pub fn kinds(&self) -> Arc<Kinds> {
        Arc::clone(&self.kinds.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Serves exactly these versions of a custom resource from now on; none removes it.
    pub fn define(&self, group: &str, plural: &str, versions: Vec<Kind>) {
        let mut guard = self.kinds.write().unwrap_or_else(PoisonError::into_inner);
        let mut kinds = Kinds::clone(&guard);
        kinds.kinds.retain(|resource, kind| {
            kind.custom.is_none() || resource.group != group || resource.resource != plural
        });
        for kind in versions {
            // A built-in resource of the same name is never replaced.
            kinds
                .kinds
                .entry(kind.resource.clone())
                .or_insert_with(|| Arc::new(kind));
        }
        *guard = Arc::new(kinds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_571_verbs_and_names_of_built_in_kinds() {
        let kinds = Registry::default().kinds();
        let pods = kinds.get("", "v1", "pods").unwrap();
        assert_eq!(pods.offer.verbs(false).len(), 8);
        assert_eq!(pods.short_names, ["po"]);
        assert_eq!(pods.subresource("eviction").unwrap().group, Some("policy"));
        let namespaces = kinds.get("", "v1", "namespaces").unwrap();
        assert!(!namespaces.offer.verbs(false).contains(&"deletecollection"));
        assert_eq!(
            kinds.get("events.k8s.io", "v1", "events").unwrap().table.as_ref(),
            "events"
        );
    }

    #[test]
    fn api_570_stable_versions_come_first() {
        let mut versions = vec!["v1beta1", "foo", "v2", "v1", "v1alpha3", "v11beta2"];
        versions.sort_by_key(|version| std::cmp::Reverse(version_rank(version)));
        assert_eq!(versions, ["v2", "v1", "v11beta2", "v1beta1", "v1alpha3", "foo"]);
    }
}
