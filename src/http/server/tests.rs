use bytes::Buf as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use warp::http::StatusCode;

use super::*;
use crate::http::webhook::read_body;

/// The longest wait for what must come. It is no verdict.
const DEADLINE: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(3600);
const PATIENT: ListenerLimits =
    ListenerLimits { listener: "test", connections: 16, first_byte: LONG, request: LONG, stall: LONG, answer: LONG, idle: LONG };
const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// Serves `GET /`, `GET /large` (4 MiB) and `POST /` (which reads the body). Returns the address.
async fn start(limits: ListenerLimits) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let small = warp::path::end().and(warp::get()).map(|| super::super::json(StatusCode::OK, &"small"));
    let large = warp::path!("large").map(|| Response::new(vec![b'x'; 4 << 20].into()));
    let body = warp::path::end().and(warp::post()).and(warp::header::headers_cloned()).and(warp::body::stream());
    let body = body.then(|headers, stream| async move {
        match read_body(&headers, stream, 1 << 20, "").await {
            Ok(body) => super::super::json(StatusCode::OK, &body.remaining()),
            Err(answer) => answer,
        }
    });
    let routes = small.or(large).unify().or(body).unify().recover(|r| super::super::refuse(r, "GET")).unify();
    tokio::spawn(serve(listener, routes, limits, CancellationToken::new()));
    address
}

async fn say(address: std::net::SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(text.as_bytes()).await.expect("sent");
    stream
}

/// What the other side says until it closes the connection.
async fn heard(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("the connection is closed");
    // A connection that is closed while the client still sends is reset.
    assert!(read.is_ok() || read.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionReset));
    answer
}

async fn status(address: std::net::SocketAddr, request: &str) -> String {
    let answer = String::from_utf8(heard(say(address, request).await).await).expect("text");
    answer.split(' ').nth(1).unwrap_or("none").to_owned()
}

#[tokio::test]
async fn who_is_late_is_cut_off() {
    let soon = Duration::from_millis(300);
    let address = start(ListenerLimits { first_byte: soon, request: soon, idle: soon, ..PATIENT }).await;
    for late in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: x\r\n", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nabc"]
    {
        assert_eq!(String::from_utf8_lossy(&heard(say(address, late).await).await), "", "{late:?}");
    }
    let idle = heard(say(address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await).await;
    assert!(idle.starts_with(b"HTTP/1.1 200"), "it was answered, and then closed: {}", String::from_utf8_lossy(&idle));
}

#[tokio::test]
async fn an_answer_that_is_not_fetched_is_dropped() {
    let address = start(ListenerLimits { stall: Duration::from_millis(300), connections: 1, ..PATIENT }).await;
    // The kernels at both ends take a part of the 4 MiB, and the rest waits.
    let lazy = say(address, "GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    tokio::time::timeout(DEADLINE, lazy.readable()).await.expect("in time").expect("it began");
    assert_eq!(status(address, GET).await, "200");
    let got = heard(lazy).await;
    assert!(got.len() < 4 << 20, "{} bytes came", got.len());
}

#[tokio::test]
async fn many_who_say_nothing_or_half_keep_nobody_out() {
    let address = start(PATIENT).await;
    let mut crowd = Vec::new();
    for half in ["", "GET / HTTP/1.1\r\nhost: x\r\n", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nabc"] {
        for _ in 0..60 {
            crowd.push(say(address, half).await);
        }
        assert_eq!(status(address, GET).await, "200", "behind {half:?}");
        let post = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc";
        assert_eq!(status(address, post).await, "200", "behind {half:?}");
    }
    assert_eq!(crowd.len(), 180);
}

#[tokio::test]
async fn a_large_answer_comes_whole_and_a_large_head_is_refused() {
    let address = start(PATIENT).await;
    let answer = heard(say(address, "GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await).await;
    let at = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    assert!(String::from_utf8_lossy(&answer[..at]).to_lowercase().contains("content-length: 4194304\r\n"));
    assert!(answer[at..].len() == 4 << 20 && answer[at..].iter().all(|b| *b == b'x'));
    let header =
        |bytes: usize| format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-long: {}\r\n\r\n", "x".repeat(bytes));
    assert_eq!(status(address, &header(12 << 10)).await, "200");
    assert_eq!(status(address, &header(HEAD)).await, "431");
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(200));
    assert_eq!(status(address, &many).await, "431");
}

#[tokio::test]
async fn http_2_is_not_spoken() {
    let address = start(PATIENT).await;
    let answer = heard(say(address, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await).await;
    // A server that speaks HTTP/2 begins with a frame of settings, whose type is 4.
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
    let upgrade = "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n";
    assert_eq!(status(address, upgrade).await, "200");
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let address = start(PATIENT).await;
    let mut stream = TcpStream::connect(address).await.expect("connected");
    for request in ["GET / HTTP/1.1\r\nhost: x\r\n\r\n", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc"].repeat(5) {
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        while !(answer.ends_with(b"\"small\"") || answer.ends_with(b"\r\n\r\n3")) {
            let mut buffer = [0; 1024];
            let read = tokio::time::timeout(DEADLINE, stream.read(&mut buffer)).await.expect("in time").expect("read");
            assert!(read > 0, "closed after {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..read]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
}
