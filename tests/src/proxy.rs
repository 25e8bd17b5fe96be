//! A server in between: it passes everything on, and does something of its own ahead of a client's write. So what happens
//! between a client's read and its write is no matter of luck.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::fake::{Operation, Request, ber};

/// The number of ModifyRequest's tag (RFC 4511 section 4.6).
pub const MODIFY: u8 = 6;
/// The number of AddRequest's tag (RFC 4511 section 4.7).
pub const ADD: u8 = 8;

/// A proxy, until the test ends.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Proxy {
    /// Listens on a free loopback port for a server on another. `ahead` is called before each request of this tag is passed
    /// on, with its number, from 1.
    pub fn start(server_port: u16, tag: u8, ahead: impl Fn(usize) + Send + Sync + 'static) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (seen, ahead) = (requests.clone(), Arc::new(ahead));
        let count = Arc::new(Mutex::new(0));
        // Ends with the test's process: a listener cannot be woken up.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", server_port)).unwrap();
                for stream in [&client, &server] {
                    stream.set_nodelay(true).unwrap();
                }
                let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || {
                    let mut octets = [0; 16 * 1024];
                    while let Ok(length @ 1..) = from.read(&mut octets) {
                        if to.write_all(&octets[..length]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(Shutdown::Both);
                });
                let (seen, ahead, count) = (seen.clone(), ahead.clone(), count.clone());
                thread::spawn(move || pass(client, server, tag, &seen, &*ahead, &count));
            }
        });
        Proxy { port, requests }
    }

    /// `ldap://127.0.0.1:PORT`
    pub fn uri(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    /// The requests of a tag so far.
    pub fn requests(&self, tag: u8) -> Vec<Request> {
        let all = self.requests.lock().unwrap();
        all.iter().filter(|r| matches!(r.operation, Operation::Other(t, _) if t == tag)).cloned().collect()
    }
}

fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    tag: u8,
    seen: &Mutex<Vec<Request>>,
    ahead: &dyn Fn(usize),
    count: &Mutex<usize>,
) {
    while let Some(octets) = ber::read(&mut client) {
        if let Some(request) = Request::parse(&octets) {
            if matches!(request.operation, Operation::Other(t, _) if t == tag) {
                // One after another, whatever connection they come by.
                let mut number = count.lock().unwrap();
                *number += 1;
                ahead(*number);
            }
            seen.lock().unwrap().push(request);
        }
        if server.write_all(&octets).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}
