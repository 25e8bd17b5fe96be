//! The client through which tests look at servers: `ldap3`, which shares no code with this project.

use std::collections::BTreeMap;

use ldap3::adapters::{Adapter, EntriesOnly, PagedResults};
use ldap3::controls::ManageDsaIt;
use ldap3::{LdapConn, Scope, SearchEntry};

use crate::ldif::{Attributes, Tree, normalize_dn};
use crate::server::Server;

/// Entries in a page. OpenLDAP's own limit for one answer is 500.
const PAGE: i32 = 400;
/// The matched base is not there (RFC 4511 section 4.1.9).
const NO_SUCH_OBJECT: u32 = 32;
/// A filter that every entry passes whose classes the user may see.
const ALL: &str = "(objectClass=*)";

/// A connection to a server, bound by a name and a password.
#[derive(Debug)]
pub struct Client(LdapConn);

/// An entry as a server returns it: attribute descriptions and the order of values are the server's.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The DN.
    pub dn: String,
    /// The values, by attribute description.
    pub attributes: BTreeMap<String, Vec<Vec<u8>>>,
}

impl Client {
    /// Connects and binds; panics when the server refuses it.
    #[track_caller]
    pub fn bind(uri: &str, dn: &str, password: &str) -> Client {
        let mut connection = LdapConn::new(uri).unwrap_or_else(|e| panic!("{uri}: {e}"));
        let bound = connection.simple_bind(dn, password).and_then(ldap3::LdapResult::success);
        bound.unwrap_or_else(|e| panic!("{uri}: bind as {dn}: {e}"));
        Client(connection)
    }

    /// Connects as the server's administrator.
    #[track_caller]
    pub fn admin(server: &Server) -> Client {
        Client::bind(&server.ldap_uri(), &server.admin_dn(), server.admin_password())
    }

    /// Returns the entries at and below a base that pass a filter, in the server's order. The search is paged, and has
    /// ManageDsaIT (RFC 3296): referrals are entries.
    ///
    /// # Errors
    /// The result code, when it is not success.
    pub fn search(&mut self, base: &str, filter: &str, attributes: &[&str]) -> Result<Vec<Entry>, u32> {
        let attributes: Vec<String> = attributes.iter().map(|&name| name.to_owned()).collect();
        let adapters: Vec<Box<dyn Adapter<_, _>>> =
            vec![Box::new(EntriesOnly::new()), Box::new(PagedResults::new(PAGE))];
        let found = self.0.with_controls(ManageDsaIt).streaming_search_with(
            adapters,
            base,
            Scope::Subtree,
            filter,
            attributes,
        );
        let mut found = found.unwrap_or_else(|e| panic!("{base}: {e}"));
        let mut entries = Vec::new();
        loop {
            match found.next() {
                Ok(Some(entry)) => entries.push(Entry::from(SearchEntry::construct(entry))),
                Ok(None) => break,
                Err(e) => panic!("{base}: {e}"),
            }
        }
        match found.result().rc {
            0 => Ok(entries),
            code => Err(code),
        }
    }

    /// Returns the entries at and below a base, by their normalized DN; none where the base is not there.
    #[track_caller]
    pub fn tree(&mut self, base: &str, attributes: &[&str]) -> Tree {
        match self.search(base, ALL, attributes) {
            Ok(entries) => tree(entries),
            Err(NO_SUCH_OBJECT) => Tree::new(),
            Err(code) => panic!("search below {base}: result code {code}"),
        }
    }

    /// Returns the values of one attribute of one entry, which is there.
    #[track_caller]
    pub fn values(&mut self, dn: &str, attribute: &str) -> Vec<Vec<u8>> {
        let found = self.0.search(dn, Scope::Base, ALL, [attribute]).and_then(ldap3::SearchResult::success);
        let (mut entries, _) = found.unwrap_or_else(|e| panic!("{dn}: {e}"));
        let entry = Entry::from(SearchEntry::construct(entries.pop().unwrap_or_else(|| panic!("no {dn}"))));
        entry
            .attributes
            .into_iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(attribute))
            .flat_map(|(_, v)| v)
            .collect()
    }

    /// Returns whether the server finds a value in an entry by the attribute's matching rule (RFC 4511 section 4.10).
    #[track_caller]
    pub fn compares(&mut self, dn: &str, attribute: &str, value: &[u8]) -> bool {
        let result = self.0.compare(dn, attribute, value).and_then(ldap3::result::CompareResult::equal);
        result.unwrap_or_else(|e| panic!("{dn}: {attribute}: {e}"))
    }
}

impl From<SearchEntry> for Entry {
    fn from(entry: SearchEntry) -> Entry {
        let texts = entry
            .attrs
            .into_iter()
            .map(|(name, values)| (name, values.into_iter().map(String::into_bytes).collect()));
        Entry { dn: entry.dn, attributes: texts.chain(entry.bin_attrs).collect() }
    }
}

/// The entries by their normalized DN, descriptions in lower case. Panics at a DN or a value that comes twice.
pub fn tree(entries: Vec<Entry>) -> Tree {
    let mut tree = Tree::new();
    for Entry { dn, attributes } in entries {
        let mut all = Attributes::new();
        for (name, values) in attributes {
            for value in values {
                let values = all.entry(name.to_ascii_lowercase()).or_default();
                assert!(values.insert(value), "a value of {name} twice in {dn}");
            }
        }
        assert!(tree.insert(normalize_dn(&dn), all).is_none(), "two entries {dn}");
    }
    tree
}
