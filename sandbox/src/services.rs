//! Cluster IPs and node ports of Services (API-480 to API-486).

use std::{net::Ipv4Addr, sync::PoisonError};

use rustc_hash::FxHashMap;
use serde_json::{Value, json};

use crate::{
    json,
    registry::Kind,
    server::{Core, Error, Result},
    status::Failure,
    store::{Key, Store},
    validate::{FieldError, FieldErrorKind},
    verbs::field_error,
};

const FIRST_PORT: u16 = 30_000;
const LAST_PORT: u16 = 32_767;
const LARGEST_HAND_BAND: u32 = 256;
const SMALLEST_HAND_BAND: u32 = 16;

type PortKey = (u16, String);

/// Which addresses and ports are taken, and by which Service.
#[derive(Debug)]
pub(crate) struct Addresses {
    network: u32,
    size: u32,
    taken: FxHashMap<Ipv4Addr, Key>,
    ports: FxHashMap<PortKey, Key>,
}

/// What a Service holds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Claims {
    addresses: Vec<Ipv4Addr>,
    ports: Vec<PortKey>,
}

impl Claims {
    fn of(service: &Value) -> Self {
        let mut claims = Self::default();
        if let Ok(address) = json::text(service, &["spec", "clusterIP"]).parse() {
            claims.addresses.push(address);
        }
        for port in json::list(service, &["spec", "ports"]) {
            if let Some(number) = node_port(port) {
                let key = (number, json::text(port, &["protocol"]).to_owned());
                if !claims.ports.contains(&key) {
                    claims.ports.push(key);
                }
            }
        }
        let health = json::at(service, &["spec", "healthCheckNodePort"]).and_then(Value::as_u64);
        if let Some(number) = health
            .and_then(|number| u16::try_from(number).ok())
            .filter(|number| *number > 0)
        {
            claims.ports.push((number, "TCP".to_owned()));
        }
        claims
    }

    fn without(&self, other: &Self) -> Self {
        Self {
            addresses: self
                .addresses
                .iter()
                .filter(|item| !other.addresses.contains(item))
                .copied()
                .collect(),
            ports: self
                .ports
                .iter()
                .filter(|item| !other.ports.contains(item))
                .cloned()
                .collect(),
        }
    }
}

fn node_port(port: &Value) -> Option<u16> {
    let number = json::at(port, &["nodePort"]).and_then(Value::as_u64)?;
    u16::try_from(number).ok().filter(|number| *number > 0)
}

impl Addresses {
    pub(crate) fn new((address, prefix): (Ipv4Addr, u8)) -> Result<Self> {
        if !(8..=28).contains(&prefix) {
            return Err(Error::ServiceRange { address, prefix });
        }
        let size = 1u32 << (32 - u32::from(prefix));
        let network = address.to_bits() & !(size - 1);
        Ok(Self {
            network,
            size,
            taken: FxHashMap::default(),
            ports: FxHashMap::default(),
        })
    }

    /// Takes note of what restored Services hold.
    pub(crate) fn adopt_stored(&mut self, store: &Store) {
        for object in store.list(&"services".into(), None, None).objects {
            self.hold(&object.key, &Claims::of(&object.parse()));
        }
    }

    fn hold(&mut self, key: &Key, claims: &Claims) {
        for address in &claims.addresses {
            self.taken.insert(*address, key.clone());
        }
        for port in &claims.ports {
            self.ports.insert(port.clone(), key.clone());
        }
    }

    fn free(&mut self, claims: &Claims) {
        for address in &claims.addresses {
            self.taken.remove(address);
        }
        for port in &claims.ports {
            self.ports.remove(port);
        }
    }

    /// First address of the range: that of Service `default/kubernetes` (API-178).
    pub(crate) fn first(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.saturating_add(1))
    }

    fn contains(&self, address: Ipv4Addr) -> bool {
        let bits = address.to_bits();
        bits > self.network && bits < self.network + (self.size - 1)
    }

    /// A free address: at random above the band for requests by hand, then whatever is left.
    fn draw(&self, random: &mut fastrand::Rng) -> Option<Ipv4Addr> {
        let band = (self.size / 16).clamp(SMALLEST_HAND_BAND, LARGEST_HAND_BAND);
        let usable = self.size - 1;
        let free = |offset: u32| {
            let address = Ipv4Addr::from_bits(self.network + offset);
            (!self.taken.contains_key(&address)).then_some(address)
        };
        let upper = band.min(usable - 1)..usable;
        let start = random.u32(upper.clone());
        (start..upper.end)
            .chain(upper.start..start)
            .chain(1..upper.start)
            .find_map(free)
    }

    fn draw_port(&self, random: &mut fastrand::Rng) -> Option<u16> {
        let start = random.u16(FIRST_PORT..=LAST_PORT);
        let protocols = ["TCP", "UDP", "SCTP"];
        (start..=LAST_PORT).chain(FIRST_PORT..start).find(|number| {
            protocols
                .iter()
                .all(|protocol| !self.ports.contains_key(&(*number, (*protocol).to_owned())))
        })
    }
}

/// Addresses and ports that are held for a write. Dropped without [`Reservation::keep`], they are free again.
pub(crate) struct Reservation<'a> {
    core: &'a Core,
    added: Claims,
    dropped: Claims,
}

impl Reservation<'_> {
    /// The write has been stored: what it holds stays held, what it no longer holds is free.
    pub(crate) fn keep(mut self) {
        self.added = std::mem::take(&mut self.dropped);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.added != Claims::default() {
            lock(self.core).free(&self.added);
        }
    }
}

fn lock(core: &Core) -> std::sync::MutexGuard<'_, Addresses> {
    core.addresses.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes what a Service of another cluster holds, wherever it lies.
pub(crate) fn adopt(core: &Core, kind: &Kind, key: &Key, service: &Value) {
    if kind.is_core("Service") {
        lock(core).hold(key, &Claims::of(service));
    }
}

/// Frees what a removed Service held.
pub(crate) fn release(core: &Core, kind: &Kind, service: &Value) {
    if kind.is_core("Service") {
        lock(core).free(&Claims::of(service));
    }
}

/// Fills and reserves the addresses and ports of a Service; does nothing for other kinds.
pub(crate) fn reserve<'a>(
    core: &'a Core,
    kind: &Kind,
    key: &Key,
    service: &mut Value,
    old: Option<&Value>,
) -> Result<Reservation<'a>, Failure> {
    let mut reservation = Reservation {
        core,
        added: Claims::default(),
        dropped: Claims::default(),
    };
    if !kind.is_core("Service") || !service.get("spec").is_some_and(Value::is_object) {
        return Ok(reservation);
    }
    let before = old.map(Claims::of).unwrap_or_default();
    if let Some(old) = old {
        drop_unused(service, old);
        keep_allocated(service, old);
    }
    let mut errors = Vec::new();
    fill_families(service, &mut errors);
    let mut addresses = lock(core);
    address(
        core,
        &mut addresses,
        key,
        service,
        &before,
        &mut reservation.added,
        &mut errors,
    );
    ports(
        core,
        &mut addresses,
        key,
        service,
        &before,
        &mut reservation.added,
        &mut errors,
    );
    drop(addresses);
    if !errors.is_empty() {
        return Err(Failure::invalid(&kind.gk, &key.name, &errors));
    }
    reservation.dropped = before.without(&Claims::of(service));
    Ok(reservation)
}

fn service_type(service: &Value) -> &str {
    match json::text(service, &["spec", "type"]) {
        "" => "ClusterIP",
        other => other,
    }
}

fn needs_address(service: &Value) -> bool {
    service_type(service) != "ExternalName"
}

fn needs_ports(service: &Value) -> bool {
    match service_type(service) {
        "NodePort" => true,
        "LoadBalancer" => json::at(service, &["spec", "allocateLoadBalancerNodePorts"])
            .and_then(Value::as_bool)
            .unwrap_or(true),
        _ => false,
    }
}

fn needs_health_port(service: &Value) -> bool {
    service_type(service) == "LoadBalancer"
        && json::text(service, &["spec", "externalTrafficPolicy"]) == "Local"
}

/// API-485: what the new type has no use for goes, if the client only left it as it was.
fn drop_unused(service: &mut Value, old: &Value) {
    if needs_address(old) && !needs_address(service) {
        for member in [
            "clusterIP",
            "clusterIPs",
            "ipFamilies",
            "ipFamilyPolicy",
            "internalTrafficPolicy",
        ] {
            json::remove(service, &["spec"], member);
        }
    }
    if matches!(service_type(service), "ClusterIP" | "ExternalName")
        && service_type(old) != service_type(service)
    {
        json::remove(service, &["spec"], "externalTrafficPolicy");
        json::remove(service, &["spec"], "healthCheckNodePort");
        json::remove(service, &["spec"], "allocateLoadBalancerNodePorts");
        let held = Claims::of(old).ports;
        if let Some(ports) = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut) {
            for port in ports {
                if node_port(port).is_some_and(|number| held.iter().any(|(other, _)| *other == number)) {
                    json::remove(port, &[], "nodePort");
                }
            }
        }
    }
}

/// API-484: a client that does not know what was allocated does not lose it.
fn keep_allocated(service: &mut Value, old: &Value) {
    if needs_address(service) && needs_address(old) && json::text(service, &["spec", "clusterIP"]).is_empty()
    {
        json::copy_member(old, service, &["spec"], "clusterIP");
        if json::list(service, &["spec", "clusterIPs"]).is_empty() {
            json::copy_member(old, service, &["spec"], "clusterIPs");
        }
    }
    // A client that changes the address and does not know of the list means both.
    let differs = |member: &str| json::at(service, &["spec", member]) != json::at(old, &["spec", member]);
    if needs_address(service) && differs("clusterIP") && !differs("clusterIPs") {
        json::remove(service, &["spec"], "clusterIPs");
    }
    if needs_health_port(service) && needs_health_port(old) {
        json::copy_member(old, service, &["spec"], "healthCheckNodePort");
    }
    if !needs_ports(service) {
        return;
    }
    let held: Vec<Value> = json::list(old, &["spec", "ports"]).to_vec();
    let Some(ports) = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut) else {
        return;
    };
    for port in ports.iter_mut().filter(|port| node_port(port).is_none()) {
        let same = |other: &&Value| {
            json::at(other, &["port"]) == json::at(port, &["port"])
                && json::text(other, &["protocol"]) == json::text(port, &["protocol"])
        };
        if let Some(other) = held.iter().find(same).and_then(node_port) {
            json::set(port, &[], "nodePort", other);
        }
    }
}

/// API-336, API-486: this server has one family.
fn fill_families(service: &mut Value, errors: &mut Vec<FieldError>) {
    if !needs_address(service) {
        return;
    }
    if json::text(service, &["spec", "ipFamilyPolicy"]) == "RequireDualStack" {
        let detail = "\"RequireDualStack\": this cluster is not configured for dual-stack services";
        errors.push(field_error(
            FieldErrorKind::Invalid,
            "spec.ipFamilyPolicy",
            detail,
        ));
    }
    if json::list(service, &["spec", "ipFamilies"])
        .iter()
        .any(|family| family == "IPv6")
    {
        let detail = "\"IPv6\": not configured on this cluster";
        errors.push(field_error(FieldErrorKind::Invalid, "spec.ipFamilies[0]", detail));
    }
    if json::at(service, &["spec", "ipFamilyPolicy"]).is_none() {
        json::set(service, &["spec"], "ipFamilyPolicy", "SingleStack");
    }
    if json::list(service, &["spec", "ipFamilies"]).is_empty() {
        json::set(service, &["spec"], "ipFamilies", json!(["IPv4"]));
    }
}

fn address(
    core: &Core,
    addresses: &mut Addresses,
    key: &Key,
    service: &mut Value,
    before: &Claims,
    added: &mut Claims,
    errors: &mut Vec<FieldError>,
) {
    if !needs_address(service) {
        return;
    }
    let asked = json::text(service, &["spec", "clusterIP"]).to_owned();
    let has_list = !json::list(service, &["spec", "clusterIPs"]).is_empty();
    if asked.is_empty() && has_list {
        // Reported by validation, like a list that does not begin with the address.
        return;
    }
    let chosen = if asked.is_empty() {
        let Some(address) = core.random(|random| addresses.draw(random)) else {
            let detail = "[]: failed to allocate a serviceIP: range is full";
            errors.push(field_error(FieldErrorKind::Invalid, "spec.clusterIPs", detail));
            return;
        };
        address.to_string()
    } else {
        asked
    };
    // What is neither an address nor `None` is reported by validation.
    let wanted = chosen
        .parse::<Ipv4Addr>()
        .ok()
        .filter(|address| !before.addresses.contains(address));
    if let Some(address) = wanted {
        let refused = if !addresses.contains(address) {
            Some("the provided network does not match the current range")
        } else if addresses.taken.contains_key(&address) {
            Some("provided IP is already allocated")
        } else {
            None
        };
        if let Some(why) = refused {
            let detail = format!("[{chosen:?}]: failed to allocate IP {chosen}: {why}");
            errors.push(field_error(FieldErrorKind::Invalid, "spec.clusterIPs", detail));
            return;
        }
        addresses.taken.insert(address, key.clone());
        added.addresses.push(address);
    }
    json::set(service, &["spec"], "clusterIP", chosen.as_str());
    if !has_list {
        json::set(service, &["spec"], "clusterIPs", json!([chosen]));
    }
}

fn ports(
    core: &Core,
    addresses: &mut Addresses,
    key: &Key,
    service: &mut Value,
    before: &Claims,
    added: &mut Claims,
    errors: &mut Vec<FieldError>,
) {
    let allocate = needs_ports(service);
    let may_hold = matches!(service_type(service), "NodePort" | "LoadBalancer");
    let list = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    // A number drawn for one protocol also serves the same port of another one.
    let mut drawn: Vec<(u64, u16)> = Vec::new();
    for (index, port) in list.into_iter().flatten().enumerate().filter(|_| may_hold) {
        let protocol = json::text(port, &["protocol"]).to_owned();
        let own = json::at(port, &["port"]).and_then(Value::as_u64).unwrap_or(0);
        let field = format!("spec.ports[{index}].nodePort");
        match node_port(port) {
            Some(number) => {
                let claim = (number, protocol);
                if before.ports.contains(&claim) || added.ports.contains(&claim) {
                    continue;
                }
                if !(FIRST_PORT..=LAST_PORT).contains(&number) {
                    let detail = format!(
                        "{number}: provided port is not in the valid range. The range of valid ports is \
                         {FIRST_PORT}-{LAST_PORT}"
                    );
                    errors.push(field_error(FieldErrorKind::Invalid, field, detail));
                } else if addresses.ports.contains_key(&claim) {
                    let detail = format!("{number}: provided port is already allocated");
                    errors.push(field_error(FieldErrorKind::Invalid, field, detail));
                } else {
                    addresses.ports.insert(claim.clone(), key.clone());
                    added.ports.push(claim);
                }
            }
            None if allocate => {
                let shared = drawn
                    .iter()
                    .find(|(other, _)| *other == own)
                    .map(|(_, number)| *number);
                let Some(number) = shared.or_else(|| core.random(|random| addresses.draw_port(random)))
                else {
                    errors.push(field_error(FieldErrorKind::Invalid, field, "0: range is full"));
                    continue;
                };
                drawn.push((own, number));
                addresses.ports.insert((number, protocol.clone()), key.clone());
                added.ports.push((number, protocol));
                json::set(port, &[], "nodePort", number);
            }
            None => {}
        }
    }
    if needs_health_port(service)
        && json::at(service, &["spec", "healthCheckNodePort"]).is_none()
        && let Some(number) = core.random(|random| addresses.draw_port(random))
    {
        let claim = (number, "TCP".to_owned());
        addresses.ports.insert(claim.clone(), key.clone());
        added.ports.push(claim);
        json::set(service, &["spec"], "healthCheckNodePort", number);
    }
}
