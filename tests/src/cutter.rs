//! A faulty network: a proxy that cuts, delays or alters a connection after a number of octets in one direction.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Which octets are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Requests.
    ToServer,
    /// Answers.
    ToClient,
}

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// All connections end.
    Cut,
    /// Nothing more comes in the direction that is counted; the other stays open.
    HalfClose,
    /// The next octet is another one.
    Corrupt,
}

#[derive(Debug, Default)]
struct Count {
    /// Octets that went by, on all connections together.
    passed: usize,
    /// Where to cut next: the last one is the next.
    cuts: Vec<usize>,
    made: usize,
    open: Vec<TcpStream>,
    octets: Vec<u8>,
}

/// Such a network, in front of a server, until the test's process ends.
#[derive(Debug)]
pub struct Cutter {
    port: u16,
    count: Arc<Mutex<Count>>,
}

impl Cutter {
    /// Listens on a free loopback port for a server on another one, and cuts after so many octets, each time.
    pub fn start(server: u16, way: Way, cuts: &[usize]) -> Cutter {
        Cutter::with(server, way, cuts, Fault::Cut)
    }

    /// The same with another fault.
    pub fn with(server: u16, way: Way, cuts: &[usize], fault: Fault) -> Cutter {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut cuts = cuts.to_vec();
        cuts.sort_unstable_by(|a, b| b.cmp(a));
        let count = Arc::new(Mutex::new(Count { cuts, ..Count::default() }));
        let shared = count.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A server that is down is what a client sees of it: a connection that ends at once.
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                for stream in [&client, &server] {
                    stream.set_nodelay(true).unwrap();
                }
                shared
                    .lock()
                    .unwrap()
                    .open
                    .extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                for (from, to, is_counted) in [
                    (client.try_clone().unwrap(), server.try_clone().unwrap(), way == Way::ToServer),
                    (server, client, way == Way::ToClient),
                ] {
                    let count = shared.clone();
                    thread::spawn(move || pass(from, to, is_counted.then_some(&*count), fault));
                }
            }
        });
        Cutter { port, count }
    }

    /// `ldap://127.0.0.1:PORT`
    pub fn uri(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How often it cut.
    pub fn cuts(&self) -> usize {
        self.count.lock().unwrap().made
    }

    /// The octets that went by, in the direction that is counted.
    pub fn octets(&self) -> Vec<u8> {
        self.count.lock().unwrap().octets.clone()
    }

    /// How many octets went by, in the direction that is counted.
    pub fn passed(&self) -> usize {
        self.count.lock().unwrap().passed
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, count: Option<&Mutex<Count>>, fault: Fault) {
    let mut octets = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut octets) {
        if let Some(count) = count {
            let mut count = count.lock().unwrap();
            let before = count.passed;
            count.passed += length;
            count.octets.extend_from_slice(&octets[..length]);
            if let Some(at) = count.cuts.pop_if(|at| *at < before + length) {
                let at = at.saturating_sub(before);
                count.made += 1;
                match fault {
                    Fault::Corrupt => octets[at] ^= 0x55,
                    Fault::HalfClose => {
                        let _ = to.write_all(&octets[..at]);
                        break;
                    }
                    Fault::Cut => {
                        let _ = to.write_all(&octets[..at]);
                        for stream in count.open.drain(..) {
                            let _ = stream.shutdown(Shutdown::Both);
                        }
                        return;
                    }
                }
            }
        }
        if to.write_all(&octets[..length]).is_err() {
            break;
        }
    }
    // The other direction ends by itself.
    let _ = to.shutdown(Shutdown::Write);
}
