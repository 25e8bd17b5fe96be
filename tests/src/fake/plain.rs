//! A server without a schema, whose few entries are given as octets: for names and descriptions that no server we can run
//! has, or gives in that way.

use super::{Operation, Request, Role, Scope, Search, entry_of, message, result};

/// An attribute: its description as the server spells it, and its values.
pub type Attribute = (&'static str, &'static [&'static str]);

/// An entry.
#[derive(Debug, Clone)]
pub struct PlainEntry {
    /// Its name, which need not be UTF-8.
    pub dn: &'static [u8],
    /// What it has.
    pub attributes: Vec<Attribute>,
    /// What it has and gives only to who asks for it by name, or for `+`.
    pub operational: Vec<Attribute>,
}

/// An entry without operational attributes.
pub fn plain(dn: &'static [u8], attributes: &[Attribute]) -> PlainEntry {
    PlainEntry { dn, attributes: attributes.to_vec(), operational: Vec::new() }
}

/// A server that gives a description only to who asks for that very one (or for `*`), with the naming context `dc=x`.
#[derive(Debug, Clone)]
pub struct Plain {
    /// Its entries; the base is the first.
    pub entries: Vec<PlainEntry>,
    /// What the root DSE has.
    pub root_dse: Vec<Attribute>,
}

impl Plain {
    /// With these entries below `dc=x`.
    pub fn new(entries: Vec<PlainEntry>) -> Plain {
        let mut all = vec![plain(b"dc=x", &[("objectClass", &["domain"]), ("dc", &["x"])])];
        all.extend(entries);
        Plain { entries: all, root_dse: vec![("namingContexts", &["dc=x"])] }
    }

    fn search(&self, id: i64, search: &Search) -> Vec<Vec<u8>> {
        let base = search.base.as_bytes();
        if base.is_empty() && search.scope == Scope::Base {
            return vec![message(id, entry_of(b"", &owned(&self.root_dse)), &[]), done(id, 0)];
        }
        if !self.entries.iter().any(|e| e.dn == base) {
            return vec![done(id, 32)];
        }
        let is_below = |dn: &[u8]| dn.strip_suffix(base).is_some_and(|head| head.ends_with(b","));
        let is_child = |dn: &[u8]| is_below(dn) && !dn[..dn.len() - base.len() - 1].contains(&b',');
        let is_in_scope = |dn: &[u8]| match search.scope {
            Scope::Base => dn == base,
            Scope::One => is_child(dn),
            Scope::Sub => dn == base || is_below(dn),
        };
        let asks = |name: &str| search.attributes.iter().any(|a| a.eq_ignore_ascii_case(name));
        let mut answer = Vec::new();
        for entry in self.entries.iter().filter(|e| is_in_scope(e.dn)) {
            let all = owned(&entry.attributes);
            let values = |name: &str| {
                all.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or(&[][..], |(_, v)| v)
            };
            if !search.filter.passes(&values) {
                continue;
            }
            let user = search.attributes.is_empty() || asks("*");
            let mut given: Vec<_> = all.iter().filter(|(name, _)| user || asks(name)).cloned().collect();
            given.extend(owned(&entry.operational).into_iter().filter(|(name, _)| asks("+") || asks(name)));
            answer.push(message(id, entry_of(entry.dn, &given), &[]));
        }
        answer.push(done(id, 0));
        answer
    }
}

fn owned(attributes: &[Attribute]) -> Vec<(String, Vec<Vec<u8>>)> {
    let octets = |values: &[&str]| values.iter().map(|v| v.as_bytes().to_vec()).collect();
    attributes.iter().map(|(name, values)| ((*name).to_owned(), octets(values))).collect()
}

fn done(id: i64, code: u8) -> Vec<u8> {
    message(id, result(5, code, ""), &[])
}

impl Role for Plain {
    fn answer(&self, request: &Request) -> Option<Vec<Vec<u8>>> {
        match &request.operation {
            Operation::Bind => Some(vec![message(request.id, result(1, 0, ""), &[])]),
            Operation::Search(search) => Some(self.search(request.id, search)),
            Operation::Other(16, _) => Some(Vec::new()),
            // An extended operation that it does not know (RFC 4511 section 4.12).
            Operation::Other(23, _) => Some(vec![message(request.id, result(24, 2, ""), &[])]),
            Operation::Unbind | Operation::Other(..) => None,
        }
    }
}
