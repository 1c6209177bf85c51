//! Recorded decisions of kube-controller-manager 1.36 against this crate.

#[cfg(test)]
mod cases;
#[cfg(test)]
mod takeover;
