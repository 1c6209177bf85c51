//! What upstream's end-to-end suites ask of Deployments and ReplicaSets (docs/specs/workloads.md, after DEP-110), and what
//! tools conclude from their status (DEP-97 to DEP-106): the real binary runs the controllers, on the sandbox with a
//! cluster per scenario, on a real API server with a namespace per scenario, all at once.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::cluster::Cluster;
use stage::Stage;

mod deployments;
mod history;
mod replica_sets;
mod stage;
mod tools;

/// Everything within this, on a machine of two cores that does other things too.
const DEADLINE: Duration = Duration::from_secs(150);

type Scenario = fn(Stage) -> Pin<Box<dyn Future<Output = ()>>>;

/// A test of each scenario on the sandbox, and one test of all on a real API server.
macro_rules! scenarios {
    ($($module:ident { $($name:ident)* })*) => {
        mod sandbox {
            $($(#[test] fn $name() {
                super::run(&super::sandbox(), &[(stringify!($name), |stage| Box::pin(super::$module::$name(stage)))]);
            })*)*
        }

        #[test]
        fn real_api_server() {
            let Some(cluster) = Cluster::real(5) else { return };
            let all: &[(&str, Scenario)] = &[
                $($((stringify!($name), |stage| Box::pin($module::$name(stage)))),*),*
            ];
            run(&cluster.with_controllers(), all);
        }
    };
}

scenarios! {
    deployments {
        dep_3_background_deletion_reaps_replica_sets_and_pods
        dep_3_foreground_deletion_waits_for_the_children
        dep_3_orphaned_replica_sets_and_pods_go_on
        dep_22_an_adopted_revision_is_continued_in_64_bits
        dep_25_the_life_of_a_deployment
        dep_41_scaling_in_the_middle_of_a_rollout_is_proportional
        dep_55_a_rollover_takes_from_both_former_replica_sets
        dep_58_recreate_never_mixes_old_and_new_pods
        dep_60_no_history_is_kept_and_no_pod_too_many_is_made
        dep_95_iterative_rollouts_come_to_an_end
        dep_108_an_orphan_is_adopted_without_a_new_replica_set
        dep_110_a_status_of_somebody_else_is_recomputed
    }
    replica_sets {
        rs_13_pods_are_adopted_and_released_by_label
        rs_33_each_replica_runs
        rs_33_a_replaced_and_a_patched_size_are_followed
        rs_62_exceeded_quota_is_a_condition_that_goes_away
        rs_65_conditions_of_others_stay_and_counts_are_recomputed
        dep_105_the_scale_of_a_replica_set_is_followed
        rs_24_a_collection_is_deleted
    }
    tools {
        dep_97_dep_102_dep_103_dep_104_no_tool_sees_a_rollout_done_too_early
        dep_97_a_missed_deadline_fails_the_tools_until_progress
        dep_98_to_dep_101_kubectl_rolls_out_undoes_pauses_and_restarts
        dep_105_autoscaler_and_disruption_budget_find_the_numbers
        dep_106_a_rolling_update_stays_within_its_limits
        ask_9_explain_names_pods_and_reasons
    }
}

fn sandbox() -> Cluster {
    Cluster::sandbox_with(5, &["--start-delay-ms", "150"]).with_controllers()
}

/// Runs the scenarios side by side and tells which ones failed.
fn run(cluster: &Cluster, scenarios: &[(&'static str, Scenario)]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let failed = tokio::task::LocalSet::new().block_on(&runtime, async {
        let client = stage::client(cluster).await;
        let running: Vec<_> = scenarios
            .iter()
            .map(|&(name, scenario)| {
                let (client, kubeconfig) = (client.clone(), cluster.kubeconfig.clone());
                let play = async move {
                    let stage = Stage::new(client, kubeconfig, name).await;
                    tokio::time::timeout(DEADLINE, scenario(stage))
                        .await
                        .expect("in time");
                };
                (name, tokio::task::spawn_local(play))
            })
            .collect();
        let mut failed = Vec::new();
        for (name, play) in running {
            if play.await.is_err() {
                failed.push(name);
            }
        }
        failed
    });
    assert!(failed.is_empty(), "failed: {failed:?}\n{}", cluster.output());
}
