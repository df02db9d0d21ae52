//! A target behind TLS with a certificate authority of its own.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::facts::add_up;
use super::program::Sandbox;
use super::target::{Upstream, quick};

/// TLS in front of an upstream, on a free loopback port, until it is dropped.
struct Tls {
    origin: String,
    /// Of the authority that signed the server's certificate.
    authority_pem: String,
    _runtime: Runtime,
}

impl Tls {
    fn in_front_of(upstream: &Upstream) -> Self {
        let authority_key = rcgen::KeyPair::generate().expect("a key");
        let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("valid names");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_cert = authority.self_signed(&authority_key).expect("signed");
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = vec!["127.0.0.1".to_owned()];
        let cert = rcgen::CertificateParams::new(names)
            .and_then(|params| params.signed_by(&key, &issuer))
            .expect("signed");

        let private = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], private.into())
            .expect("the key is the certificate's");
        let acceptor = TlsAcceptor::from(Arc::new(config));

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a free port");
        let address = listener.local_addr().expect("bound");
        let behind = upstream.origin.trim_start_matches("http://").to_owned();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                tokio::spawn(async move {
                    // A client that does not trust the certificate hangs up: that is a test.
                    let Ok(mut client) = acceptor.accept(client).await else {
                        return;
                    };
                    let mut server = TcpStream::connect(behind).await.expect("the upstream runs");
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self {
            origin: format!("https://{address}"),
            authority_pem: authority_cert.pem(),
            _runtime: runtime,
        }
    }
}

#[test]
fn a_custom_authority_is_trusted_and_copied_into_the_run() {
    let upstream = Upstream::start(quick());
    let tls = Tls::in_front_of(&upstream);
    let sandbox = Sandbox::new();
    sandbox.write("authority.pem", &tls.authority_pem);
    sandbox
        .program(["run", "live.toml", "--out", "out", "--target", &tls.origin])
        .args(["--set", "target.ca_file=authority.pem"])
        .output()
        .exits(0);
    let report = add_up(&sandbox.path("out"));
    assert_eq!(report["endpoints"]["openai"]["requests"]["ok"], 3);
    assert!(sandbox.path("out/ca.pem").is_file());
}

#[test]
fn a_target_that_does_not_speak_http_2_is_said() {
    let upstream = Upstream::start(quick());
    // This front offers no protocol, so what is negotiated is HTTP/1.1.
    let tls = Tls::in_front_of(&upstream);
    let sandbox = Sandbox::new();
    sandbox.write("authority.pem", &tls.authority_pem);
    sandbox
        .program(["run", "live.toml", "--out", "out", "--target", &tls.origin])
        .args([
            "--set",
            "target.ca_file=authority.pem",
            "--set",
            "target.http=2",
        ])
        .output()
        .exits(0)
        .shows(&["the target speaks HTTP/1.1"]);
}

#[test]
fn an_authority_that_nobody_named_is_not_trusted() {
    let upstream = Upstream::start(quick());
    let tls = Tls::in_front_of(&upstream);
    let sandbox = Sandbox::new();
    sandbox
        .program(["run", "live.toml", "--out", "out", "--target", &tls.origin])
        .output()
        .exits(1);
    let report = add_up(&sandbox.path("out"));
    assert_eq!(
        report["endpoints"]["openai"]["requests"]["outcomes"]["connect_failed"],
        3
    );
    assert_eq!(upstream.journal().len(), 0, "nothing was sent");
}

#[test]
fn a_file_without_a_certificate_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("authority.pem", "no certificate");
    sandbox
        .program([
            "run",
            "live.toml",
            "--out",
            "out",
            "--target",
            "https://127.0.0.1:9",
        ])
        .args(["--set", "target.ca_file=authority.pem"])
        .output()
        .exits(2)
        .says(&["target.ca_file", "PEM"]);
    assert!(!sandbox.path("out").exists(), "nothing is half done");
}
