//! Embedded Kubernetes API server with simulated nodes: for a first look, for tests, and for simulation. Not a
//! production API server. Spec: API-1 to API-684.
//!
//! ```text
//! HTTP(S) ─► serve ─┐
//!                   ├─► service ─► verbs ─► decode, defaults, admission, validation ─► store ─► watches
//! kube::Client ─────┘     │                 (tables: registry)                          │
//!                         └─► discovery, openapi                                        └─► persist
//! ```
//!
//! Built-in kinds are rows of [`registry`]; custom resources add rows at run time. Unless [`Config::rbac`] is
//! set, every caller is a cluster administrator (API-17). Webhooks and admission policies are stored and not run.

mod admission;
mod apply;
pub mod auth;
mod bootstrap;
pub mod clock;
mod crd;
pub mod defaults;
mod discovery;
mod event;
pub mod faults;
pub mod housekeeping;
mod json;
mod kubeconfig;
pub mod load;
pub mod names;
mod negotiation;
pub mod nodes;
mod openapi;
pub mod patch;
mod persist;
mod prepare;
mod protobuf;
mod quota;
pub mod registry;
mod render;
mod request;
mod schema;
pub mod selector;
mod serve;
mod server;
pub mod service;
mod services;
pub mod status;
pub mod store;
pub mod table;
pub mod tls;
pub mod validate;
mod verbs;

pub use server::{Config, Error, Result, Server};
