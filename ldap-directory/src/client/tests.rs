//! Tests of a directory against a server in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::connect::ActiveServer;
use super::connection::Connection;
use super::shared_connection::SharedConnection;
use super::*;
use crate::change::{Modification, ModificationKind};
use crate::config::DirectoryConfig;
use crate::protocol::message::{SEARCH_REQUEST, envelope, frame, head};

/// What the server does with a request that is not a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Hold,
    HangUp,
}

/// Answers every search with nothing, and counts other requests.
async fn serve(mut stream: DuplexStream, then: Then, others: Arc<AtomicUsize>) {
    let mut inbox = Vec::new();
    loop {
        while let Some(at) = frame(&inbox).ok().filter(|at| at.end <= inbox.len()) {
            let message: Vec<u8> = inbox.drain(..at.end).skip(at.start).collect();
            let head = head(&message).unwrap();
            if head.tag == SEARCH_REQUEST {
                let id = i32::try_from(head.id).unwrap();
                let done = envelope(id, b"\x65\x07\x0a\x01\x00\x04\x00\x04\x00", &[]);
                stream.write_all(&done).await.unwrap();
                continue;
            }
            others.fetch_add(1, Ordering::Relaxed);
            if then == Then::HangUp {
                return;
            }
        }
        if stream.read_buf(&mut inbox).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

/// Returns a directory on such a server, which has no successor, and the count of its requests that are no searches.
async fn directory(access: Access, then: Then) -> (LdapDirectory, Arc<AtomicUsize>) {
    let server = ServerUrl::parse("ldap://127.0.0.1:1").unwrap();
    let config = DirectoryConfig::new([server.clone()])
        .operation_timeout(Duration::from_millis(200))
        .retry(1, Duration::from_millis(1));
    let (client, stream) = tokio::io::duplex(1 << 20);
    let others = Arc::new(AtomicUsize::new(0));
    tokio::spawn(serve(stream, then, others.clone()));
    let session = SharedConnection::start(Connection::over_stream(client), &config);
    let link = ActiveServer { session, server, address: None, number: 0, server_id: Vec::new() };
    (LdapDirectory::over(&config, access, link).await.unwrap(), others)
}

fn modify() -> Change {
    let changes = vec![Modification::new(ModificationKind::Replace, "sn", vec![b"a".to_vec()])];
    Change::Modify { dn: "cn=x".into(), changes }
}

#[tokio::test]
async fn what_was_opened_for_reading_sends_no_change() {
    let (directory, others) = directory(Access::Read, Then::HangUp).await;
    let errors = [
        directory.apply_with(&modify(), &[]).await.unwrap_err(),
        directory.set_password("cn=x", &Secret::new("p")).await.unwrap_err(),
        directory.delete_tree("cn=x").await.unwrap_err(),
        directory.commit().unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), crate::ErrorKind::ReadOnly, "{error}");
    }
    assert_eq!(others.load(Ordering::Relaxed), 0);
    // A preview is changed in memory only.
    let preview = crate::Directory::Ldap(directory).preview();
    let entry = Entry { dn: "cn=x".into(), attributes: Vec::new() };
    preview.apply(&Change::Add(entry)).await.unwrap();
    preview.commit().unwrap();
    assert_eq!(others.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_change_without_an_answer_is_not_said_to_be_transient() {
    for (then, kind) in [(Then::Hold, crate::ErrorKind::Timeout), (Then::HangUp, crate::ErrorKind::Lost)] {
        let (directory, others) = directory(Access::WRITE, then).await;
        let error = directory.apply_with(&modify(), &[]).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.is_outcome_unknown() && !error.is_transient(), "{error}");
        assert_eq!(others.load(Ordering::Relaxed), 1, "{error}");
        // The connection is gone: no further change is sent, and that is known.
        if then == Then::HangUp {
            let error = directory.apply_with(&modify(), &[]).await.unwrap_err();
            assert!(!error.is_outcome_unknown() && error.is_transient(), "{error}");
        }
        let (other, _) = self::directory(Access::WRITE, then).await;
        let error = other.set_password("cn=x", &Secret::new("p")).await.unwrap_err();
        assert!(error.is_outcome_unknown() && !error.is_transient(), "{error}");
    }
}

#[tokio::test]
async fn a_read_without_an_answer_is_transient() {
    let (client, _server) = tokio::io::duplex(1 << 20);
    let config = DirectoryConfig::new([]).operation_timeout(Duration::from_millis(20));
    let session = SharedConnection::start(Connection::over_stream(client), &config);
    let server = ServerUrl::parse("ldap://127.0.0.1:1").unwrap();
    let link = ActiveServer { session, server, address: None, number: 0, server_id: Vec::new() };
    let error = LdapDirectory::over(&config, Access::Read, link).await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Timeout);
    assert!(error.is_transient() && !error.is_outcome_unknown(), "{error}");
    assert!(error.to_string().contains("within 20 ms"), "{error}");
}

#[tokio::test]
async fn no_timeout_is_too_long() {
    let (directory, _) = directory(Access::Read, Then::Hold).await;
    assert!(connection::deadline(Duration::MAX) > tokio::time::Instant::now());
    drop(directory);
}

#[tokio::test]
async fn at_most_no_entries_are_none_and_nothing_is_sent() {
    let (client, _server) = tokio::io::duplex(1 << 20);
    let (directory, _) = directory(Access::Read, Then::Hold).await;
    // Whoever asks this server has no answer in time.
    let session = SharedConnection::start(Connection::over_stream(client), directory.config());
    let link = ActiveServer { session, ..ActiveServer::clone(&directory.link()) };
    *directory.shared.link.write().unwrap() = Arc::new(link);
    let limited = |limit| {
        let mut request = SearchRequest::new("dc=x", Scope::Subtree, MATCH_ALL, &[]);
        request.paging = crate::Paging::Limited(limit);
        directory.search(request)
    };
    assert!(limited(1).next().await.is_err());
    assert!(limited(0).next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_connection_that_ends_during_the_bind_is_an_error_of_the_network() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1]).await;
        }
    });
    let server = ServerUrl::parse(&format!("ldap://127.0.0.1:{port}")).unwrap();
    let config = DirectoryConfig::new([server]).retry(0, Duration::ZERO);
    let error = LdapDirectory::open(&config, Access::Read).await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Connect(crate::ConnectErrorKind::Network), "{error}");
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn a_filter_that_is_too_deep_is_not_sent() {
    let (directory, _) = directory(Access::Read, Then::Hold).await;
    let deep = || (0..5_000).fold(Filter::Present("cn".into()), |inner, _| Filter::Not(Box::new(inner)));
    for scope in [Scope::Base, Scope::Subtree] {
        let mut search = directory.search(SearchRequest::new("dc=x", scope, deep(), &[]));
        assert_eq!(search.next().await.unwrap_err().kind(), crate::ErrorKind::Protocol);
    }
    // The connection still serves others.
    assert!(directory.read("dc=x", &[]).await.unwrap().is_none());
}
