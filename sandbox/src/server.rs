//! The server: its state, its configuration, and what owns it.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{self, Caller, token::Signer},
    bootstrap,
    clock::{Clock, WallClock},
    crd, openapi,
    persist::{Disk, Opened},
    registry::Registry,
    service::ApiService,
    services::Addresses,
    store::{Change, Draft, Key, Revision, Store, TableName},
};

/// How long an event is kept (kube-apiserver 1.36, API-682).
const EVENT_LIFE: SignedDuration = SignedDuration::from_hours(1);
/// Time between two looks for events that have expired.
const EXPIRY_PERIOD: std::time::Duration = std::time::Duration::from_mins(1);

/// How a server behaves.
#[derive(Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches that are independent of each other"
)]
pub struct Config {
    /// Whether objects of built-in kinds are decoded and validated. Off, objects are stored as sent, unknown fields
    /// included, after defaulting. Default: on.
    pub validation: bool,
    /// Seed of everything random: uids, name suffixes, cluster IPs. Default: drawn anew by each server.
    pub seed: Option<u64>,
    /// Source of timestamps. Default: the wall clock.
    pub clock: Arc<dyn Clock>,
    /// Range of cluster IPs: network address and prefix length. Default: 10.0.0.0/16 (API-480).
    pub service_range: (Ipv4Addr, u8),
    /// Changes kept per resource for watches and paged lists. Default: 10,000.
    pub history: usize,
    /// Whether roles and bindings decide who may do what (API-680). Default: off, everybody may do everything.
    pub rbac: bool,
    /// A bearer token that makes its bearer the administrator. Default: none.
    pub admin_token: Option<String>,
    /// Whether pods get the volume, the secrets and the checks of their service account (API-501), which needs the
    /// account `default` in every namespace. Default: off.
    pub service_account_admission: bool,
    /// Whether the server records who owns which fields (API-292). Off, writes cost less, no `managedFields` are stored,
    /// and server-side apply is refused. Default: on.
    pub managed_fields: bool,
    /// Directory that holds the state: it is loaded at start, and no write is answered before it is there. Default:
    /// none, all is in memory.
    pub data: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            validation: true,
            seed: None,
            clock: Arc::new(WallClock),
            service_range: (Ipv4Addr::new(10, 0, 0, 0), 16),
            history: 10_000,
            rbac: false,
            admin_token: None,
            service_account_admission: false,
            managed_fields: true,
            data: None,
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("validation", &self.validation)
            .field("seed", &self.seed)
            .field("service_range", &self.service_range)
            .field("history", &self.history)
            .field("rbac", &self.rbac)
            .field("service_account_admission", &self.service_account_admission)
            .field("managed_fields", &self.managed_fields)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

/// What can go wrong outside of requests.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file of the data directory could not be opened or made.
    #[error("open the data file {path}")]
    DataOpen {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process has the data directory.
    #[error("{path} is in use by another process: end that one, or choose another data directory")]
    DataInUse {
        /// The file.
        path: PathBuf,
    },
    /// The file in the data directory is something else.
    #[error("{path} is not a data file of the sandbox: choose another data directory, or move the file away")]
    DataForeign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by another version.
    #[error(
        "{path} has format {found}, this version reads format {known}: start the version that wrote it, or move \
         the file away to begin with an empty cluster"
    )]
    DataFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The format of this version.
        known: u64,
    },
    /// The file does not hold what was written to it.
    #[error("{path} is damaged: put a copy in its place, or move it away to begin with an empty cluster")]
    DataDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: redb::Error,
    },
    /// The snapshot of an earlier version could not be taken over.
    #[error("take over the old snapshot {path}: repair it, or move it away to begin with an empty cluster")]
    DataImport {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A write did not reach the disk. Later ones are refused.
    #[error(
        "write {path}: all that was acknowledged is in it; make room on the disk or repair it, and start again"
    )]
    DataWrite {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<redb::Error>,
    },
    /// The service range is not a usable IPv4 network.
    #[error("service range {address}/{prefix} must be an IPv4 network with a prefix of 8 to 28")]
    ServiceRange {
        /// Network address as configured.
        address: Ipv4Addr,
        /// Prefix length as configured.
        prefix: u8,
    },
    /// An object that every cluster has could not be made.
    #[error("create {object} at start: {message}")]
    Bootstrap {
        /// Kind and name.
        object: String,
        /// What the server answered itself.
        message: String,
    },
    /// A certificate could not be generated.
    #[error("generate certificates")]
    Certificate(#[source] rcgen::Error),
    /// The key that signs tokens cannot be used.
    #[error("sign tokens")]
    TokenKey(#[source] jsonwebtoken::errors::Error),
    /// Generated certificates do not make a TLS configuration.
    #[error("configure TLS")]
    Tls(#[source] rustls::Error),
    /// The kubeconfig could not be written as YAML.
    #[error("write kubeconfig")]
    Kubeconfig(#[source] serde_saphyr::SerializeError),
    /// The listener failed.
    #[error("accept connections")]
    Accept(#[source] std::io::Error),
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that requests work on.
pub(crate) struct Core {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) config: Config,
    pub(crate) addresses: Mutex<Addresses>,
    /// Held while a write is charged to quotas.
    pub(crate) quota: Mutex<()>,
    /// Roles and bindings, parsed.
    pub(crate) rbac: auth::rbac::Cache,
    /// OpenAPI documents that have been asked for.
    pub(crate) openapi: openapi::Cache,
    /// Signs the tokens of service accounts.
    pub(crate) signer: Arc<Signer>,
    /// Ends the watches that are open now.
    watches: Mutex<CancellationToken>,
    random: Mutex<fastrand::Rng>,
    disk: Option<Disk>,
    /// The data directory held a cluster.
    is_restored: bool,
}

impl Core {
    /// Waits until everything that is stored now is on disk; without a data directory it returns at once.
    pub(crate) async fn flushed(&self) -> Result<()> {
        match &self.disk {
            Some(disk) => disk.wait_for(self.store.revision()).await,
            None => Ok(()),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.config.clock.now()
    }

    /// The present moment as objects show it: RFC 3339 in whole seconds (API-75).
    pub(crate) fn timestamp(&self) -> String {
        timestamp(self.now())
    }

    /// What ends a watch that is opened now.
    pub(crate) fn end_of_watches(&self) -> CancellationToken {
        self.watches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Runs `draw` with the server's random generator.
    pub(crate) fn random<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A random UUID of version 4.
    pub(crate) fn uid(&self) -> String {
        let bits = self.random(|random| random.u128(..));
        let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{bits:032x}");
        let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default().to_owned();
        [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
    }

    /// A name from `generateName` (API-68).
    pub(crate) fn generated_name(&self, base: &str) -> String {
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let mut end = base.len().min(58);
        while !base.is_char_boundary(end) {
            end -= 1;
        }
        let mut name = base.get(..end).unwrap_or_default().to_owned();
        self.random(|random| {
            name.extend((0..5).filter_map(|_| random.choice(ALPHABET).map(|&letter| char::from(letter))));
        });
        name
    }
}

/// RFC 3339 in whole seconds.
pub(crate) fn timestamp(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

/// An API server in this process. Cheap to clone; all clones are the same server.
#[derive(Clone)]
pub struct Server {
    pub(crate) core: Arc<Core>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("config", &self.core.config)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Starts a server: loads what the data directory holds, and creates what every cluster has. No task runs until a
    /// client asks for something; with a data directory, one thread writes to it.
    ///
    /// # Errors
    /// When the configuration or the data directory is not usable.
    pub fn start(config: Config) -> Result<Self> {
        let data = config.data.as_deref().map(Opened::open).transpose()?;
        let start = data.as_ref().map_or(Revision(0), |data| data.start);
        let store = Store::new(start, config.history);
        let disk = match data {
            Some(data) => {
                data.restore(&store)?;
                Some(data.attach(&store)?)
            }
            None => None,
        };
        let is_restored = store.object_count() > 0;
        let random = config
            .seed
            .map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let core = Core {
            store,
            registry: Registry::default(),
            addresses: Mutex::new(Addresses::new(config.service_range)?),
            quota: Mutex::new(()),
            rbac: auth::rbac::Cache::default(),
            openapi: openapi::Cache::default(),
            signer: Arc::new(Signer::open(config.data.as_deref())?),
            watches: Mutex::new(CancellationToken::new()),
            random: Mutex::new(random),
            disk,
            is_restored,
            config,
        };
        crd::serve_all(&core);
        core.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .adopt_stored(&core.store);
        let server = Self { core: Arc::new(core) };
        bootstrap::create_missing(&server.core)?;
        Ok(server)
    }

    /// The server as a tower service, without a network.
    #[must_use]
    pub fn service(&self) -> ApiService {
        self.service_for(Caller::InProcess, CancellationToken::new())
    }

    /// The service for one caller, whose watches end with `stop`.
    pub(crate) fn service_for(&self, caller: Caller, stop: CancellationToken) -> ApiService {
        ApiService::new(Arc::clone(&self.core), caller, stop)
    }

    /// What signs the tokens of this server, for the controller that fills token secrets.
    #[must_use]
    pub fn token_signer(&self) -> Arc<Signer> {
        Arc::clone(&self.core.signer)
    }

    /// A client that calls the server in this process, without TCP. Must be called within a tokio runtime.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.service(), "default")
    }

    /// Forgets the history: older watches and continue tokens get 410 from now on (API-197, API-240).
    pub fn compact(&self) {
        self.core.store.compact();
    }

    /// The revision of the newest write.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.core.store.revision()
    }

    /// Writes after `revision`, of all resources (by name, such as `deployments.apps`), in the order in which they were
    /// made: what a test or an audit needs to see each of them.
    #[must_use]
    pub fn changes_after(&self, revision: Revision) -> Vec<(TableName, Change)> {
        self.core.store.changes_after(revision)
    }

    /// Number of stored objects of all kinds.
    #[must_use]
    pub fn object_count(&self) -> usize {
        self.core.store.object_count()
    }

    /// Removes events an hour after they were last written (API-682), until `stop`. Looks once a minute.
    pub async fn expire_events(&self, stop: CancellationToken) {
        let table: TableName = "events".into();
        // When a version was first seen; after a restart an event gets another hour at most.
        let mut seen: BTreeMap<Key, (Revision, Timestamp)> = BTreeMap::new();
        loop {
            // Both branches are cancel-safe.
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EXPIRY_PERIOD) => {}
            }
            let now = self.core.now();
            let mut present = BTreeMap::new();
            for object in self.core.store.list(&table, None, None).objects {
                let known = seen
                    .get(&object.key)
                    .filter(|(revision, _)| *revision == object.revision);
                let since = known.map_or(now, |(_, since)| *since);
                if now.duration_since(since) < EVENT_LIFE {
                    present.insert(object.key.clone(), (object.revision, since));
                    continue;
                }
                // Written at this moment: the next look decides.
                let _ = self.core.store.remove(
                    &table,
                    &object.key,
                    object.revision,
                    &Draft::new(&object.parse()),
                );
            }
            seen = present;
        }
    }

    /// Ends all watches that are open now, as a restart of the server would: clients open new ones.
    pub fn end_watches(&self) {
        let mut watches = self.core.watches.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *watches).cancel();
    }

    /// Whether the data directory held a cluster when the server was started.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        self.core.is_restored
    }

    /// Waits until everything that was stored before the call is on disk; without a data directory it returns at once.
    ///
    /// # Errors
    /// [`Error::DataWrite`].
    pub async fn flushed(&self) -> Result<()> {
        self.core.flushed().await
    }

    /// Watches over the data directory until `stop` is cancelled, and returns when all is on disk. Without a data
    /// directory there is nothing to watch over.
    ///
    /// # Errors
    /// [`Error::DataWrite`], as soon as a write does not reach the disk: the server refuses all further ones.
    pub async fn keep_data(&self, stop: CancellationToken) -> Result<()> {
        let Some(disk) = &self.core.disk else {
            stop.cancelled().await;
            return Ok(());
        };
        // Both branches only wait: nothing is lost when the other one wins.
        tokio::select! {
            biased;
            () = stop.cancelled() => self.flushed().await,
            failure = disk.failure() => Err(failure),
        }
    }
}
