//! A kubeconfig that reaches the server.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::{
    server::{Error, Result, Server},
    tls::Certificates,
};

/// Name of the cluster, the user and the context.
const NAME: &str = "steersman-sandbox";

impl Server {
    /// A kubeconfig in YAML for the server at `url`; with certificates for HTTPS, without for plain HTTP. Its user is
    /// the administrator.
    ///
    /// # Errors
    /// When the text cannot be made.
    pub fn kubeconfig(&self, url: &str, certificates: Option<&Certificates>) -> Result<String> {
        let mut cluster = json!({"server": url});
        let mut user = json!({});
        if let Some(certificates) = certificates {
            let encode = |pem: &str| STANDARD.encode(pem);
            crate::json::set(
                &mut cluster,
                &[],
                "certificate-authority-data",
                encode(&certificates.authority),
            );
            crate::json::set(
                &mut user,
                &[],
                "client-certificate-data",
                encode(&certificates.client.certificate),
            );
            crate::json::set(
                &mut user,
                &[],
                "client-key-data",
                encode(&certificates.client.key),
            );
        }
        if let (None, Some(token)) = (certificates, &self.core.config.admin_token) {
            crate::json::set(&mut user, &[], "token", token.as_str());
        }
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": NAME, "cluster": cluster}],
            "users": [{"name": NAME, "user": user}],
            "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME, "namespace": "default"}}],
            "current-context": NAME,
        });
        serde_saphyr::to_string(&config).map_err(Error::Kubeconfig)
    }
}
