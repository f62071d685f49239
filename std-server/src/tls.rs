//! TLS for a listener: certificate and key from files, read again when the operator says so.
//!
//! ```text
//!  files ─► load ─► configuration ◄─ reload (SIGHUP): a good pair replaces the old one, a bad one does not
//!                        └─► accept: each connection keeps the configuration that it began with
//! ```

use core::fmt;
use core::time::Duration;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and the root, in PEM.
    pub certificates: PathBuf,
    /// The private key of the first of them, in PEM.
    pub key: PathBuf,
}

/// TLS as it is spoken now.
pub struct Tls {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Which file is wrong, and how; nothing of a key is ever repeated.
    pub fn load(files: &TlsFiles) -> Result<Arc<Self>, TlsError> {
        let current = RwLock::new(read(files)?);
        Ok(Arc::new(Self { files: files.clone(), current }))
    }

    /// Reads the files again; connections that exist go on as they are.
    ///
    /// # Errors
    /// Which file is wrong, and how: then everything stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let fresh = read(&self.files)?;
        *self.current.write() = fresh;
        Ok(())
    }

    /// Where certificate and key are.
    #[must_use]
    pub const fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// Begins TLS on a connection.
    ///
    /// # Errors
    /// The client speaks something else, or takes too long.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.current.read()));
        let accepted = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
        accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let wrong = |path: &Path, what: String| TlsError { path: path.to_owned(), what };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(&files.certificates)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(&files.certificates, error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong(&files.certificates, "there is no certificate in it".to_owned()));
    }
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| wrong(&files.key, error.to_string()))?;
    let made = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key));
    made.map(Arc::new).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            wrong(&files.key, format!("it is not the key of {}", files.certificates.display()))
        }
        error => wrong(&files.certificates, error.to_string()),
    })
}

/// A file that TLS can't be spoken with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsError {
    path: PathBuf,
    what: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS can't use {}: {}", self.path.display(), self.what)
    }
}

impl core::error::Error for TlsError {}

/// A client that takes longer to begin is closed.
const HANDSHAKE: Duration = Duration::from_secs(10);
