//! CRLs and OCSP messages, judged by other implementations: OpenSSL, x509-cert and x509-ocsp.

mod ca;
mod crl;
mod crl_kinds;
mod ocsp_client;
mod ocsp_request;
mod ocsp_template;
