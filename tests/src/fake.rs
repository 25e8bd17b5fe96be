//! A directory server that is none: it reads LDAP requests (RFC 4511) off a loopback port and gives the answers of a
//! [`Role`]: for what no server that we can run does. The roles know requests, [`ber`] knows octets, and nothing here knows
//! the pair's own code.

use std::io::Write as _;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

pub mod active_directory;
pub mod ber;
pub mod paging;
pub mod plain;
pub mod provider;
mod request;

pub use request::{Control, Filter, Operation, Request, Scope, Search};

use ber::{Tag, integer, octets, sequence, tagged};

/// How a server behaves.
pub trait Role: Send + Sync + 'static {
    /// The answer to a request: whole LDAPMessages, as they go over the wire. What is no LDAPMessage goes, too. `None`
    /// closes the connection.
    fn answer(&self, request: &Request) -> Option<Vec<Vec<u8>>>;

    /// A message that is sent in place of an answer, again and again, as long as the client takes it.
    fn endless(&self, _: &Request) -> Option<Vec<u8>> {
        None
    }
}

/// A server with a role, until it is dropped.
#[derive(Debug)]
pub struct Fake {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl Fake {
    /// Listens on a free loopback port.
    pub fn start(role: impl Role) -> Fake {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let fake = Fake { port, requests: Arc::default(), connections: Arc::default() };
        let (role, requests, connections) = (Arc::new(role), fake.requests.clone(), fake.connections.clone());
        // Ends with the test's process: a listener cannot be woken up.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.lock().unwrap().extend(stream.try_clone());
                let (role, requests) = (role.clone(), requests.clone());
                thread::spawn(move || serve(stream, &*role, &requests));
            }
        });
        fake
    }

    /// `ldap://127.0.0.1:PORT`
    pub fn uri(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    /// Every request so far, in the order they came.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The searches among them.
    pub fn searches(&self) -> Vec<Search> {
        let requests = self.requests().into_iter();
        let search =
            |r: Request| if let Operation::Search(search) = r.operation { Some(search) } else { None };
        requests.filter_map(search).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        for stream in self.connections.lock().unwrap().iter() {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn serve(mut stream: TcpStream, role: &dyn Role, requests: &Mutex<Vec<Request>>) {
    // An answer is many small messages: without this some wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    // A client that goes away, or sends what is no request, ends the connection, and the test sees what it sees.
    while let Some(request) = ber::read(&mut stream).as_deref().and_then(Request::parse) {
        requests.lock().unwrap().push(request.clone());
        if matches!(request.operation, Operation::Unbind) {
            break;
        }
        if let Some(message) = role.endless(&request) {
            let many = message.repeat(1 + (64 << 10) / message.len());
            while stream.write_all(&many).is_ok() {}
            break;
        }
        let Some(messages) = role.answer(&request) else { break };
        if stream.write_all(&messages.concat()).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// An LDAPMessage with this operation and these controls, each an OID and a value.
pub fn message(id: i64, operation: Vec<u8>, controls: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut parts = vec![integer(id), operation];
    if !controls.is_empty() {
        let controls: Vec<Vec<u8>> =
            controls.iter().map(|(oid, value)| sequence(&[octets(oid.as_bytes()), octets(value)])).collect();
        parts.push(tagged(Tag::context(0).constructed(), &controls.concat()));
    }
    sequence(&parts)
}

/// An LDAPResult (RFC 4511 section 4.1.9) under the tag of its operation: 1 bind, 5 search, 24 extended.
pub fn result(application: u8, code: u8, text: &str) -> Vec<u8> {
    let parts = [tagged(Tag::ENUMERATED, &[code]), octets(b""), octets(text.as_bytes())];
    tagged(Tag::application(application).constructed(), &parts.concat())
}

/// A SearchResultEntry (RFC 4511 section 4.5.2).
pub fn entry(dn: &str, attributes: &[(String, Vec<Vec<u8>>)]) -> Vec<u8> {
    entry_of(dn.as_bytes(), attributes)
}

/// The same with a name that need not be UTF-8.
pub fn entry_of(dn: &[u8], attributes: &[(String, Vec<Vec<u8>>)]) -> Vec<u8> {
    let attributes: Vec<Vec<u8>> = attributes
        .iter()
        .map(|(description, values)| {
            let values: Vec<Vec<u8>> = values.iter().map(|v| octets(v)).collect();
            sequence(&[octets(description.as_bytes()), tagged(Tag::SET, &values.concat())])
        })
        .collect();
    let parts = [octets(dn), sequence(&attributes)];
    tagged(Tag::application(4).constructed(), &parts.concat())
}

/// A SearchResultReference (RFC 4511 section 4.5.3).
pub fn reference(url: &str) -> Vec<u8> {
    tagged(Tag::application(19).constructed(), &octets(url.as_bytes()))
}
