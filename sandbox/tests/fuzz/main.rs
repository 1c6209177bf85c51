//! Fuzz targets (STY-67): requests of every sort against a server in this process, under `cargo test` for a second
//! each. `BOLERO_RANDOM_TEST_TIME_MS=60000` runs them for a minute, `cargo bolero test` with a coverage-guided engine.
//!
//! A corpus file below `__fuzz__/<target>/corpus` is a request as text: `METHOD path`, headers, an empty line, the
//! body. Inputs that are not text of this form choose corpus requests and how to change them. What a target has found
//! is a corpus file from then on.

#[cfg(test)]
mod choices;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod mutate;
#[cfg(test)]
mod request;
#[cfg(test)]
mod targets;
