//! How many pods a rolling update may add and may miss (DEP-31 to DEP-36).

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use steersman_shared::objects::Deployment;

use super::{Strategy, desired_replicas, strategy};

/// A `maxSurge` or `maxUnavailable` that is neither a number nor a percentage (DEP-36).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value:?} is neither a number nor a percentage")]
pub struct BadFencepost {
    /// `maxSurge` or `maxUnavailable`.
    pub field: &'static str,
    /// As written in the object.
    pub value: String,
}

/// `maxSurge` and `maxUnavailable` in pods, as resolved against a number of replicas; not capped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fenceposts {
    /// Pods that may exist above the desired number.
    pub surge: i64,
    /// Pods that may be missing.
    pub unavailable: i64,
}

#[derive(Clone, Copy)]
enum Rounding {
    Up,
    Down,
}

/// Resolves both values against `replicas` (DEP-31, DEP-32).
///
/// # Errors
/// One of them is a string without a percentage.
pub fn resolve(
    surge: Option<&IntOrString>,
    unavailable: Option<&IntOrString>,
    replicas: i32,
) -> Result<Fenceposts, BadFencepost> {
    let surge = scaled("maxSurge", surge, replicas, Rounding::Up)?;
    let unavailable = scaled("maxUnavailable", unavailable, replicas, Rounding::Down)?;
    // With neither, no pod could ever be replaced.
    let unavailable = if surge == 0 && unavailable == 0 {
        1
    } else {
        unavailable
    };
    Ok(Fenceposts { surge, unavailable })
}

fn scaled(
    field: &'static str,
    value: Option<&IntOrString>,
    replicas: i32,
    rounding: Rounding,
) -> Result<i64, BadFencepost> {
    match value {
        None => Ok(0),
        Some(IntOrString::Int(number)) => Ok(i64::from(*number)),
        Some(IntOrString::String(text)) => {
            let percent = text
                .strip_suffix('%')
                .and_then(|digits| digits.parse::<i32>().ok())
                .ok_or_else(|| BadFencepost {
                    field,
                    value: text.clone(),
                })?;
            let hundredths = i64::from(percent) * i64::from(replicas);
            Ok(match rounding {
                Rounding::Up => -(-hundredths).div_euclid(100),
                Rounding::Down => hundredths.div_euclid(100),
            })
        }
    }
}

fn of(deployment: &Deployment) -> Result<Fenceposts, BadFencepost> {
    let limits = deployment.spec.strategy.rolling_update.as_ref();
    resolve(
        limits.and_then(|limits| limits.max_surge.as_ref()),
        limits.and_then(|limits| limits.max_unavailable.as_ref()),
        desired_replicas(deployment),
    )
}

/// The surge that a growing rolling update must know exactly.
///
/// # Errors
/// `maxSurge` does not parse (DEP-36).
pub fn strict_surge(deployment: &Deployment) -> Result<i64, BadFencepost> {
    let limits = deployment.spec.strategy.rolling_update.as_ref();
    let surge = limits.and_then(|limits| limits.max_surge.as_ref());
    scaled("maxSurge", surge, desired_replicas(deployment), Rounding::Up)
}

/// Pods that may exist above the desired number; 0 for Recreate and for values that do not parse (DEP-33, DEP-36).
#[must_use]
pub fn surge(deployment: &Deployment) -> i64 {
    if strategy(deployment) == Strategy::RollingUpdate {
        of(deployment).map_or(0, |it| it.surge)
    } else {
        0
    }
}

/// Pods that may be missing, at most all (DEP-33, DEP-34, DEP-36).
#[must_use]
pub fn unavailable(deployment: &Deployment) -> i64 {
    let replicas = i64::from(desired_replicas(deployment));
    if strategy(deployment) == Strategy::RollingUpdate && replicas > 0 {
        of(deployment).map_or(0, |it| it.unavailable).min(replicas)
    } else {
        0
    }
}

/// Pods that a rolling update keeps available; 0 for Recreate (DEP-35).
#[must_use]
pub fn min_available(deployment: &Deployment) -> i64 {
    if strategy(deployment) == Strategy::RollingUpdate {
        i64::from(desired_replicas(deployment)) - unavailable(deployment)
    } else {
        0
    }
}
