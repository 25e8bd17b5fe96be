//! Between a client and its server: what a request finds when somebody else was faster.

use std::io::Write as _;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::fake::{Operation, Request, ber};

/// The number of ModifyRequest's tag (RFC 4511 section 4.6).
pub const MODIFY: u8 = 6;
/// The number of AddRequest's tag (RFC 4511 section 4.7).
pub const ADD: u8 = 8;

/// Passes on what comes, until the test's process ends.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Relay {
    /// Listens on a free loopback port, for the server on another one. Each request is shown to `first` before it is
    /// passed on.
    pub fn start(server: u16, first: impl Fn(&Request) + Send + Sync + 'static) -> Relay {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let relay = Relay { port: listener.local_addr().unwrap().port(), requests: Arc::default() };
        let (first, requests) = (Arc::new(first), relay.requests.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (first, requests) = (first.clone(), requests.clone());
                thread::spawn(move || pass(client, server, &*first, &requests));
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
        self.requests.lock().unwrap().clone()
    }

    /// The requests of a tag so far.
    pub fn requests_of(&self, tag: u8) -> Vec<Request> {
        self.requests().into_iter().filter(|request| is_of(request, tag)).collect()
    }
}

fn is_of(request: &Request, tag: u8) -> bool {
    matches!(request.operation, Operation::Other(other, _) if other == tag)
}

fn pass(mut client: TcpStream, server: u16, first: &dyn Fn(&Request), requests: &Mutex<Vec<Request>>) {
    let mut server = TcpStream::connect(("127.0.0.1", server)).unwrap();
    let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    thread::spawn(move || {
        // Ends when either side goes away.
        let _ = std::io::copy(&mut answers, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    while let Some(octets) = ber::read(&mut client) {
        if let Some(request) = Request::parse(&octets) {
            first(&request);
            requests.lock().unwrap().push(request);
        }
        if server.write_all(&octets).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}
