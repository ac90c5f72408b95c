//! TLS servers with a PKI of their own.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A root, an issuing CA, and a server's certificate for `localhost`.
pub(crate) struct Pki {
    pub(crate) root: CertifiedIssuer<'static, KeyPair>,
    pub(crate) issuing: CertifiedIssuer<'static, KeyPair>,
    pub(crate) server: (Vec<u8>, KeyPair),
}

fn ca_params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

impl Pki {
    pub(crate) fn new() -> Self {
        let root = CertifiedIssuer::self_signed(ca_params("Root"), KeyPair::generate().unwrap()).unwrap();
        let issuing = CertifiedIssuer::signed_by(ca_params("Issuing"), KeyPair::generate().unwrap(), &root).unwrap();
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuing).unwrap();
        Pki { root, issuing, server: (server.der().to_vec(), key) }
    }

    /// A server's configuration; it demands client certificates under this root, if one is given.
    pub(crate) fn config(&self, client_root: Option<&[u8]>) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let builder = match client_root {
            None => builder.with_no_client_auth(),
            Some(root) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from(root.to_vec())).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let chain = [&self.server.0[..], self.issuing.der(), self.root.der()];
        let chain = chain.into_iter().map(|der| CertificateDer::from(der.to_vec())).collect();
        let key = PrivateKeyDer::try_from(self.server.1.serialize_der()).unwrap();
        Arc::new(builder.with_single_cert(chain, key).unwrap())
    }

    /// Serves `answer`, which gets each request and the client's certificate.
    pub(crate) async fn serve<F, R>(&self, client_root: Option<&[u8]>, answer: F) -> SocketAddr
    where
        F: Fn(Request<Incoming>, Option<Vec<u8>>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Full<Bytes>>> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(self.config(client_root));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let stream = match acceptor.accept(stream).into_fallible().await {
                    Ok(stream) => stream,
                    Err((_, mut stream)) => {
                        // The alert is lost when a connection is closed over unread octets.
                        stream.shutdown().await.ok();
                        stream.read_to_end(&mut Vec::new()).await.ok();
                        continue;
                    }
                };
                let certificate = stream.get_ref().1.peer_certificates().map(|chain| chain[0].to_vec());
                let answer = answer.clone();
                let service = service_fn(move |request| {
                    let reply = answer(request, certificate.clone());
                    async move { Ok::<_, Infallible>(reply.await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        address
    }
}
