//! Settings of the scheduler.

use k8s_openapi::api::core::v1::NodeAffinity as NodeAffinitySpec;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::plan::plugins::{AddedAffinity, BalancedAllocationArgs, FitArgs, ResourceWeight, Strategy};
use crate::plan::{Profile, ProfileArgs};

/// Settings; every field has a default. A bad value refuses the start (SCH-168).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Pods whose `spec.schedulerName` is one of these are scheduled (SCH-2). Add `default-scheduler` to replace
    /// kube-scheduler. Default: `steersman`.
    pub scheduler_names: Vec<String>,
    /// What ties are drawn with (SCH-70). Default: 0.
    pub seed: u64,
    /// Seconds until a failed attempt is first repeated. Default: 1 (kube-scheduler 1.36).
    pub pod_initial_backoff_seconds: u32,
    /// Longest such time, at least the initial one. Default: 10 (kube-scheduler 1.36).
    pub pod_max_backoff_seconds: u32,
    /// Bindings that are under way at one time; at least 1. Default: 100, the burst of upstream's client.
    pub max_bindings_in_flight: usize,
    /// `NodeResourcesFitArgs`. Default: none ignored, `LeastAllocated`.
    pub node_resources_fit: FitArgs,
    /// `NodeResourcesBalancedAllocationArgs`. Default: cpu and memory.
    pub node_resources_balanced_allocation: BalancedAllocationArgs,
    /// `addedAffinity` of `NodeAffinityArgs`. Default: none.
    pub added_affinity: Option<NodeAffinitySpec>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scheduler_names: vec!["steersman".to_owned()],
            seed: 0,
            pod_initial_backoff_seconds: 1,
            pod_max_backoff_seconds: 10,
            max_bindings_in_flight: 100,
            node_resources_fit: FitArgs::default(),
            node_resources_balanced_allocation: BalancedAllocationArgs::default(),
            added_affinity: None,
        }
    }
}

impl Config {
    /// The profile that the settings describe.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first setting that cannot work.
    pub fn profile(&self) -> Result<Profile> {
        self.check()?;
        let added_affinity = match &self.added_affinity {
            None => AddedAffinity::default(),
            Some(affinity) => {
                AddedAffinity::parse(affinity).map_err(|source| Error::AddedAffinity { source })?
            }
        };
        Ok(Profile::new(ProfileArgs {
            fit: self.node_resources_fit.clone(),
            balanced: self.node_resources_balanced_allocation.clone(),
            added_affinity,
        }))
    }

    fn check(&self) -> Result<()> {
        let strategy = &self.node_resources_fit.scoring_strategy;
        let balanced = &self.node_resources_balanced_allocation.resources;
        let shape = strategy
            .requested_to_capacity_ratio
            .as_ref()
            .map(|ratio| ratio.shape.as_slice());
        let shape = shape.unwrap_or_default();
        let wants_shape = strategy.strategy == Strategy::RequestedToCapacityRatio;
        let weights_within = |resources: &[ResourceWeight], most: i64| {
            resources
                .iter()
                .all(|resource| (1..=most).contains(&resource.weight))
        };
        let mut names: Vec<&str> = balanced.iter().map(|resource| resource.name.as_str()).collect();
        names.sort_unstable();
        let has_duplicate = std::iter::zip(&names, names.iter().skip(1)).any(|(name, next)| name == next);
        let is_rising = std::iter::zip(shape, shape.iter().skip(1))
            .all(|(point, next)| point.utilization < next.utilization);
        let is_in_range = shape
            .iter()
            .all(|point| (0..=100).contains(&point.utilization) && (0..=10).contains(&point.score));
        let rules = [
            (
                self.scheduler_names.is_empty(),
                "schedulerNames",
                "must name at least one scheduler",
            ),
            (
                self.scheduler_names.iter().any(String::is_empty),
                "schedulerNames",
                "must not contain an empty name",
            ),
            (
                self.pod_initial_backoff_seconds == 0,
                "podInitialBackoffSeconds",
                "must be greater than 0",
            ),
            (
                self.pod_max_backoff_seconds < self.pod_initial_backoff_seconds,
                "podMaxBackoffSeconds",
                "must not be less than podInitialBackoffSeconds",
            ),
            (
                self.max_bindings_in_flight == 0,
                "maxBindingsInFlight",
                "must be greater than 0",
            ),
            (
                !weights_within(&strategy.resources, 100),
                "nodeResourcesFit.scoringStrategy.resources.weight",
                "must be from 1 to 100",
            ),
            (
                wants_shape && shape.is_empty(),
                "nodeResourcesFit.scoringStrategy.requestedToCapacityRatio.shape",
                "must have at least one point",
            ),
            (
                !is_rising || !is_in_range,
                "nodeResourcesFit.scoringStrategy.requestedToCapacityRatio.shape",
                "must have strictly rising utilization from 0 to 100 and scores from 0 to 10",
            ),
            (
                !weights_within(balanced, 1),
                "nodeResourcesBalancedAllocation.resources.weight",
                "must be 1",
            ),
            (
                has_duplicate,
                "nodeResourcesBalancedAllocation.resources.name",
                "must not occur twice",
            ),
        ];
        match rules.into_iter().find(|(is_broken, ..)| *is_broken) {
            Some((_, field, rule)) => Err(Error::Setting { field, rule }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn sch_168_the_defaults_are_valid() {
        assert!(Config::default().profile().is_ok());
        assert_eq!(serde_json::from_str::<Config>("{}").unwrap(), Config::default());
        assert!(
            serde_json::from_str::<Config>(r#"{"schedulerName": "x"}"#).is_err(),
            "unknown fields are refused"
        );
    }

    #[rstest]
    #[case::names(r#"{"schedulerNames": []}"#, "schedulerNames")]
    #[case::initial(r#"{"podInitialBackoffSeconds": 0}"#, "podInitialBackoffSeconds")]
    #[case::maximum(r#"{"podInitialBackoffSeconds": 20}"#, "podMaxBackoffSeconds")]
    #[case::bindings(r#"{"maxBindingsInFlight": 0}"#, "maxBindingsInFlight")]
    #[case::weight(
        r#"{"nodeResourcesFit": {"scoringStrategy": {"resources": [{"name": "cpu", "weight": 101}]}}}"#,
        "nodeResourcesFit.scoringStrategy.resources.weight"
    )]
    #[case::shape(
        r#"{"nodeResourcesFit": {"scoringStrategy": {"type": "RequestedToCapacityRatio"}}}"#,
        "nodeResourcesFit.scoringStrategy.requestedToCapacityRatio.shape"
    )]
    #[case::twice(
        r#"{"nodeResourcesBalancedAllocation": {"resources": [{"name": "cpu"}, {"name": "cpu"}]}}"#,
        "nodeResourcesBalancedAllocation.resources.name"
    )]
    fn sch_168_a_bad_value_names_its_field(#[case] text: &str, #[case] field: &str) {
        let config: Config = serde_json::from_str(text).unwrap();
        let error = config.profile().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{field}: ")), "{error}");
    }
}
