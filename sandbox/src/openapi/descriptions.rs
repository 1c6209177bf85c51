//! The texts of OpenAPI schemas and of `kubectl explain`, from the schemas of k8s-openapi.

use k8s_openapi::{
    api::{
        admissionregistration::v1 as admissionregistration, apps::v1 as apps,
        authentication::v1 as authentication, authorization::v1 as authorization,
        autoscaling::v1 as autoscaling_v1, autoscaling::v2 as autoscaling, batch::v1 as batch,
        coordination::v1 as coordination, core::v1 as core, discovery::v1 as discovery, events::v1 as events,
        networking::v1 as networking, node::v1 as node, policy::v1 as policy, rbac::v1 as rbac,
        resource::v1 as resource, scheduling::v1 as scheduling, storage::v1 as storage,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions,
    apimachinery::pkg::apis::meta::v1 as meta,
};
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value};

use crate::json;

/// Schemas of all built-in types with their descriptions, by name. Made anew for each document: keeping them would
/// cost megabytes that hardly any run needs.
pub(super) struct Descriptions(Map<String, Value>);

macro_rules! schemas {
    ($generator:ident: $($kind:path),* $(,)?) => {
        $($generator.subschema_for::<$kind>();)*
    };
}

impl Descriptions {
    pub(super) fn read() -> Self {
        let mut generator = SchemaGenerator::new(SchemaSettings::openapi3());
        schemas!(generator: core::Binding, core::ConfigMap, core::Endpoints, core::Event, core::LimitRange,
            core::Namespace, core::Node, core::PersistentVolume, core::PersistentVolumeClaim, core::Pod,
            core::PodTemplate, core::ReplicationController, core::ResourceQuota, core::Secret, core::Service,
            core::ServiceAccount);
        schemas!(generator: apps::ControllerRevision, apps::DaemonSet, apps::Deployment, apps::ReplicaSet,
            apps::StatefulSet, autoscaling_v1::Scale, autoscaling::HorizontalPodAutoscaler, batch::CronJob,
            batch::Job, coordination::Lease, discovery::EndpointSlice, events::Event);
        schemas!(generator: networking::Ingress, networking::IngressClass, networking::NetworkPolicy,
            node::RuntimeClass, policy::Eviction, policy::PodDisruptionBudget, rbac::ClusterRole,
            rbac::ClusterRoleBinding, rbac::Role, rbac::RoleBinding, scheduling::PriorityClass);
        schemas!(generator: resource::DeviceClass, resource::ResourceClaim, resource::ResourceClaimTemplate,
            resource::ResourceSlice, storage::CSIDriver, storage::CSINode, storage::CSIStorageCapacity,
            storage::StorageClass, storage::VolumeAttachment);
        schemas!(generator: admissionregistration::MutatingWebhookConfiguration,
            admissionregistration::ValidatingWebhookConfiguration, apiextensions::CustomResourceDefinition,
            authentication::SelfSubjectReview, authentication::TokenRequest, authentication::TokenReview,
            authorization::LocalSubjectAccessReview, authorization::SelfSubjectAccessReview,
            authorization::SelfSubjectRulesReview, authorization::SubjectAccessReview);
        schemas!(generator: meta::DeleteOptions, meta::Status, meta::ListMeta);
        Self(generator.take_definitions(false))
    }

    /// What a type is for.
    pub(super) fn of_type(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.get("description")?.as_str()
    }

    /// What a member is for.
    pub(super) fn of_member(&self, name: &str, member: &str) -> Option<&str> {
        json::at(self.0.get(name)?, &["properties", member, "description"])?.as_str()
    }
}
