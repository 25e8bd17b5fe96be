//! A server with limits for the pages of a search (RFC 2696), or for all of it: what administrators of several vendors set.

use std::sync::Mutex;
use std::time::Duration;

use super::ber::{number, octets, sequence, take};
use super::{Operation, Request, Role, Scope, Search, ber, entry, message, result};

/// The naming context, whose entry is the first of every answer.
pub const SUFFIX: &str = "dc=x";
const PAGED_RESULTS: &str = "1.2.840.113556.1.4.319";
const SIZE_LIMIT_EXCEEDED: u8 = 4;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The size of the page; `None` without pages.
    pub size: Option<usize>,
    /// The number of entries on the pages before.
    pub from: usize,
}

/// The limit that a request meets: how many entries the server sends for it, and the result code after them.
pub type Limit = Box<dyn Fn(Asked) -> Option<(usize, u8)> + Send + Sync>;

/// A server of one naming context with entries below it.
pub struct Paging {
    count: usize,
    limit: Limit,
    delay: Duration,
    forgets: bool,
    ignores_size_limit: bool,
    silent_from: usize,
    failed: Mutex<bool>,
}

impl Paging {
    /// Returns a server with so many entries below its naming context, and this limit.
    pub fn new(count: usize, limit: impl Fn(Asked) -> Option<(usize, u8)> + Send + Sync + 'static) -> Paging {
        Paging {
            count,
            limit: Box::new(limit),
            delay: Duration::ZERO,
            forgets: false,
            ignores_size_limit: false,
            silent_from: usize::MAX,
            failed: Mutex::new(false),
        }
    }

    /// Pages take this long to begin.
    #[must_use]
    pub fn slow(self, delay: Duration) -> Paging {
        Paging { delay, ..self }
    }

    /// A page that fails ends the paged search: its cookies are refused (53).
    #[must_use]
    pub fn forgetful(self) -> Paging {
        Paging { forgets: true, ..self }
    }

    /// The sizeLimit of a request is not honored.
    #[must_use]
    pub fn generous(self) -> Paging {
        Paging { ignores_size_limit: true, ..self }
    }

    /// Something between drops the control of the answer, from the page with this entry on, which seems to be the last one then.
    #[must_use]
    pub fn silent_from(self, entry: usize) -> Paging {
        Paging { silent_from: entry, ..self }
    }

    fn search(&self, request: &Request, search: &Search) -> Vec<Vec<u8>> {
        let id = request.id;
        let done = |code| message(id, result(5, code, "as scripted"), &[]);
        let found: Vec<Vec<u8>> = (0..=self.count)
            .map(entry_at)
            .filter(|(dn, attributes)| {
                let values = |name: &str| {
                    attributes.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or(&[][..], |(_, v)| v)
                };
                is_in_scope(dn, search) && search.filter.passes(&values)
            })
            .map(|(dn, attributes)| message(id, entry(&dn, &attributes), &[]))
            .collect();
        if search.scope == Scope::Base {
            return found.into_iter().chain([done(0)]).collect();
        }
        let asked = asked(request);
        let is_forgotten = self.forgets && asked.from > 0 && *self.failed.lock().unwrap();
        if let Some((most, code)) = if is_forgotten { Some((0, 53)) } else { (self.limit)(asked) } {
            *self.failed.lock().unwrap() = true;
            return found.into_iter().skip(asked.from).take(most).chain([done(code)]).collect();
        }
        if asked.from == 0 {
            *self.failed.lock().unwrap() = false;
        }
        let Some(size) = asked.size else {
            let is_limited = !self.ignores_size_limit && (1..found.len()).contains(&search.size_limit);
            let most = if is_limited { search.size_limit } else { found.len() };
            let end = done(if is_limited { SIZE_LIMIT_EXCEEDED } else { 0 });
            return found.into_iter().take(most).chain([end]).collect();
        };
        std::thread::sleep(self.delay);
        let next = asked.from + size;
        let cookie = if next < found.len() { next.to_string() } else { String::new() };
        let value = sequence(&[ber::integer(0), octets(cookie.as_bytes())]);
        let is_silent = next > self.silent_from;
        let controls = [(PAGED_RESULTS, value)];
        let end = message(id, result(5, 0, ""), if is_silent { &[] } else { &controls });
        found.into_iter().skip(asked.from).take(size).chain([end]).collect()
    }
}

/// What a search asks for.
pub fn asked(request: &Request) -> Asked {
    let of_page = || {
        let (_, content, _) = take(request.control(PAGED_RESULTS)?.value.as_deref()?)?;
        let (_, size, rest) = take(content)?;
        let (_, cookie, _) = take(rest)?;
        let from = std::str::from_utf8(cookie).ok()?.parse().unwrap_or(0);
        Some(Asked { size: usize::try_from(number(size)).ok(), from })
    };
    of_page().unwrap_or(Asked { size: None, from: 0 })
}

/// The attributes of an entry, each with its values.
type Attributes = Vec<(String, Vec<Vec<u8>>)>;

fn entry_at(n: usize) -> (String, Attributes) {
    let texts = |pairs: &[(&str, &str)]| -> Attributes {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), vec![value.as_bytes().to_vec()])).collect()
    };
    match n {
        0 => (SUFFIX.to_owned(), texts(&[("objectClass", "domain"), ("dc", "x")])),
        n => (format!("cn={n},{SUFFIX}"), texts(&[("objectClass", "device"), ("cn", &n.to_string())])),
    }
}

fn is_in_scope(dn: &str, search: &Search) -> bool {
    let is_below = dn.ends_with(&format!(",{}", search.base));
    match search.scope {
        Scope::Base => dn == search.base,
        Scope::One => is_below,
        Scope::Sub => is_below || dn == search.base,
    }
}

impl Role for Paging {
    fn answer(&self, request: &Request) -> Option<Vec<Vec<u8>>> {
        match &request.operation {
            Operation::Bind => Some(vec![message(request.id, result(1, 0, ""), &[])]),
            Operation::Search(search) if search.base.is_empty() && search.scope == Scope::Base => {
                let root = [("namingContexts".to_owned(), vec![SUFFIX.as_bytes().to_vec()])];
                let done = message(request.id, result(5, 0, ""), &[]);
                Some(vec![message(request.id, entry("", &root), &[]), done])
            }
            Operation::Search(search) => Some(self.search(request, search)),
            Operation::Other(16, _) => Some(Vec::new()),
            Operation::Unbind | Operation::Other(..) => None,
        }
    }
}
