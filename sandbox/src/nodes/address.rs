//! IPv4 networks and the addresses of pods.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use super::Error;

/// An IPv4 network, written `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: u32,
    prefix: u32,
}

impl Network {
    /// The network of `address` with this prefix length; bits outside of the prefix are cleared.
    ///
    /// # Errors
    /// The prefix length is above 32.
    pub fn new(address: Ipv4Addr, prefix: u32) -> Result<Self, Error> {
        if prefix > 32 {
            return Err(Error::Network {
                text: format!("{address}/{prefix}"),
            });
        }
        let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
        Ok(Self {
            base: address.to_bits() & mask,
            prefix,
        })
    }

    /// The network of `address` with a prefix length known to be valid.
    pub(crate) const fn constant(address: Ipv4Addr, prefix: u32) -> Self {
        Self {
            base: address.to_bits(),
            prefix,
        }
    }

    /// How many addresses it has.
    #[must_use]
    pub fn size(self) -> u64 {
        1u64 << (32 - self.prefix)
    }

    /// Its `index`-th address, the network address being number 0.
    #[must_use]
    pub fn address(self, index: u64) -> Option<Ipv4Addr> {
        if index >= self.size() {
            return None;
        }
        let offset = u32::try_from(index).ok()?;
        self.base.checked_add(offset).map(Ipv4Addr::from_bits)
    }

    /// Its `index`-th part of prefix length `prefix`.
    ///
    /// # Errors
    /// It has not so many parts.
    pub fn part(self, prefix: u32, index: u64) -> Result<Self, Error> {
        let too_small = || Error::TooFewAddresses { network: self, index };
        let shift = 32u32.checked_sub(prefix).ok_or_else(too_small)?;
        let first = index.checked_mul(1u64 << shift).ok_or_else(too_small)?;
        if prefix < self.prefix {
            return Err(too_small());
        }
        let base = self.address(first).ok_or_else(too_small)?;
        Self::new(base, prefix)
    }

    /// Number of `address` within the network.
    #[must_use]
    pub fn index_of(self, address: Ipv4Addr) -> Option<u64> {
        let offset = u64::from(address.to_bits().checked_sub(self.base)?);
        (offset < self.size()).then_some(offset)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.base), self.prefix)
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            Some((address.parse::<Ipv4Addr>().ok()?, prefix.parse::<u32>().ok()?))
        });
        let (address, prefix) = parsed.ok_or_else(|| Error::Network {
            text: text.to_owned(),
        })?;
        Self::new(address, prefix)
    }
}

/// Addresses of one node's pods. The network address, the first one (the bridge) and the last one are never given out.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    network: Network,
    taken: BTreeSet<u64>,
    /// Where the search starts: a freed address rests until the others were used, so that late packets for a stopped
    /// pod do not reach its successor.
    cursor: u64,
}

const FIRST_POD: u64 = 2;

impl Pool {
    pub(crate) fn new(network: Network) -> Self {
        Self {
            network,
            taken: BTreeSet::new(),
            cursor: FIRST_POD,
        }
    }

    pub(crate) fn network(&self) -> Network {
        self.network
    }

    fn end(&self) -> u64 {
        self.network.size().saturating_sub(1)
    }

    /// A free address, or `None` if all are taken.
    pub(crate) fn take(&mut self) -> Option<Ipv4Addr> {
        let start = self.cursor.clamp(FIRST_POD, self.end().max(FIRST_POD));
        let index = (start..self.end())
            .chain(FIRST_POD..start)
            .find(|index| !self.taken.contains(index))?;
        let address = self.network.address(index)?;
        self.taken.insert(index);
        self.cursor = index.saturating_add(1);
        Some(address)
    }

    /// Takes this very address; false if it is not free or not of this pool.
    pub(crate) fn claim(&mut self, address: Ipv4Addr) -> bool {
        match self.network.index_of(address) {
            Some(index) if index >= FIRST_POD && index < self.end() => self.taken.insert(index),
            _ => false,
        }
    }

    /// Gives an address back.
    pub(crate) fn free(&mut self, address: Ipv4Addr) {
        if let Some(index) = self.network.index_of(address) {
            self.taken.remove(&index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_152_networks_are_cut_into_parts() -> Result<(), Error> {
        let pods: Network = "10.128.0.0/9".parse()?;
        assert_eq!(pods.part(24, 0)?.to_string(), "10.128.0.0/24");
        assert_eq!(pods.part(24, 999)?.to_string(), "10.131.231.0/24");
        assert!(pods.part(24, 32_768).is_err());
        assert!(pods.part(8, 0).is_err());
        for bad in ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/x"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        Ok(())
    }

    #[test]
    fn api_152_pod_addresses_are_unique_and_reused_late() -> Result<(), Error> {
        let mut pool = Pool::new("10.0.0.0/29".parse()?);
        let all: Vec<_> = std::iter::from_fn(|| pool.take())
            .map(|address| address.to_string())
            .collect();
        assert_eq!(all, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
        pool.free(Ipv4Addr::new(10, 0, 0, 3));
        assert!(!pool.claim(Ipv4Addr::new(10, 0, 0, 4)));
        assert!(!pool.claim(Ipv4Addr::new(10, 0, 1, 4)));
        assert_eq!(pool.take(), Some(Ipv4Addr::new(10, 0, 0, 3)));
        assert_eq!(pool.take(), None);

        let mut pool = Pool::new("10.0.0.0/29".parse()?);
        let first = pool.take().unwrap();
        pool.free(first);
        assert_ne!(pool.take(), Some(first));
        Ok(())
    }
}
