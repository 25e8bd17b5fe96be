//! From a host name to a TCP connection: the addresses of a name, and the first that answers.
//!
//! A name in Active Directory resolves to every domain controller. So each address has its own timeout, and the next one is tried while
//! one is silent (RFC 8305, "Happy Eyeballs"): an unreachable one does not use up the time of the others.

use crate::error::ConnectErrorKind;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, SockType};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::connect::Failure;
use crate::config::{DirectoryConfig, ServerUrl};
use crate::error::{DirectoryError, in_words};

/// The delay before the next address is tried in parallel (RFC 8305 section 5: "Connection Attempt Delay").
const STAGGER: Duration = Duration::from_millis(250);

/// Returns the addresses of a host, in the order in which the system's resolver prefers them.
///
/// # Errors
/// Fails if the name has none, or if there is no answer within `connect_timeout`.
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
    // The resolver of the C library supports more than DNS, but blocks.
    let asked = tokio::task::spawn_blocking(move || resolve(&name, port));
    match tokio::time::timeout(config.connect_timeout, asked).await {
        Ok(Ok(Ok(found))) if found.is_empty() => {
            Err(Failure::lasting(ConnectErrorKind::Resolve, &url, format!("`{host}` has no address")))
        }
        Ok(Ok(Ok(found))) => Ok(found),
        Ok(Ok(Err(error))) => Err(refused(&url, error)),
        Ok(Err(stopped)) => Err(Failure::lasting(ConnectErrorKind::Resolve, &url, stopped.to_string())),
        Err(_) => {
            let limit = in_words(config.connect_timeout);
            Err(Failure::passing(
                ConnectErrorKind::Resolve,
                &url,
                format!("the host name cannot be resolved (no answer within {limit}, connect timeout)"),
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

/// Returns why a name has no address. The resolver's code tells whether it is transient (RFC 3493 section 6.1).
fn refused(url: &str, error: LookupError) -> Failure {
    let passes = may_pass(error.kind());
    let error = std::io::Error::from(error);
    let reason = format!("the host name cannot be resolved ({error})");
    let failure = if passes {
        Failure::passing(ConnectErrorKind::Resolve, url, reason)
    } else {
        Failure::lasting(ConnectErrorKind::Resolve, url, reason)
    };
    failure.caused_by(error)
}

/// Returns whether the same name may have an address later: the resolver was unavailable, or this machine lacked resources.
fn may_pass(kind: LookupErrorKind) -> bool {
    matches!(
        kind,
        LookupErrorKind::Again | LookupErrorKind::Memory | LookupErrorKind::System | LookupErrorKind::IO
    )
}

/// The addresses of a server, tried in parallel.
pub(crate) struct Race {
    waiting: VecDeque<SocketAddr>,
    tried: JoinSet<(SocketAddr, Option<std::io::Result<TcpStream>>)>,
    limit: Duration,
}

impl Race {
    /// Returns a race of these addresses, each with its own timeout.
    pub(crate) fn of(addresses: Vec<SocketAddr>, limit: Duration) -> Race {
        Race { waiting: addresses.into(), tried: JoinSet::new(), limit }
    }

    /// Returns the next address with a result: it answers, it fails, or, with `None`, it was silent until its timeout. `None` once all
    /// are done.
    pub(crate) async fn next(&mut self) -> Option<(SocketAddr, Option<std::io::Result<TcpStream>>)> {
        loop {
            if self.tried.is_empty() {
                self.try_next()?;
            }
            let is_last = self.waiting.is_empty();
            tokio::select! {
                joined = self.tried.join_next() => {
                    // The task does not panic, and nothing else aborts it.
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

/// Combines the failures of all addresses of a server: a permanent one is preferred over a transient one, and each address is named
/// if there are several.
pub(crate) fn one_of(url: &str, mut failures: Vec<(SocketAddr, Failure)>) -> Failure {
    let curable = failures.iter().any(|(_, f)| f.curable);
    let reasons: Option<Vec<String>> = failures
        .iter()
        .map(|(address, failure)| match &failure.error {
            DirectoryError::Connect { reason, .. } => Some(format!("{address}: {reason}")),
            _ => None,
        })
        .collect();
    failures.sort_by_key(|(_, f)| f.curable);
    let Some((_, mut failure)) = failures.into_iter().next() else {
        return Failure::lasting(ConnectErrorKind::Resolve, url, "it has no address".to_owned());
    };
    if let (Some(reasons), DirectoryError::Connect { reason, lasting, .. }) = (reasons, &mut failure.error)
        && reasons.len() > 1
    {
        *reason = reasons.join("; ");
        *lasting = !curable;
        failure.curable = curable;
    }
    failure
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

    #[test]
    fn failures_of_several_addresses_keep_their_kind_and_their_cause() {
        let refused = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let failures = [1, 2].map(|port| {
            (SocketAddr::from(([127, 0, 0, 1], port)), Failure::of_io("ldap://localhost", refused()))
        });
        let error = one_of("ldap://localhost", failures.into()).error;
        assert_eq!(error.kind(), crate::ErrorKind::Connect(ConnectErrorKind::Refused));
        let text = error.to_string();
        assert!(text.contains("127.0.0.1:1") && text.contains("127.0.0.1:2"), "{text}");
        let cause =
            std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
        assert_eq!(cause.map(std::io::Error::kind), Some(std::io::ErrorKind::ConnectionRefused));
    }

    #[tokio::test]
    async fn a_silent_address_keeps_nobody_from_the_next() {
        // A listener with a full queue does not answer: its address is as silent as one behind a firewall.
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
        // The silent address is reported once its own timeout is over.
        let (address, reached) = race.next().await.unwrap();
        assert!(address == silent_at && reached.is_none());
        assert!(began.elapsed() >= Duration::from_secs(2) && race.next().await.is_none());

        let mut race = Race::of(vec![gone, at], Duration::from_secs(2));
        assert!(race.next().await.unwrap().1.unwrap().is_err());
        assert_eq!(race.next().await.unwrap().0, at);
    }
}
