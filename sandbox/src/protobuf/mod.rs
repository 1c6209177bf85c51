//! The protobuf form of built-in kinds, by the numbers in the table of types (API-3, API-5).
//!
//! Objects travel in an envelope: four bytes that tell it from other formats, then a message with the type and the
//! object. The events of a watch are messages of their own, each after its length.

mod decode;
mod encode;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

pub(crate) use decode::{Error, decode};
pub(crate) use encode::{encode, event, list};

/// Media type of objects.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// Media type of watches.
pub(crate) const WATCH_TYPE: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// What every envelope starts with.
const MAGIC: &[u8] = b"k8s\0";

/// Members of the envelope.
mod envelope {
    pub(super) const TYPE: u32 = 1;
    pub(super) const RAW: u32 = 2;
    pub(super) const CONTENT_ENCODING: u32 = 3;
    pub(super) const CONTENT_TYPE: u32 = 4;
    pub(super) const API_VERSION: u32 = 1;
    pub(super) const KIND: u32 = 2;
}
