//! A server that offers content synchronisation (RFC 4533) and answers it with a script: for what slapd and 389 DS never
//! say, or hardly ever.

use std::sync::Mutex;

use super::ber::{Tag, octets, sequence, tagged};
use super::{Operation, Request, Role, Scope, entry, message, reference, result};

/// The naming context.
pub const SUFFIX: &str = "dc=example,dc=test";
/// Sync Request Control (RFC 4533 section 2.2).
pub const SYNC_REQUEST: &str = "1.3.6.1.4.1.4203.1.9.1.1";
/// Sync State Control (RFC 4533 section 2.3).
pub const SYNC_STATE: &str = "1.3.6.1.4.1.4203.1.9.1.2";
const SYNC_DONE: &str = "1.3.6.1.4.1.4203.1.9.1.3";
const SYNC_INFO: &str = "1.3.6.1.4.1.4203.1.9.1.4";
const SEARCH_DONE: u8 = 5;

/// The answer to one synchronisation: given the request's id, the octets that go over the wire.
pub type Answer = Box<dyn Fn(i64) -> Vec<Vec<u8>> + Send + Sync>;

/// A provider. Each synchronisation gets the next answer; after the last one it gets that again. Other searches find its
/// entries.
pub struct Provider {
    answers: Vec<Answer>,
    asked: Mutex<usize>,
    entries: Vec<(u8, &'static str)>,
    reference: Option<&'static str>,
}

impl Provider {
    /// With these entries, by the ends of their UUIDs and their names, and these answers.
    pub fn new(entries: &[(u8, &'static str)], answers: Vec<Answer>) -> Provider {
        Provider { answers, asked: Mutex::new(0), entries: entries.to_vec(), reference: None }
    }

    /// A continuation reference at the end of what its entries are searched by.
    pub fn referring(mut self, url: &'static str) -> Provider {
        self.reference = Some(url);
        self
    }
}

impl Role for Provider {
    fn answer(&self, request: &Request) -> Option<Vec<Vec<u8>>> {
        let id = request.id;
        match &request.operation {
            Operation::Bind => Some(vec![message(id, result(1, 0, ""), &[])]),
            Operation::Search(_) if request.control(SYNC_REQUEST).is_some() => {
                let mut asked = self.asked.lock().unwrap();
                let answer = self.answers.get(*asked).or(self.answers.last()).unwrap();
                *asked += 1;
                Some(answer(id))
            }
            Operation::Search(search) if search.scope == Scope::Sub => {
                let mut answer: Vec<Vec<u8>> =
                    self.entries.iter().map(|(n, name)| message(id, account(*n, name), &[])).collect();
                answer.extend(self.reference.map(|url| message(id, reference(url), &[])));
                answer.push(done(id, 0));
                Some(answer)
            }
            Operation::Search(search) => {
                let found = match search.base.as_str() {
                    "" => Some(entry("", &texts(ROOT_DSE))),
                    SUFFIX => Some(entry(SUFFIX, &texts(BASE))),
                    // The schema cannot be read: the standard one will do.
                    _ => None,
                };
                let mut answer: Vec<Vec<u8>> = found.into_iter().map(|e| message(id, e, &[])).collect();
                answer.push(done(id, 0));
                Some(answer)
            }
            Operation::Other(16, _) => Some(Vec::new()),
            Operation::Unbind | Operation::Other(..) => None,
        }
    }
}

const ROOT_DSE: &[(&str, &str)] =
    &[("objectClass", "OpenLDAProotDSE"), ("namingContexts", SUFFIX), ("supportedControl", SYNC_REQUEST)];
const BASE: &[(&str, &str)] =
    &[("objectClass", "domain"), ("dc", "example"), ("entryUUID", "00000000-0000-0000-0000-000000000000")];

fn texts(attributes: &[(&str, &str)]) -> Vec<(String, Vec<Vec<u8>>)> {
    attributes.iter().map(|(n, v)| ((*n).to_owned(), vec![v.as_bytes().to_vec()])).collect()
}

/// A sync UUID that ends with this octet, and the `entryUUID` that it is.
pub fn uuid(n: u8) -> ([u8; 16], String) {
    let mut octets = [0; 16];
    octets[15] = n;
    (octets, format!("00000000-0000-0000-0000-0000000000{n:02x}"))
}

/// An entry that changed, `uid=NAME`, with its Sync State Control: 0 present, 1 add, 2 modify, 3 delete.
pub fn changed(id: i64, state: u8, n: u8, name: &str) -> Vec<u8> {
    let (octets_of, _) = uuid(n);
    let value = sequence(&[tagged(Tag::ENUMERATED, &[state]), octets(&octets_of)]);
    message(id, account(n, name), &[(SYNC_STATE, value)])
}

fn account(n: u8, name: &str) -> Vec<u8> {
    let attributes = texts(&[("objectClass", "account"), ("uid", name), ("entryUUID", &uuid(n).1)]);
    entry(&format!("uid={name},{SUFFIX}"), &attributes)
}

/// The end of a search, with this result code.
pub fn done(id: i64, code: u8) -> Vec<u8> {
    message(id, result(SEARCH_DONE, code, "as scripted"), &[])
}

/// The end of a refresh: the Sync Done Control with a cookie, and whether deletions were named.
pub fn sync_done(id: i64, cookie: &str, refresh_deletes: bool) -> Vec<u8> {
    let value = sequence(&[octets(cookie.as_bytes()), boolean(refresh_deletes)]);
    message(id, result(SEARCH_DONE, 0, ""), &[(SYNC_DONE, value)])
}

/// A Sync Info Message: 0 newcookie, 1 refreshDelete, 2 refreshPresent, 3 syncIdSet; its content is `parts`.
pub fn info(id: i64, choice: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let tag = if choice == 0 { Tag::context(0) } else { Tag::context(choice).constructed() };
    let value = tagged(tag, &parts.concat());
    let operation = [tagged(Tag::context(0), SYNC_INFO.as_bytes()), tagged(Tag::context(1), &value)];
    message(id, tagged(Tag::application(25).constructed(), &operation.concat()), &[])
}

/// A syncIdSet of these.
pub fn id_set(id: i64, deleted: bool, of: &[u8]) -> Vec<u8> {
    let set: Vec<Vec<u8>> = of.iter().map(|n| octets(&uuid(*n).0)).collect();
    info(id, 3, &[boolean(deleted), tagged(Tag::SET, &set.concat())])
}

/// A BOOLEAN.
pub fn boolean(value: bool) -> Vec<u8> {
    tagged(Tag::BOOLEAN, &[if value { 0xff } else { 0 }])
}
