//! From a host name to a TCP connection: the addresses that a name stands for, and which of them answers.
//!
//! Active Directory's names stand for every domain controller. So each address has a time limit of its own, and the next one
//! is tried while one is silent (RFC 8305, "Happy Eyeballs"): one that is down does not use up the time of the others.

use crate::error::ConnectErrorKind;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, SockType};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::connect::Failure;
use crate::config::{DirectoryConfig, ServerUrl};
use crate::error::DirectoryError;

/// So long an address may be silent before the next one is tried beside it (RFC 8305 section 5: "Connection Attempt Delay").
const STAGGER: Duration = Duration::from_millis(250);

/// Returns the addresses of a host, in the order in which the system's resolver prefers them.
///
/// # Errors
/// Fails if the name has none, or if nobody says so within `connect_timeout`.
pub(crate) async fn lookup(
    config: &DirectoryConfig,
    server: &ServerUrl,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, Failure> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let url = server.to_text();
    let name = host.to_owned();
    // The resolver of the C library, which knows of more than DNS, waits for its answers.
    let asked = tokio::task::spawn_blocking(move || resolve(&name, port));
    match tokio::time::timeout(config.connect_timeout, asked).await {
        Ok(Ok(Ok(found))) if found.is_empty() => {
            Err(Failure::lasting(ConnectErrorKind::Resolve, &url, format!("`{host}` has no address")))
        }
        Ok(Ok(Ok(found))) => Ok(found),
        Ok(Ok(Err(error))) => Err(refused(&url, error)),
        Ok(Err(stopped)) => Err(Failure::lasting(ConnectErrorKind::Resolve, &url, stopped.to_string())),
        Err(_) => {
            let seconds = config.connect_timeout.as_secs();
            Err(Failure::passing(
                ConnectErrorKind::Resolve,
                &url,
                format!(
                    "the host name cannot be resolved (no answer within {seconds} s, connect_timeout_seconds)"
                ),
            ))
        }
    }
}

fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let found = dns_lookup::getaddrinfo(Some(host), None, Some(hints))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for info in found {
        let mut address = info.map_err(LookupError::from)?.sockaddr;
        address.set_port(port);
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// Why a name has no address. Whether that may pass is what the resolver says by its code (RFC 3493 section 6.1).
fn refused(url: &str, error: LookupError) -> Failure {
    let passes = may_pass(error.kind());
    let reason = format!("the host name cannot be resolved ({})", std::io::Error::from(error));
    if passes {
        Failure::passing(ConnectErrorKind::Resolve, url, reason)
    } else {
        Failure::lasting(ConnectErrorKind::Resolve, url, reason)
    }
}

/// Whether the same name may have an address a little later: nobody could be asked now, or this machine was short of
/// something.
fn may_pass(kind: LookupErrorKind) -> bool {
    matches!(
        kind,
        LookupErrorKind::Again | LookupErrorKind::Memory | LookupErrorKind::System | LookupErrorKind::IO
    )
}

/// The addresses of a server, tried one beside the other.
pub(crate) struct Race {
    waiting: VecDeque<SocketAddr>,
    tried: JoinSet<(SocketAddr, Option<std::io::Result<TcpStream>>)>,
    limit: Duration,
}

impl Race {
    /// Of these addresses, each of which has so much time.
    pub(crate) fn of(addresses: Vec<SocketAddr>, limit: Duration) -> Race {
        Race { waiting: addresses.into(), tried: JoinSet::new(), limit }
    }

    /// The next address of which something is known: that it answers, why it does not, or, with `None`, that it was silent for
    /// all of its time. `None` once nothing is left.
    pub(crate) async fn next(&mut self) -> Option<(SocketAddr, Option<std::io::Result<TcpStream>>)> {
        loop {
            if self.tried.is_empty() {
                self.try_next()?;
            }
            let is_last = self.waiting.is_empty();
            tokio::select! {
                joined = self.tried.join_next() => {
                    // Nothing of it panics, and nobody else stops it.
                    if let Some(Ok(known)) = joined {
                        return Some(known);
                    }
                }
                () = tokio::time::sleep(STAGGER), if !is_last => {
                    self.try_next();
                }
            }
        }
    }

    fn try_next(&mut self) -> Option<()> {
        let address = self.waiting.pop_front()?;
        let limit = self.limit;
        self.tried.spawn(async move {
            (address, tokio::time::timeout(limit, TcpStream::connect(address)).await.ok())
        });
        Some(())
    }
}

/// One failure of all addresses of a server: what no other attempt cures says more than what might pass, and each address is
/// named where they are several.
pub(crate) fn one_of(url: &str, mut failures: Vec<(SocketAddr, Failure)>) -> Failure {
    if failures.len() > 1 && failures.iter().all(|(_, f)| matches!(f.error, DirectoryError::Connect { .. })) {
        let curable = failures.iter().any(|(_, f)| f.curable);
        let reasons: Vec<String> = failures
            .into_iter()
            .map(|(address, failure)| match failure.error {
                DirectoryError::Connect { reason, .. } => format!("{address}: {reason}"),
                other => format!("{address}: {other}"),
            })
            .collect();
        let reason = reasons.join("; ");
        return if curable {
            Failure::passing(ConnectErrorKind::Resolve, url, reason)
        } else {
            Failure::lasting(ConnectErrorKind::Resolve, url, reason)
        };
    }
    failures.sort_by_key(|(_, f)| f.curable);
    let first = failures.into_iter().next();
    first.map_or_else(
        || Failure::lasting(ConnectErrorKind::Resolve, url, "it has no address".to_owned()),
        |(_, failure)| failure,
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;

    #[test]
    fn only_a_resolver_that_cannot_now_is_asked_again() {
        for (kind, passes) in [
            (LookupErrorKind::Again, true),
            (LookupErrorKind::NoName, false),
            (LookupErrorKind::NoData, false),
            (LookupErrorKind::Fail, false),
        ] {
            assert_eq!(may_pass(kind), passes, "{kind:?}");
        }
    }

    #[tokio::test]
    async fn a_silent_address_keeps_nobody_from_the_next() {
        // A listener whose queue is full answers nobody: its address is as silent as one behind a firewall.
        let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        silent.listen(0).unwrap();
        let silent_at = silent.local_addr().unwrap().as_socket().unwrap();
        let mut queue = Vec::new();
        for _ in 0..8 {
            let timeout = Duration::from_millis(50);
            queue.extend(std::net::TcpStream::connect_timeout(&silent_at, timeout));
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let gone = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        let at = listener.local_addr().unwrap();

        let began = Instant::now();
        let mut race = Race::of(vec![silent_at, at], Duration::from_secs(2));
        let (address, reached) = race.next().await.unwrap();
        assert_eq!(address, at);
        assert!(reached.unwrap().is_ok() && began.elapsed() < Duration::from_secs(1));
        // The silent one is known for what it is once its own time is over.
        let (address, reached) = race.next().await.unwrap();
        assert!(address == silent_at && reached.is_none());
        assert!(began.elapsed() >= Duration::from_secs(2) && race.next().await.is_none());

        let mut race = Race::of(vec![gone, at], Duration::from_secs(2));
        assert!(race.next().await.unwrap().1.unwrap().is_err());
        assert_eq!(race.next().await.unwrap().0, at);
    }
}
