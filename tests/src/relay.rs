//! Between a client and its server: what a request finds when somebody else was faster.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::fake::{Operation, Request, ber};

/// The number of ModifyRequest's tag (RFC 4511 section 4.6).
pub const MODIFY: u8 = 6;
/// The number of AddRequest's tag (RFC 4511 section 4.7).
pub const ADD: u8 = 8;

/// Passes on what comes, until the test's process ends.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    passed: Arc<Mutex<Passed>>,
}

/// What went to and fro.
#[derive(Debug, Default)]
struct Passed {
    requests: Vec<Request>,
    /// Whether it is an update, connection and messageID of what is not answered yet.
    outstanding: BTreeSet<(bool, usize, i64)>,
    most: Outstanding,
    connections: usize,
}

/// How many requests were outstanding at once, at most.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Outstanding {
    /// Of all kinds.
    pub requests: usize,
    /// Updates alone (RFC 4511 sections 4.6 to 4.9).
    pub updates: usize,
}

impl Passed {
    fn asked(&mut self, connection: usize, request: &Request) {
        let is_update = matches!(request.operation, Operation::Other(MODIFY..=12, _));
        if is_update || matches!(request.operation, Operation::Search(_)) {
            self.outstanding.insert((is_update, connection, request.id));
        }
        let updates = self.outstanding.iter().filter(|(is_update, ..)| *is_update).count();
        self.most.updates = self.most.updates.max(updates);
        self.most.requests = self.most.requests.max(self.outstanding.len());
        self.requests.push(request.clone());
    }

    fn answered(&mut self, connection: usize, id: i64) {
        self.outstanding.retain(|(_, of, asked)| (*of, *asked) != (connection, id));
    }
}

impl Relay {
    /// Listens on a free loopback port, for the server on another one. Each request is shown to `first` before it is
    /// passed on.
    pub fn start(server: u16, first: impl Fn(&Request) + Send + Sync + 'static) -> Relay {
        Self::slow(server, Duration::ZERO, first)
    }

    /// As [`Relay::start`], and each answer of a connection is passed on so long after the one before it.
    pub fn slow(server: u16, lag: Duration, first: impl Fn(&Request) + Send + Sync + 'static) -> Relay {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let relay = Relay { port: listener.local_addr().unwrap().port(), passed: Arc::default() };
        let (first, passed) = (Arc::new(first), relay.passed.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (first, passed) = (first.clone(), passed.clone());
                thread::spawn(move || pass(client, server, lag, &*first, &passed));
            }
        });
        relay
    }

    /// As [`Relay::start`], with `ahead` before each request of this tag: with its number, from 1, and one after another,
    /// whatever connection they come by.
    pub fn ahead_of(server: u16, tag: u8, ahead: impl Fn(usize) + Send + Sync + 'static) -> Relay {
        let count = Mutex::new(0);
        Relay::start(server, move |request| {
            if is_of(request, tag) {
                let mut number = count.lock().unwrap();
                *number += 1;
                ahead(*number);
            }
        })
    }

    /// `ldap://127.0.0.1:PORT`
    pub fn uri(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.passed.lock().unwrap().requests.clone()
    }

    /// How many requests were outstanding at once so far.
    pub fn most_outstanding(&self) -> Outstanding {
        self.passed.lock().unwrap().most
    }

    /// The requests of a tag so far.
    pub fn requests_of(&self, tag: u8) -> Vec<Request> {
        self.requests().into_iter().filter(|request| is_of(request, tag)).collect()
    }
}

fn is_of(request: &Request, tag: u8) -> bool {
    matches!(request.operation, Operation::Other(other, _) if other == tag)
}

fn pass(
    mut client: TcpStream,
    server: u16,
    lag: Duration,
    first: &dyn Fn(&Request),
    passed: &Arc<Mutex<Passed>>,
) {
    let connection = {
        let mut passed = passed.lock().unwrap();
        passed.connections += 1;
        passed.connections
    };
    let mut server = TcpStream::connect(("127.0.0.1", server)).unwrap();
    let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let answered = passed.clone();
    thread::spawn(move || {
        // Ends when either side goes away.
        while let Some(octets) = ber::read(&mut answers) {
            thread::sleep(lag);
            if let Some(id) = message_id(&octets) {
                answered.lock().unwrap().answered(connection, id);
            }
            if back.write_all(&octets).is_err() {
                break;
            }
        }
        let _ = back.shutdown(Shutdown::Both);
    });
    while let Some(octets) = ber::read(&mut client) {
        if let Some(request) = Request::parse(&octets) {
            first(&request);
            passed.lock().unwrap().asked(connection, &request);
        }
        if server.write_all(&octets).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}

fn message_id(message: &[u8]) -> Option<i64> {
    let (_, content, _) = ber::take(message)?;
    let (_, id, _) = ber::take(content)?;
    Some(ber::number(id))
}
