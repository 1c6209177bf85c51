//! The API as a client sees it, over the in-memory service.

#[cfg(test)]
mod admission;
#[cfg(test)]
mod client;
#[cfg(test)]
mod crd;
#[cfg(test)]
mod deletion;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod list;
#[cfg(test)]
mod negotiation;
#[cfg(test)]
mod objects;
#[cfg(test)]
mod persistence;
#[cfg(test)]
mod recordings;
#[cfg(test)]
mod serve;
#[cfg(test)]
mod services;
#[cfg(test)]
mod subresources;
#[cfg(test)]
mod support;
#[cfg(test)]
mod watch;
