//! Loopback HTTP: what a web page, another user or a wrong client meets there.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod support;

use polder_server::{Loopback, ServeOptions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use support::Fixture;

async fn fixture() -> (Fixture, SocketAddr, String) {
    let loopback = Some(Loopback::bind(0).await.unwrap());
    let options = ServeOptions { loopback, ..ServeOptions::default() };
    let fixture = Fixture::start_with(options).await;
    let address = fixture.server().loopback().unwrap();
    let token = std::fs::read_to_string(fixture.folder.path().join("token")).unwrap();
    (fixture, address, token.trim().to_owned())
}

/// Sends these lines as they are; gives back the whole answer.
async fn send(address: SocketAddr, lines: &[&str]) -> String {
    let text = lines.join("\r\n") + "\r\nConnection: close\r\n\r\n";
    let exchange = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    tokio::task::spawn_blocking(exchange).await.unwrap()
}

#[tokio::test]
async fn only_the_holder_of_the_token_is_served() {
    let (_fixture, address, token) = fixture().await;
    let host = format!("Host: {address}");
    let bearer = format!("Authorization: Bearer {token}");
    let check = async |lines: &[&str], expect: &[&str]| {
        let answer = send(address, lines).await;
        for part in expect {
            assert!(answer.contains(part), "{lines:?}: {part:?} is not in {answer}");
        }
    };
    let queue = "GET /api/v1/queue HTTP/1.1";
    check(&[queue, &host, &bearer], &["200 OK"]).await;
    check(&["GET /healthz HTTP/1.1", &host], &["200 OK"]).await;
    check(&["GET /api/v1/version HTTP/1.1", &host], &["200 OK", "\"api\":1"]).await;
    let who = "GET /api/v1/whoami HTTP/1.1";
    check(&[who, &host, &bearer], &["200 OK", "\"role\":\"admin\""]).await;
    let problem = "application/problem+json";
    check(&[queue, &host], &["403", problem, "Authorization", "`token`"]).await;
    check(&[queue, &host, "Authorization: Bearer x"], &["403", "Authorization"]).await;
    check(&[queue, "Host: evil.example", &bearer], &["403", problem, "evil.example"]).await;
    let page = "Origin: http://evil.example";
    check(&[queue, &host, &bearer, page], &["403", "evil.example", "other sites"]).await;
    check(&["GET /healthz HTTP/1.1", &host, page], &["403"]).await;
    let own = format!("Origin: http://{address}");
    check(&[queue, &host, &bearer, &own], &["200 OK"]).await;
    let sync = ["POST /api/v1/agent/sync HTTP/1.1", &host, &bearer, "Content-Length: 0"];
    check(&sync, &["403", "does not run this pool's agent"]).await;
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Loopback::bind(port).await.err().unwrap().to_string();
    assert!(error.contains(&format!("127.0.0.1:{port}")) && error.contains("--listen"), "{error}");
}

#[tokio::test]
async fn whoever_cannot_be_served_leaves_no_socket() {
    let folder = tempfile::tempdir().unwrap();
    let pool = polder_server::open(polder_server::OpenOptions::new(folder.path())).await.unwrap();
    // A folder in the place of the token: it can neither be read nor replaced.
    std::fs::create_dir_all(folder.path().join("token/x")).unwrap();
    let error = polder_server::serve(pool, ServeOptions::default()).await.err().unwrap();
    assert!(error.to_string().contains("token"), "{error}");
    assert!(!folder.path().join(polder_server::SOCKET_FILE).exists(), "nobody answers there");
    std::fs::remove_dir_all(folder.path().join("token")).unwrap();
    support::launch(folder.path(), ServeOptions::default()).await.shutdown();
}

#[tokio::test]
async fn nonsense_on_the_wire_ends_that_connection_alone() {
    let (fixture, address, _) = fixture().await;
    for nonsense in ["\0\0\0\0", "GET", "GET / HTTP/9.9", "POST / HTTP/1.1\r\nContent-Length: -1"] {
        let answer = send(address, &[nonsense]).await;
        assert!(!answer.contains("200 OK"), "{nonsense:?}: {answer}");
    }
    assert_eq!(fixture.client().get("/healthz").await.0, 200);
}
