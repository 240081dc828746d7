//! Bodies that unpack to much, come slowly, or never end.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, folder, organization_key, own_usage, packed, reply, usage};

use super::{peak_bytes, times};

const NDJSON: &str = "application/x-ndjson";
const MIB: u64 = 1 << 20;

/// A request that is written by hand. It waits for an answer at most so long.
fn begin(server: &Server, head: &str, body: &[u8]) -> TcpStream {
    let address = server.ready.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(head.replace('\n', "\r\n").as_bytes()).unwrap();
    // Who is sent back may not read it all.
    let _ = stream.write_all(body);
    stream
}

/// The status that comes back, 0 when the connection ends without one.
fn status(mut stream: TcpStream) -> u16 {
    let mut answer = [0; 12];
    match stream.read_exact(&mut answer) {
        Ok(()) => String::from_utf8_lossy(&answer[9..]).parse().unwrap_or(0),
        Err(_) => 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_takes_no_memory_before_and_after_sign_in() {
    let dir = folder();
    let admin = admin_key(dir.path());
    let honest = organization_key(dir.path(), "org_b", "read,write");
    let server = Server::serve(dir.path());
    let [admin, honest] = [admin, honest].map(|key| Client::new(&server, &key));
    let stranger = Client::new(&server, "");
    let zeros = vec![b' '; 256 << 20];
    let bombs = [("gzip", packed("gzip", &zeros)), ("zstd", packed("zstd", &zeros))];
    drop(zeros);
    let (before, _) = (peak_bytes(&server), peak_bytes(&server));
    for _ in 0..times(1) {
        for (coding, bomb) in &bombs {
            let cookie = ("cookie", "aihub_session=made-up");
            for (client, path, media_type, expected) in [
                (&stranger, "/v1/query", "application/json", &[401][..]),
                (&stranger, "/v1/auth/login", "application/json", &[413]),
                (&stranger, "/sign-in", "application/x-www-form-urlencoded", &[413]),
                (&admin, "/v1/query", "application/json", &[413]),
                (&admin, "/v1/keys", "application/json", &[413]),
                (&admin, "/v1/saved-queries", "application/json", &[413]),
                (&admin, "/v1/dead-letters/replay", "application/json", &[413]),
                (&admin, "/v1/events/void", "application/json", &[413]),
                (&admin, "/v1/events", NDJSON, &[413]),
            ] {
                let request = client
                    .request(Method::POST, path)
                    .header(cookie.0, cookie.1)
                    .header("content-type", media_type)
                    .header("content-encoding", *coding)
                    .body(bomb.clone());
                let answer = reply(request).await;
                assert!(expected.contains(&answer.status.as_u16()), "{path}: {}", answer.text());
            }
            let event = own_usage("org_b", coding, json!({})).to_string();
            assert_eq!(honest.send(NDJSON, event).await.0, StatusCode::OK);
        }
    }
    let grown = peak_bytes(&server).saturating_sub(before);
    assert!(grown < 64 * MIB, "the server grew by {} MiB", grown / MIB);
}

/// Every route that takes a body knows its sender first.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_not_awaited_before_its_sender_is_known() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let api: Value = Client::new(&server, "").get("/openapi.json").await.1;
    let mut tried = 0;
    for (path, operations) in api["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            // These are for whoever has not signed in yet, and for those who sign the body.
            let is_for_all = ["/v1/auth/", "/v1/hooks/"].iter().any(|own| path.starts_with(own));
            if operation.get("requestBody").is_none() || is_for_all {
                continue;
            }
            let (method, path) = (method.to_uppercase(), path.replace(['{', '}'], ""));
            let head = format!(
                "{method} {path} HTTP/1.1\nHost: x\nAuthorization: Bearer aihub_wrong\n\
                 Content-Type: application/json\nContent-Length: 1000\n\n"
            );
            assert_eq!(status(begin(&server, &head, b"{")), 401, "{method} {path}");
            tried += 1;
        }
    }
    assert!(tried > 8, "{tried} routes take a body");
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_uploads_of_one_organization_stop_nobody_else() {
    let dir = folder();
    let slow = organization_key(dir.path(), "org_a", "write");
    let honest = organization_key(dir.path(), "org_b", "read,write");
    let server = Server::serve(dir.path());
    let honest = Client::new(&server, &honest);
    let head = format!(
        "POST /v1/events HTTP/1.1\nHost: x\nAuthorization: Bearer {}\nContent-Type: {NDJSON}\n\
         Content-Length: 10000000\n\n",
        slow.trim()
    );
    let most = vec![b' '; 9 << 20];
    let uploads = times(20);
    let streams: Vec<_> = (0..uploads).map(|_| begin(&server, &head, &most)).collect();
    for n in 0..20 {
        let event = own_usage("org_b", &n.to_string(), json!({})).to_string();
        let (status, answer) = honest.send(NDJSON, event).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    assert_eq!(honest.rows("select count(*) as n from usage_events").await[0]["n"], 20);
    drop(streams);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_open_bodies_of_strangers_leave_the_server_in_reach() {
    let dir = folder();
    let admin = admin_key(dir.path());
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin);
    let head = "POST /v1/auth/login HTTP/1.1\nHost: x\nContent-Type: application/json\n\
                Content-Length: 100\n\n";
    let streams: Vec<_> = (0..1_100).map(|_| begin(&server, head, b"{")).collect();
    for n in 0..10 {
        let event = usage("org_b", &n.to_string(), json!({})).to_string();
        assert_eq!(client.send(NDJSON, event).await.0, StatusCode::OK);
        assert_eq!(client.get("/healthz").await.0, StatusCode::OK);
    }
    let seen: Vec<_> = streams.into_iter().map(status).collect();
    let of = |code: u16| seen.iter().filter(|seen| **seen == code).count();
    // Those that had a place waited in vain; the others were sent back at once.
    assert_eq!((of(408), of(429)), (64, 1_100 - 64), "{seen:?}");
}

/// A connection that nobody waits for any more ends, whatever still comes on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_does_not_outlive_its_answer() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let head = "POST /v1/query HTTP/1.1\nHost: x\nAuthorization: Bearer aihub_wrong\n\
                Content-Type: application/json\nTransfer-Encoding: chunked\n\n";
    let mut stream = begin(&server, head, b"4\r\nabcd\r\n");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer[9..], b"401");
    let open = (0..150).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        stream.write_all(b"4\r\nabcd\r\n").is_err()
    });
    assert!(open, "the connection stays open");
}

/// The framework gives only the first request of a connection its time.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_request_is_ended() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let head = "GET /healthz HTTP/1.1\nHost: x\n\n";
    let mut streams: Vec<_> = (0..20).map(|_| begin(&server, head, b"")).collect();
    for stream in &mut streams {
        let mut answer = [0; 4_096];
        assert!(stream.read(&mut answer).unwrap() > 12);
        stream.write_all(b"G").unwrap();
    }
    for stream in &mut streams {
        // The end, after whatever the server says to it.
        let ended = loop {
            match stream.read(&mut [0; 4_096]) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) => break error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        };
        assert!(ended, "it is open after half a minute");
    }
}
