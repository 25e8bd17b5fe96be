//! Tests of binds of users against a server that counts what it receives.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::client::connect::ActiveServer;
use crate::client::connection::Connection;
use crate::client::shared_connection::SharedConnection;
use crate::config::{DirectoryConfig, ServerUrl};
use crate::directory::Access;
use crate::protocol::ber::{INTEGER, OCTET_STRING, Reader};
use crate::protocol::message::{SEARCH_REQUEST, envelope, frame, head};

/// What the server does with a bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Answer(u8),
    /// Answers, and closes the connection.
    AnswerAndHangUp(u8),
    HangUp,
    Hold,
}

/// A server, and what it received.
struct Fake {
    server: ServerUrl,
    connections: AtomicUsize,
    /// The DN, the password and the controls' presence of each bind.
    binds: Mutex<Vec<(String, Vec<u8>, bool)>>,
    then: Mutex<Then>,
}

impl Fake {
    async fn start(then: Then) -> std::sync::Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let fake = std::sync::Arc::new(Self {
            server: ServerUrl::parse(&format!("ldap://127.0.0.1:{port}")).unwrap(),
            connections: AtomicUsize::new(0),
            binds: Mutex::default(),
            then: Mutex::new(then),
        });
        let of = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                of.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(of.clone().serve(stream));
            }
        });
        fake
    }

    async fn serve(self: std::sync::Arc<Self>, mut stream: TcpStream) {
        let mut inbox = Vec::new();
        loop {
            while let Some(at) = frame(&inbox).ok().filter(|at| at.end <= inbox.len()) {
                let message: Vec<u8> = inbox.drain(..at.end).skip(at.start).collect();
                let head = head(&message).unwrap();
                if head.tag != 0x60 {
                    return;
                }
                let mut bind = Reader::new(&message[head.operation.clone()]);
                assert_eq!(bind.integer(INTEGER), Some(3));
                let dn = bind.text(OCTET_STRING).unwrap().to_owned();
                let password = bind.take(0x80).unwrap().to_vec();
                self.binds.lock().unwrap().push((dn, password, head.operation.end < message.len()));
                let then = *self.then.lock().unwrap();
                let answer = |code| {
                    let done = [0x61, 7, 0x0a, 1, code, 4, 0, 4, 0];
                    envelope(i32::try_from(head.id).unwrap(), &done, &[])
                };
                match then {
                    Then::Answer(code) => stream.write_all(&answer(code)).await.unwrap(),
                    Then::AnswerAndHangUp(code) => {
                        stream.write_all(&answer(code)).await.unwrap();
                        return;
                    }
                    Then::HangUp => return,
                    Then::Hold => {}
                }
            }
            if stream.read_buf(&mut inbox).await.unwrap_or(0) == 0 {
                return;
            }
        }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn binds(&self) -> usize {
        self.binds.lock().unwrap().len()
    }
}

/// Returns a directory whose own connection is in memory, and whose servers are these.
async fn directory(config: DirectoryConfig) -> LdapDirectory {
    let (client, mut stream) = tokio::io::duplex(1 << 20);
    tokio::spawn(async move {
        let mut inbox = Vec::new();
        while stream.read_buf(&mut inbox).await.unwrap_or(0) > 0 {
            while let Some(at) = frame(&inbox).ok().filter(|at| at.end <= inbox.len()) {
                let message: Vec<u8> = inbox.drain(..at.end).skip(at.start).collect();
                let head = head(&message).unwrap();
                assert_eq!(head.tag, SEARCH_REQUEST, "only searches arrive over the shared connection");
                let id = i32::try_from(head.id).unwrap();
                let done = envelope(id, b"\x65\x07\x0a\x01\x00\x04\x00\x04\x00", &[]);
                stream.write_all(&done).await.unwrap();
            }
        }
    });
    let session = SharedConnection::start(Connection::over_stream(client), &config);
    let server = config.servers.first().unwrap().clone();
    let link = ActiveServer { session, server, address: None, number: 0, server_id: Vec::new() };
    LdapDirectory::over(&config, Access::Read, link).await.unwrap()
}

fn config(servers: impl IntoIterator<Item = ServerUrl>) -> DirectoryConfig {
    DirectoryConfig::new(servers)
        .operation_timeout(Duration::from_millis(300))
        .connect_timeout(Duration::from_millis(300))
}

fn password(text: &str) -> NonEmptyPassword {
    NonEmptyPassword::new(text).unwrap()
}

const DN: &str = "uid=ada,dc=x";

#[tokio::test]
async fn trap_05_a_login_is_one_bind_whatever_the_answer() {
    for (code, expected) in [
        (0, Some(Authentication::Accepted(PasswordState::default()))),
        (49, Some(Authentication::WrongCredentials)),
        (51, Some(Authentication::Unavailable { code: 51, text: String::new() })),
        (80, None),
    ] {
        let (first, other) = (Fake::start(Then::Answer(code)).await, Fake::start(Then::Answer(0)).await);
        let directory = directory(config([first.server.clone(), other.server.clone()])).await;
        let answer = directory.authenticate(DN, &password("Grüße")).await;
        if let Some(expected) = expected {
            assert_eq!(answer.unwrap(), expected);
        } else {
            let error = answer.unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Bind(u32::from(code)), "{error}");
        }
        let binds = first.binds.lock().unwrap().clone();
        assert_eq!(binds, [(DN.to_owned(), "Grüße".as_bytes().to_vec(), true)], "code {code}");
        assert_eq!(other.connections(), 0, "code {code}");
    }
}

#[tokio::test]
async fn trap_05_a_bind_without_an_answer_is_neither_repeated_nor_a_wrong_password() {
    for (then, kind) in [(Then::HangUp, crate::ErrorKind::Lost), (Then::Hold, crate::ErrorKind::Timeout)] {
        let (first, other) = (Fake::start(then).await, Fake::start(Then::Answer(0)).await);
        let directory = directory(config([first.server.clone(), other.server.clone()])).await;
        let error = directory.authenticate(DN, &password("x")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.is_outcome_unknown() && !error.is_transient(), "{error}");
        assert_eq!((first.binds(), other.connections()), (1, 0));
        assert_eq!(directory.shared.binds.idle_count(), 0, "its answer may still come");
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_followed_by_the_next() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gone = ServerUrl::parse(&format!("ldap://{gone}")).unwrap();
    let other = Fake::start(Then::Answer(49)).await;
    let directory = directory(config([gone.clone(), other.server.clone()])).await;
    let answer = directory.authenticate(DN, &password("x")).await.unwrap();
    assert_eq!((answer, other.binds()), (Authentication::WrongCredentials, 1));
    let alone = self::directory(config([gone])).await;
    let error = alone.authenticate(DN, &password("x")).await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Connect(crate::ConnectErrorKind::Refused), "{error}");
    assert!(error.is_transient() && !error.is_outcome_unknown(), "{error}");
}

#[tokio::test]
async fn trap_07_binds_have_connections_of_their_own() {
    let fake = Fake::start(Then::Answer(0)).await;
    let directory = directory(config([fake.server.clone()])).await;
    for _ in 0..5 {
        directory.authenticate(DN, &password("x")).await.unwrap();
        // The directory's own connection asserts that it receives nothing but searches.
        directory.read("dc=x", &[]).await.unwrap();
    }
    assert_eq!((fake.binds(), fake.connections()), (5, 1), "one is kept for the next bind");
    // A search that needs a connection of its own does not get it: this server would count its bind.
    let pool = format!("{:?}", directory.pool());
    assert!(pool.contains("idle: Mutex { data: []"), "{pool}");
}

#[tokio::test]
async fn trap_08_a_connection_that_was_closed_meanwhile_is_replaced_before_the_bind() {
    let fake = Fake::start(Then::AnswerAndHangUp(0)).await;
    let directory = directory(config([fake.server.clone()])).await;
    for n in 1..=20 {
        let answer = directory.authenticate(DN, &password("x")).await.unwrap();
        assert!(matches!(answer, Authentication::Accepted(_)));
        // The end arrives after the answer.
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!((fake.binds(), fake.connections()), (n, n));
    }
}

#[tokio::test]
async fn trap_08_a_connection_is_not_idle_for_longer_than_the_limit() {
    let fake = Fake::start(Then::Answer(0)).await;
    let limit = Duration::from_millis(40);
    let directory = directory(config([fake.server.clone()]).user_binds(4, limit)).await;
    for round in 1..=2 {
        let password = password("x");
        let binds = (0..3).map(|_| directory.authenticate(DN, &password));
        for answer in futures(binds).await {
            answer.unwrap();
        }
        assert_eq!((fake.connections(), directory.shared.binds.idle_count()), (3 * round, 3));
        tokio::time::sleep(limit * 4).await;
        assert_eq!(directory.shared.binds.idle_count(), 0, "round {round}");
    }
    // 0: none is kept.
    let directory = self::directory(config([fake.server.clone()]).user_binds(4, Duration::ZERO)).await;
    directory.authenticate(DN, &password("x")).await.unwrap();
    assert_eq!(directory.shared.binds.idle_count(), 0);
}

/// Runs futures at once.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|cx| {
        for (one, done) in &mut all {
            if done.is_none()
                && let std::task::Poll::Ready(value) = one.as_mut().poll(cx)
            {
                *done = Some(value);
            }
        }
        if all.iter().all(|(_, done)| done.is_some()) {
            return std::task::Poll::Ready(());
        }
        std::task::Poll::Pending
    })
    .await;
    all.into_iter().filter_map(|(_, done)| done).collect()
}

#[tokio::test]
async fn the_number_of_connections_is_bounded() {
    let fake = Fake::start(Then::Hold).await;
    let config = config([fake.server.clone()]).user_binds(2, Duration::from_secs(1));
    let directory = directory(config.connect_timeout(Duration::from_millis(60))).await;
    let password = password("x");
    let answers = futures((0..4).map(|_| directory.authenticate(DN, &password))).await;
    let kinds: Vec<_> = answers.into_iter().map(|a| a.unwrap_err().kind()).collect();
    // Two were sent, and the others waited as long as for a connection.
    let (sent, full) =
        (crate::ErrorKind::Timeout, crate::ErrorKind::Connect(crate::ConnectErrorKind::Timeout));
    assert_eq!((kinds, fake.connections()), (vec![sent, sent, full, full], 2));
    // Their places are free again.
    *fake.then.lock().unwrap() = Then::Answer(0);
    for answer in futures((0..4).map(|_| directory.authenticate(DN, &password))).await {
        answer.unwrap();
    }
    assert_eq!(directory.shared.binds.idle_count(), 2);
}

#[tokio::test]
async fn trap_01_nothing_is_sent_without_a_dn() {
    let fake = Fake::start(Then::Answer(0)).await;
    let directory = directory(config([fake.server.clone()])).await;
    for dn in ["", "  "] {
        let error = directory.authenticate(dn, &password("x")).await.unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Protocol, "{error}");
        assert!(!error.is_outcome_unknown(), "{error}");
    }
    assert_eq!(fake.connections(), 0);
}
