//! `ImageLocality`: prefers nodes that have the pod's images, weighted by size and spread (SCH-101, SCH-102).

use super::{Cycle, NodeScore, Plugin, PluginName, PreScore};
use crate::plan::symbols::Symbol;
use crate::plan::table::{NodeRow, NodeTable};
use crate::plan::units::Score;

const MEBIBYTE: i64 = 1024 * 1024;
/// Images below this size in total make no difference (kube-scheduler 1.36).
const THRESHOLD: i64 = 23 * MEBIBYTE;
/// What one container can count for at most (kube-scheduler 1.36).
const MAXIMUM_PER_CONTAINER: i64 = 1000 * MEBIBYTE;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImageLocality;

struct Scores<'a> {
    table: &'a NodeTable,
    /// Images that some node has, with the bytes that they count for.
    images: Vec<(Symbol, i64)>,
    maximum: i64,
}

impl NodeScore for Scores<'_> {
    fn score(&self, row: NodeRow) -> Score {
        let present = self
            .images
            .iter()
            .filter(|(image, _)| self.table.has_image(row, *image));
        let sum = present.fold(0_i64, |sum, (_, bytes)| sum.saturating_add(*bytes));
        let sum = sum.min(self.maximum).max(THRESHOLD);
        let range = self.maximum - THRESHOLD;
        Score(if range > 0 {
            100 * (sum - THRESHOLD) / range
        } else {
            0
        })
    }
}

impl Plugin for ImageLocality {
    fn name(&self) -> PluginName {
        PluginName::ImageLocality
    }

    fn is_scoring(&self) -> bool {
        true
    }

    fn prescore<'a>(&'a self, cycle: Cycle<'a>) -> PreScore<'a> {
        let (table, pod) = (cycle.table, cycle.pod);
        let known = pod.images.iter().filter_map(|image| {
            let image = table.symbols().find(image)?;
            let state = table.image_state(image)?;
            Some((image, spread_size(state.size, state.nodes, table.len())))
        });
        let containers = i64::try_from(pod.containers).unwrap_or(i64::MAX);
        PreScore::Score(Box::new(Scores {
            table,
            images: known.collect(),
            maximum: MAXIMUM_PER_CONTAINER.saturating_mul(containers),
        }))
    }
}

/// The size of an image scaled by the share of nodes that have it: an image on one node only must not attract all
/// pods there.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the score is defined in 64-bit floats, truncated (SCH-101)"
)]
fn spread_size(size: i64, nodes_with_image: usize, nodes: usize) -> i64 {
    if nodes == 0 {
        return 0;
    }
    (size as f64 * (nodes_with_image as f64 / nodes as f64)) as i64
}
