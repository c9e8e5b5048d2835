//! TLS for scripted targets, with a certificate that nobody has signed, and for scripted clients.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Accepts TLS with a certificate made for this call: self-signed, for a name that is not the
/// target's, and over since 1975. `protocols`: for ALPN.
#[must_use]
pub fn acceptor(protocols: &[&[u8]]) -> TlsAcceptor {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters =
        rcgen::CertificateParams::new(vec!["elsewhere.example".to_owned()]).expect("a name");
    parameters.not_after = rcgen::date_time_ymd(1975, 1, 1);
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("the key is that of the certificate");
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// Makes a connection with TLS to a server with any certificate. `protocols`: for ALPN.
///
/// # Panics
/// If there is none.
pub async fn connect(
    address: SocketAddr,
    name: &'static str,
    protocols: &[&str],
) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.expect("connected");
    over(stream, name, protocols).await
}

/// The same on a connection that is there.
///
/// # Panics
/// If the handshake fails.
pub async fn over(
    stream: TcpStream,
    name: &'static str,
    protocols: &[&str],
) -> TlsStream<TcpStream> {
    let protocols: Vec<_> = protocols.iter().map(|name| name.as_bytes()).collect();
    let config = longshore::tls::anybody::client_config(&protocols);
    let connector = TlsConnector::from(Arc::new(config.expect("ciphers")));
    let name = ServerName::try_from(name).expect("a name");
    connector.connect(name, stream).await.expect("a handshake")
}
