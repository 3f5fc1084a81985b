//! TLS for the HTTP clients of this crate.
//!
//! rustls can take its cryptography from a default of the whole process. The application chooses that default, so this crate never sets
//! it: if none is set, each client is given its own provider.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::error::{Error, Result};

/// Which certificates a client trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum Certificates {
    /// Those of the operating system.
    System,
    /// None: for clients that only speak without encryption, so that nothing is looked up on the system.
    Nothing,
}

/// The settings of a client; `Unsupported` where the certificates of the system cannot be read.
pub(in crate::storage) fn config(trusted: Certificates) -> Result<ClientConfig> {
    let unsupported = |e: rustls::Error| Error::unsupported("TLS cannot be set up on this machine").caused_by(e);
    let provider = CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(ring::default_provider()));
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(unsupported)?;
    let builder = match trusted {
        Certificates::System => builder.with_platform_verifier().map_err(unsupported)?,
        Certificates::Nothing => builder.with_root_certificates(RootCertStore::empty()),
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first client of this crate set the default of the process, and with it that of an application that had not chosen
    /// yet.
    #[test]
    fn no_client_sets_the_default_of_the_process() {
        for trusted in [Certificates::Nothing, Certificates::System] {
            let config = config(trusted);
            assert!(config.is_ok() || trusted == Certificates::System, "{config:?}");
            let built = config.map(|config| reqwest::Client::builder().tls_backend_preconfigured(config).build().is_ok());
            assert!(built.unwrap_or(true), "the client takes these settings");
        }
        assert!(CryptoProvider::get_default().is_none());
    }
}
