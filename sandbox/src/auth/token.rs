//! Tokens of service accounts (API-473): signed with a key of the server, checked against what they are bound to.

use std::{collections::BTreeMap, io::Write as _, path::Path, sync::Arc};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PublicKeyData as _};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{User, service_account_groups, service_account_name, split_service_account};
use crate::{
    json,
    server::{Core, Error, Result},
    store::Key,
};

/// Issuer of tokens, and their audience unless the request names others.
pub const ISSUER: &str = "https://kubernetes.default.svc";
/// Issuer of tokens that live in secrets.
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
/// File in the data directory that holds the key.
const KEY_FILE: &str = "service-account.key";

/// The key that signs tokens.
pub struct Signer {
    encoding: EncodingKey,
    decoding: DecodingKey,
    key_id: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.key_id)
    }
}

/// An object that a token depends on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Reference {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) uid: String,
}

/// The claims under `kubernetes.io`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Bound {
    pub(crate) namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<Reference>,
    pub(crate) serviceaccount: Reference,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) warnafter: Option<i64>,
}

/// What a token says.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Claims {
    pub(crate) aud: Vec<String>,
    pub(crate) exp: i64,
    pub(crate) iat: i64,
    pub(crate) iss: String,
    pub(crate) jti: String,
    #[serde(rename = "kubernetes.io")]
    pub(crate) bound: Bound,
    pub(crate) nbf: i64,
    pub(crate) sub: String,
}

/// What the token in a secret says.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct LegacyClaims {
    iss: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    uid: String,
    sub: String,
}

impl Signer {
    /// The key of the data directory, which is made if there is none; without a directory a new key for this run.
    pub(crate) fn open(data: Option<&Path>) -> Result<Self> {
        let Some(directory) = data else {
            return Ok(Self::of_key(&KeyPair::generate().map_err(Error::Certificate)?));
        };
        let path = directory.join(KEY_FILE);
        match std::fs::read_to_string(&path) {
            Ok(pem) => Ok(Self::of_key(
                &KeyPair::from_pem(&pem).map_err(Error::Certificate)?,
            )),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = KeyPair::generate().map_err(Error::Certificate)?;
                write_key(directory, &path, &key.serialize_pem())
                    .map_err(|source| Error::DataOpen { path, source })?;
                Ok(Self::of_key(&key))
            }
            Err(source) => Err(Error::DataOpen { path, source }),
        }
    }

    fn of_key(key: &KeyPair) -> Self {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let encoding = EncodingKey::from_ec_der(&key.serialize_der());
        // The point itself says which key it is.
        let point = key.der_bytes();
        let id = point.get(1..17).unwrap_or(point);
        Self {
            encoding,
            decoding: DecodingKey::from_ec_der(point),
            key_id: URL_SAFE_NO_PAD.encode(id),
        }
    }

    fn sign(&self, claims: &impl Serialize) -> Result<String> {
        let header = Header {
            typ: None,
            kid: Some(self.key_id.clone()),
            ..Header::new(Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, claims, &self.encoding).map_err(Error::TokenKey)
    }

    pub(crate) fn issue(&self, claims: &Claims) -> Result<String> {
        self.sign(claims)
    }

    /// The token for a secret of type `kubernetes.io/service-account-token`. It does not expire.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn issue_for_secret(
        &self,
        namespace: &str,
        account: &str,
        uid: &str,
        secret: &str,
    ) -> Result<String> {
        self.sign(&LegacyClaims {
            iss: LEGACY_ISSUER.to_owned(),
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            account: account.to_owned(),
            uid: uid.to_owned(),
            sub: service_account_name(namespace, account),
        })
    }

    /// The claims of a token with a good signature.
    pub(crate) fn read(&self, token: &str) -> Option<Map<String, Value>> {
        let mut validation = Validation::new(Algorithm::ES256);
        // Times are judged by the server's own clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        jsonwebtoken::decode(token, &self.decoding, &validation)
            .ok()
            .map(|decoded| decoded.claims)
    }
}

fn write_key(directory: &Path, path: &Path, pem: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut options = std::fs::OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()
}

/// A token that was accepted.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) user: User,
    /// Which of the wanted audiences it is meant for.
    pub(crate) audiences: Vec<String>,
}

const INVALID: &str = "invalid bearer token";

/// Whose token it is; `audiences` are the wanted ones, none: those of this server.
///
/// # Errors
/// With the reason as `TokenReview` tells it.
pub(crate) fn authenticate(core: &Arc<Core>, token: &str, audiences: &[String]) -> Result<Known, String> {
    let own = [ISSUER.to_owned()];
    let wanted = if audiences.is_empty() { &own } else { audiences };
    if core.config.admin_token.as_deref() == Some(token) {
        return Ok(Known {
            user: User::admin(),
            audiences: wanted.to_vec(),
        });
    }
    let claims = core.signer.read(token).ok_or_else(|| INVALID.to_owned())?;
    let issuer = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
    if issuer == LEGACY_ISSUER {
        return LegacyClaims::deserialize(Value::Object(claims))
            .ok()
            .and_then(|claims| of_secret(core, token, &claims))
            .map(|user| Known {
                user,
                audiences: wanted.to_vec(),
            })
            .ok_or_else(|| INVALID.to_owned());
    }
    let claims: Claims = Claims::deserialize(Value::Object(claims)).map_err(|_| INVALID.to_owned())?;
    let fitting: Vec<String> = wanted
        .iter()
        .filter(|audience| claims.aud.contains(audience))
        .cloned()
        .collect();
    if fitting.is_empty() {
        let quoted = |list: &[String]| {
            let words: Vec<String> = list.iter().map(|word| format!("{word:?}")).collect();
            words.join(" ")
        };
        return Err(format!(
            "[{INVALID}, token audiences [{}] is invalid for the target audiences [{}]]",
            quoted(&claims.aud),
            quoted(wanted)
        ));
    }
    if claims.iss != ISSUER {
        return Err(INVALID.to_owned());
    }
    let user = of_claims(core, &claims)?;
    Ok(Known {
        user,
        audiences: fitting,
    })
}

/// Whether an object still is what the token was bound to.
fn exists(core: &Core, table: &str, namespace: &str, reference: &Reference) -> bool {
    core.store
        .get(&table.into(), &Key::new(namespace, &reference.name))
        .is_some_and(|object| json::text(&object.parse(), &["metadata", "uid"]) == reference.uid)
}

fn of_claims(core: &Arc<Core>, claims: &Claims) -> Result<User, String> {
    let now = core.now().as_second();
    if now >= claims.exp {
        return Err(format!("[{INVALID}, service account token has expired]"));
    }
    if now < claims.nbf {
        return Err(format!("[{INVALID}, service account token is not valid yet]"));
    }
    let bound = &claims.bound;
    let namespace = &bound.namespace;
    if split_service_account(&claims.sub) != Some((namespace, &bound.serviceaccount.name)) {
        return Err(INVALID.to_owned());
    }
    let mut needed = vec![("serviceaccounts", namespace.as_str(), &bound.serviceaccount)];
    needed.extend(
        bound
            .secret
            .as_ref()
            .map(|secret| ("secrets", namespace.as_str(), secret)),
    );
    needed.extend(bound.pod.as_ref().map(|pod| ("pods", namespace.as_str(), pod)));
    if bound.pod.is_none() {
        needed.extend(bound.node.as_ref().map(|node| ("nodes", "", node)));
    }
    if let Some((table, _, _)) = needed
        .into_iter()
        .find(|(table, namespace, reference)| !exists(core, table, namespace, reference))
    {
        let what = match table {
            "serviceaccounts" => "service account has been deleted",
            "secrets" => "secret has been invalidated",
            "pods" => "pod has been invalidated",
            _ => "node has been invalidated",
        };
        return Err(format!(
            "[{INVALID}, service account token has been invalidated: {what}]"
        ));
    }
    let mut extra = BTreeMap::new();
    let mut tell = |key: &str, value: &str| {
        if !value.is_empty() {
            extra.insert(
                format!("authentication.kubernetes.io/{key}"),
                vec![value.to_owned()],
            );
        }
    };
    tell("credential-id", &format!("JTI={}", claims.jti));
    for (reference, name, uid) in [
        (&bound.pod, "pod-name", "pod-uid"),
        (&bound.node, "node-name", "node-uid"),
    ] {
        if let Some(reference) = reference {
            tell(name, &reference.name);
            tell(uid, &reference.uid);
        }
    }
    Ok(user(
        namespace,
        &bound.serviceaccount.name,
        &bound.serviceaccount.uid,
        extra,
    ))
}

fn user(namespace: &str, name: &str, uid: &str, extra: BTreeMap<String, Vec<String>>) -> User {
    User {
        name: service_account_name(namespace, name),
        uid: uid.to_owned(),
        groups: service_account_groups(namespace),
        extra,
    }
    .authenticated()
}

/// The user of a token that lives in a secret, as long as the secret holds it.
fn of_secret(core: &Core, token: &str, claims: &LegacyClaims) -> Option<User> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let secret = core
        .store
        .get(&"secrets".into(), &Key::new(&claims.namespace, &claims.secret))?
        .parse();
    let held = STANDARD.decode(json::text(&secret, &["data", "token"])).ok()?;
    let account = Reference {
        name: claims.account.clone(),
        uid: claims.uid.clone(),
    };
    (held == token.as_bytes() && exists(core, "serviceaccounts", &claims.namespace, &account))
        .then(|| user(&claims.namespace, &claims.account, &claims.uid, BTreeMap::new()))
}
