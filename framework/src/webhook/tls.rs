//! TLS of the webhook client: rustls with ring, and the system's certificate verification.
//!
//! The crypto provider is set explicitly, so the client does not depend on how the rest of the
//! process uses rustls.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;

use super::options::InvalidOptions;

/// Creates a TLS configuration that trusts the system's authorities and those in the PEM text.
pub(super) fn client_config(certificates: Option<&str>) -> Result<ClientConfig, InvalidOptions> {
    let invalid = |what: &str, error: String| InvalidOptions(format!("{what}: {error}"));
    let pem = certificates.unwrap_or_default().as_bytes();
    let extra: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid("the certificates", error.to_string()))?;
    if certificates.is_some() && extra.is_empty() {
        return Err(InvalidOptions("the certificates: there are none in the PEM text".to_owned()));
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier::new_with_extra_roots(extra, provider.clone())
        .map_err(|error| invalid("the system's certificates", error.to_string()))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid("TLS", error.to_string()))?;
    let verified = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = verified.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
