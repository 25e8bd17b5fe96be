//! A load balancer: each connection leads to the next one of its servers, whatever the client wants.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::fake::{Operation, Request, ber};

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It is passed on.
    Pass,
    /// It is passed on later, and those behind it, too.
    Late(Duration),
    /// It is passed on, and the connection ends before its answer.
    Cut,
}

/// Such a balancer, until the test's process ends.
#[derive(Debug)]
pub struct Balancer {
    port: u16,
    updates: Arc<Mutex<BTreeMap<usize, usize>>>,
}

impl Balancer {
    /// Listens on a free loopback port, for servers on other ports. `act` decides about each request: the number of its connection, from
    /// 0, the request, and the number of updates of that connection so far, this one included.
    pub fn start(
        servers: &[u16],
        act: impl Fn(usize, &Request, usize) -> Act + Send + Sync + 'static,
    ) -> Balancer {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let balancer = Balancer { port: listener.local_addr().unwrap().port(), updates: Arc::default() };
        let (act, updates, servers) = (Arc::new(act), balancer.updates.clone(), servers.to_vec());
        thread::spawn(move || {
            for (connection, client) in listener.incoming().flatten().enumerate() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", servers[connection % servers.len()]))
                else {
                    continue;
                };
                let (act, updates) = (act.clone(), updates.clone());
                thread::spawn(move || pass(connection, client, server, &*act, &updates));
            }
        });
        balancer
    }

    /// `ldap://127.0.0.1:PORT`
    pub fn uri(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    /// How many updates (RFC 4511 sections 4.6 to 4.9) each connection carried that had any.
    pub fn updates(&self) -> BTreeMap<usize, usize> {
        self.updates.lock().unwrap().clone()
    }
}

fn pass(
    connection: usize,
    mut client: TcpStream,
    mut server: TcpStream,
    act: &dyn Fn(usize, &Request, usize) -> Act,
    updates: &Mutex<BTreeMap<usize, usize>>,
) {
    let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let is_cut = Arc::new(Mutex::new(false));
    let ended = is_cut.clone();
    thread::spawn(move || {
        // Ends when either side goes away.
        while let Some(octets) = ber::read(&mut answers) {
            if *ended.lock().unwrap() || back.write_all(&octets).is_err() {
                break;
            }
        }
        let _ = back.shutdown(Shutdown::Both);
    });
    while let Some(octets) = ber::read(&mut client) {
        let mut act_of_it = Act::Pass;
        if let Some(request) = Request::parse(&octets) {
            let mut count = 0;
            if matches!(request.operation, Operation::Other(6..=12, _)) {
                let mut updates = updates.lock().unwrap();
                let all = updates.entry(connection).or_default();
                *all += 1;
                count = *all;
            }
            act_of_it = act(connection, &request, count);
        }
        if let Act::Late(pause) = act_of_it {
            thread::sleep(pause);
        }
        if act_of_it == Act::Cut {
            // From here on no answer.
            *is_cut.lock().unwrap() = true;
        }
        if server.write_all(&octets).is_err() {
            break;
        }
        if act_of_it == Act::Cut {
            let _ = client.shutdown(Shutdown::Both);
            // The server finishes what it has.
            let _ = server.shutdown(Shutdown::Write);
            return;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}
