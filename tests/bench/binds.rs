//! Bare binds: each client connects, binds as a random user with the right password, hangs up, and begins again.
//!
//! `rustc -O tests/bench/binds.rs`; `binds PORT CLIENTS SECONDS USERS BASE` prints the binds, and the 50th and 99th percentile of
//! their times in microseconds. `ldclt` makes the same binds and says no percentile; `service.py` compares both with logins.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A BER element whose contents are shorter than 128 octets (X.690 8.1.3.4).
fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    assert!(contents.len() < 128, "short form only");
    [&[tag, contents.len() as u8], contents].concat()
}

/// BindRequest with simple authentication (RFC 4511 4.2), message 1.
fn bind_request(dn: &str, password: &str) -> Vec<u8> {
    let parts = [element(0x02, &[3]), element(0x04, dn.as_bytes()), element(0x80, password.as_bytes())];
    element(0x30, &[element(0x02, &[1]), element(0x60, &parts.concat())].concat())
}

/// Connects and binds; whatever is not success ends the measurement.
fn bind(port: u16, request: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connection");
    stream.set_nodelay(true).expect("no delay");
    stream.write_all(request).expect("request");
    let mut answer = [0; 14];
    stream.read_exact(&mut answer).expect("answer");
    // 30 0c, 02 01 01, 61 07, 0a 01 00 …: resultCode 0.
    assert_eq!((answer[5], answer[9]), (0x61, 0), "bind refused: {answer:x?}");
}

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [port, clients, seconds, users, base] = &given[..] else { panic!("PORT CLIENTS SECONDS USERS BASE") };
    let (port, clients): (u16, u64) = (port.parse().expect("port"), clients.parse().expect("clients"));
    let (seconds, users): (u64, u64) = (seconds.parse().expect("seconds"), users.parse().expect("users"));
    let began = Instant::now();
    let until = began + Duration::from_secs(seconds);
    let threads: Vec<_> = (1..=clients)
        .map(|client| {
            let base = base.clone();
            std::thread::spawn(move || {
                let (mut random, mut times) = (client * 0x9E37_79B9_7F4A_7C15, Vec::new());
                while Instant::now() < until {
                    // xorshift: each client takes users of its own order.
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let user = random % users;
                    let request = bind_request(&format!("uid=u{user:06},{base}"), &format!("p{user:06}"));
                    let sent = Instant::now();
                    bind(port, &request);
                    times.push(sent.elapsed().as_micros());
                }
                times
            })
        })
        .collect();
    let mut times: Vec<u128> = threads.into_iter().flat_map(|t| t.join().expect("client")).collect();
    let took = began.elapsed();
    times.sort_unstable();
    let percentile = |p: usize| times[(times.len() * p / 100).min(times.len() - 1)];
    println!("{} {} {} {}", times.len(), took.as_micros(), percentile(50), percentile(99));
}
