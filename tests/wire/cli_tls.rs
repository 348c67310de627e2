//! The commands that ask a running controller, when its admin listener is behind a proxy that ends TLS.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const TOKEN: &str = "the-token-of-this-test";

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

/// A proxy that answers everything with an empty list, by TLS. Returns its port, and what it was sent and could decrypt.
async fn proxy() -> (u16, Arc<Mutex<String>>) {
    let chain = vec![CertificateDer::from_pem_file(fixture("server.pem")).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(fixture("server.key")).expect("a key");
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).expect("they fit together");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let heard = Arc::new(Mutex::new(String::new()));
    let book = heard.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not trust this proxy breaks off here.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = [0; 8192];
            let read = stream.read(&mut head).await.unwrap_or(0);
            book.lock().expect("unpoisoned").push_str(&String::from_utf8_lossy(&head[..read]));
            let body = r#"{"items":[],"total":0,"said":"done"}"#;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.ok();
            stream.shutdown().await.ok();
        }
    });
    (port, heard)
}

async fn muster(line: &str, url: &str, authority: Option<&str>) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_muster"));
    command.args(line.split_whitespace()).args(["--controller", url]).env("MUSTER_TOKEN", TOKEN).stdin(Stdio::null());
    command.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
    if let Some(authority) = authority {
        command.env("SSL_CERT_FILE", fixture(authority));
    }
    let output = command.kill_on_drop(true).output();
    tokio::time::timeout(Duration::from_secs(60), output).await.expect("it ends").expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_controller_behind_tls_is_asked_and_ordered() {
    let (port, heard) = proxy().await;
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("https://{host}:{port}");
        let output = muster("get pools", &url, Some("authority.pem")).await;
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{host}");
        let output = muster("pause pool/linux", &url, Some("authority.pem")).await;
        assert_eq!((output.status.code(), text(&output.stdout), text(&output.stderr)), (Some(0), "done\n".into(), String::new()));
        assert_eq!(muster("health", &url, Some("authority.pem")).await.status.code(), Some(0));
    }
    let heard = heard.lock().expect("unpoisoned").to_lowercase();
    assert!(
        heard.contains("post /api/v1/pools/linux/pause http/1.1\r\n") && heard.contains(&format!("bearer {TOKEN}")),
        "{heard}"
    );
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_said() {
    let (port, heard) = proxy().await;
    let output = muster("pause pool/linux", &format!("https://localhost:{port}"), None).await;
    let said = text(&output.stderr);
    // The code is 6 if this machine trusts no authority at all.
    assert!(matches!(output.status.code(), Some(5 | 6)) && said.contains("certificate"), "{output:?}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(*heard.lock().expect("unpoisoned"), "");
    // This server does not speak TLS.
    let plain = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://{}", plain.local_addr().expect("bound"));
    let answer = async {
        let (mut stream, _) = plain.accept().await.expect("a caller");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("written");
    };
    let (output, ()) = tokio::join!(muster("get pools", &url, Some("authority.pem")), answer);
    assert!(output.status.code() == Some(5) && text(&output.stderr).contains("failed to connect"), "{output:?}");
}

/// Others can read the token on its way. The order is still carried out, because the network may be private.
#[tokio::test]
async fn a_token_in_clear_is_warned_of() {
    // This address is not a loopback address, and yet this machine's. Nobody listens there.
    let output = muster("pause pool/linux", "http://0.0.0.0:1", None).await;
    let said = text(&output.stderr);
    assert!(said.starts_with("muster: the token is sent to http://0.0.0.0:1 in clear; use https://"), "{said}");
    let output = muster("get pools", "http://0.0.0.0:1", None).await;
    assert!(!text(&output.stderr).contains("token"), "reading needs no token: {output:?}");
}
