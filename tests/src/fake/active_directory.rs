//! A domain controller's two habits that Samba does not have: it gives at most 1,000 entries at a time, and at most 1,500
//! values of an attribute ([MS-ADTS] 3.1.1.3.4.6 MaxPageSize and MaxValRange, 3.1.1.3.1.3.3 range retrieval).

use super::ber::{integer, octets, parts, sequence, take};
use super::{Operation, Request, Role, Scope, Search, entry, message, reference, result};

/// The domain's naming context.
pub const SUFFIX: &str = "DC=ad,DC=example,DC=test";
const SCHEMA: &str = "CN=Aggregate,CN=Schema,CN=Configuration,DC=ad,DC=example,DC=test";
/// RFC 2696.
const PAGED: &str = "1.2.840.113556.1.4.319";
/// [MS-ADTS] 3.1.1.3.4.1.4: no references to other naming contexts.
const DOMAIN_SCOPE: &str = "1.2.840.113556.1.4.1339";
const SEARCH_DONE: u8 = 5;

/// An entry: names of attributes as they are spelled, and values.
pub type FakeEntry = (String, Vec<(String, Vec<Vec<u8>>)>);

/// Whether a search is one of those that are meant.
pub type Which = fn(&Search) -> bool;

/// A domain controller.
#[derive(Debug, Clone)]
pub struct ActiveDirectory {
    /// Parents first; the domain's own entry is the first.
    pub entries: Vec<FakeEntry>,
    /// MaxPageSize.
    pub page: usize,
    /// MaxValRange.
    pub range: usize,
    /// A continuation reference at the end of these searches.
    pub reference: Option<(String, Which)>,
}

/// An entry of one class; `objectGUID` is made of `id`.
pub fn object(dn: &str, class: &str, id: u32, more: &[(&str, Vec<Vec<u8>>)]) -> FakeEntry {
    let text = |t: &str| vec![t.as_bytes().to_vec()];
    let mut guid = vec![0; 12];
    guid.extend(id.to_be_bytes());
    let mut attributes = vec![
        ("objectClass".to_owned(), vec![b"top".to_vec(), class.as_bytes().to_vec()]),
        ("objectGUID".to_owned(), vec![guid]),
        ("distinguishedName".to_owned(), text(dn)),
    ];
    attributes.extend(more.iter().map(|(name, values)| ((*name).to_owned(), values.clone())));
    (dn.to_owned(), attributes)
}

impl ActiveDirectory {
    /// With a domain's own entry and these below it, and the limits that Windows comes with.
    pub fn new(entries: Vec<FakeEntry>) -> ActiveDirectory {
        let mut all = vec![object(SUFFIX, "domainDNS", 0, &[])];
        all.extend(entries);
        ActiveDirectory { entries: all, page: 1000, range: 1500, reference: None }
    }

    /// What a search finds, parents first.
    fn found(&self, search: &Search) -> Vec<&FakeEntry> {
        let base = search.base.to_lowercase();
        let in_scope = |dn: &str| {
            let dn = dn.to_lowercase();
            match search.scope {
                Scope::Base => dn == base,
                Scope::One => dn.split_once(',').is_some_and(|(_, above)| above == base),
                Scope::Sub => dn == base || dn.ends_with(&format!(",{base}")),
            }
        };
        self.entries
            .iter()
            .filter(|(dn, attributes)| {
                let values = |name: &str| -> &[Vec<u8>] {
                    attributes.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or(&[], |(_, v)| v)
                };
                in_scope(dn) && search.filter.passes(&values)
            })
            .collect()
    }

    /// An entry as it is sent: with the attributes asked for, the long ones in ranges.
    fn shown(&self, (dn, attributes): &FakeEntry, wanted: &[String]) -> Vec<u8> {
        let all = wanted.is_empty() || wanted.iter().any(|w| w == "*");
        let mut shown: Vec<(String, Vec<Vec<u8>>)> = Vec::new();
        for (name, values) in attributes {
            let mut by_range = wanted.iter().filter_map(|w| range_of(w, name));
            let asked = by_range.next();
            if asked.is_none() && !all && !wanted.iter().any(|w| w.eq_ignore_ascii_case(name)) {
                continue;
            }
            let (first, last) = asked.unwrap_or((0, None));
            if asked.is_none() && values.len() <= self.range {
                shown.push((name.clone(), values.clone()));
                continue;
            }
            let end = last.map_or(values.len(), |l| l + 1).min(first + self.range).min(values.len());
            let part = values.get(first..end).unwrap_or_default().to_vec();
            if part.is_empty() {
                continue;
            }
            let to = if end == values.len() { "*".to_owned() } else { (end - 1).to_string() };
            let given = (format!("{name};range={first}-{to}"), part);
            // What was asked for comes as well, without a value, unless that is what is given: now before, now after.
            let as_asked = wanted.iter().find(|w| range_of(w, name).is_some()).unwrap_or(name);
            let echo = (*as_asked != given.0).then(|| (as_asked.clone(), Vec::new()));
            if asked.is_some() {
                shown.extend(echo);
                shown.push(given);
            } else {
                shown.push(given);
                shown.extend(echo);
            }
        }
        entry(dn, &shown)
    }

    fn search(&self, request: &Request, search: &Search) -> Vec<Vec<u8>> {
        let id = request.id;
        let done = |code, text: &str| message(id, result(SEARCH_DONE, code, text), &[]);
        let one = |dn: &str, attributes: &[(&str, &[&str])]| {
            let attributes: Vec<(String, Vec<Vec<u8>>)> = attributes
                .iter()
                .map(|(n, values)| ((*n).to_owned(), values.iter().map(|v| v.as_bytes().to_vec()).collect()))
                .collect();
            vec![message(id, entry(dn, &attributes), &[]), done(0, "")]
        };
        if search.scope == Scope::Base && search.base.is_empty() {
            return one("", ROOT_DSE);
        }
        if search.scope == Scope::Base && search.base.eq_ignore_ascii_case(SCHEMA) {
            return one(SCHEMA, SUBSCHEMA);
        }
        if let Some(unknown) =
            request.controls.iter().find(|c| c.critical && ![PAGED, DOMAIN_SCOPE].contains(&c.oid.as_str()))
        {
            return vec![done(12, &format!("00000057: {}", unknown.oid))];
        }
        let base = search.base.to_lowercase();
        if !self.entries.iter().any(|(dn, _)| dn.to_lowercase() == base) {
            return vec![done(32, "0000208D: NameErr: DSID-03100245, problem 2001 (NO_OBJECT)")];
        }
        let found = self.found(search);
        let page = request.control(PAGED).and_then(|c| page_of(c.value.as_deref()?));
        let limit = if search.size_limit == 0 { usize::MAX } else { search.size_limit };
        let (from, wanted) = page.unwrap_or((0, limit));
        let to = found.len().min(from.saturating_add(wanted.min(self.page)));
        let mut answer: Vec<Vec<u8>> = found
            .get(from..to)
            .unwrap_or_default()
            .iter()
            .map(|e| message(id, self.shown(e, &search.attributes), &[]))
            .collect();
        let more = to < found.len();
        if let Some((url, is_met)) = &self.reference
            && !more
            && is_met(search)
        {
            answer.push(message(id, reference(url), &[]));
        }
        answer.push(match page {
            Some(_) => {
                let cookie = if more { to.to_string() } else { String::new() };
                let value = sequence(&[integer(0), octets(cookie.as_bytes())]);
                message(id, result(SEARCH_DONE, 0, ""), &[(PAGED, value)])
            }
            None if more => done(4, ""),
            None => done(0, ""),
        });
        answer
    }
}

impl Role for ActiveDirectory {
    fn answer(&self, request: &Request) -> Option<Vec<Vec<u8>>> {
        match &request.operation {
            Operation::Bind => Some(vec![message(request.id, result(1, 0, ""), &[])]),
            Operation::Search(search) => Some(self.search(request, search)),
            // Abandon has no answer; of the rest nothing is known.
            Operation::Other(16, _) => Some(Vec::new()),
            Operation::Unbind | Operation::Other(..) => None,
        }
    }
}

/// The range of `name` that `wanted` asks for: where it begins, and where it ends, if it does.
fn range_of(wanted: &str, name: &str) -> Option<(usize, Option<usize>)> {
    let (kind, range) = wanted.split_once(";range=")?;
    let (first, last) = range.split_once('-')?;
    kind.eq_ignore_ascii_case(name).then(|| (first.parse().unwrap(), last.parse().ok()))
}

/// Where a page begins (its cookie) and how long it may be (RFC 2696 section 2).
fn page_of(value: &[u8]) -> Option<(usize, usize)> {
    let (_, content, _) = take(value)?;
    let parts = parts(content)?;
    let [(_, size), (_, cookie)] = parts.as_slice() else { return None };
    let from = std::str::from_utf8(cookie).ok()?.parse().unwrap_or(0);
    Some((from, usize::try_from(super::ber::number(size)).ok()?))
}

const ROOT_DSE: &[(&str, &[&str])] = &[
    ("namingContexts", &[SUFFIX]),
    ("defaultNamingContext", &[SUFFIX]),
    ("subschemaSubentry", &[SCHEMA]),
    // LDAP_CAP_ACTIVE_DIRECTORY_OID.
    ("supportedCapabilities", &["1.2.840.113556.1.4.800"]),
    ("supportedControl", &[PAGED, DOMAIN_SCOPE]),
];

/// The few definitions that are needed, in the way Active Directory writes them: without EQUALITY, and its own syntaxes.
const SUBSCHEMA: &[(&str, &[&str])] = &[
    (
        "attributeTypes",
        &[
            "( 2.5.4.0 NAME 'objectClass' SYNTAX '1.3.6.1.4.1.1466.115.121.1.38' NO-USER-MODIFICATION )",
            "( 2.5.4.3 NAME 'cn' SYNTAX '1.3.6.1.4.1.1466.115.121.1.15' SINGLE-VALUE )",
            "( 2.5.4.11 NAME 'ou' SYNTAX '1.3.6.1.4.1.1466.115.121.1.15' )",
            "( 0.9.2342.19200300.100.1.25 NAME 'dc' SYNTAX '1.3.6.1.4.1.1466.115.121.1.15' SINGLE-VALUE )",
            "( 2.5.4.31 NAME 'member' SYNTAX '1.3.6.1.4.1.1466.115.121.1.12' )",
            "( 2.5.4.49 NAME 'distinguishedName' SYNTAX '1.3.6.1.4.1.1466.115.121.1.12' SINGLE-VALUE NO-USER-MODIFICATION )",
            "( 1.2.840.113556.1.4.2 NAME 'objectGUID' SYNTAX '1.3.6.1.4.1.1466.115.121.1.40' SINGLE-VALUE NO-USER-MODIFICATION )",
        ],
    ),
    (
        "objectClasses",
        &[
            "( 2.5.6.0 NAME 'top' ABSTRACT MUST (objectClass ) MAY (cn $ distinguishedName $ objectGUID ) )",
            "( 1.2.840.113556.1.5.67 NAME 'domainDNS' SUP top STRUCTURAL MUST (dc ) )",
            "( 2.5.6.5 NAME 'organizationalUnit' SUP top STRUCTURAL MUST (ou ) )",
            "( 1.2.840.113556.1.5.8 NAME 'group' SUP top STRUCTURAL MAY (member ) )",
            "( 1.2.840.113556.1.5.15 NAME 'contact' SUP top STRUCTURAL MUST (cn ) )",
        ],
    ),
];
