//! Readiness as a set of guards: ready when the last one drops (STY-78).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Who still holds readiness back. Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    held: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Readiness {
    /// Holds readiness back until the guard drops. The name shows in `/readyz`.
    pub fn guard(&self, name: impl Into<String>) -> Guard {
        let name = name.into();
        *self
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(name.clone())
            .or_default() += 1;
        Guard {
            readiness: self.clone(),
            name,
        }
    }

    /// Whether nothing holds readiness back.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// What holds readiness back, sorted by name.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .cloned()
            .collect()
    }
}

/// Holds readiness back while it lives.
#[derive(Debug)]
#[must_use = "readiness is held back only while the guard lives"]
pub struct Guard {
    readiness: Readiness,
    name: String,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut held = self.readiness.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.name) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                held.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sty_78_ready_when_the_last_guard_drops() {
        let readiness = Readiness::default();
        let (pods, twice, nodes) = (
            readiness.guard("pods"),
            readiness.guard("pods"),
            readiness.guard("nodes"),
        );
        drop(pods);
        assert_eq!(readiness.missing(), ["nodes", "pods"]);
        drop((twice, nodes));
        assert!(readiness.is_ready());
        let again = readiness.guard("pods");
        assert!(!readiness.is_ready());
        drop(again);
    }
}
