//! The scheduler against the sandbox's API server, in one process and on paused time.

#[cfg(test)]
mod placing;
