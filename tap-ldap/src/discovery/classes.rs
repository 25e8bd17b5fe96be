//! The structural classes of a directory, and the streams they make (`discover_by: object_class`).

use std::collections::BTreeSet;

use crate::discovery::containers::CLASS;
use crate::discovery::dn::is_root_dse;
use ldap_directory::MATCH_ALL;
use ldap_directory::filter::escape_value;
use ldap_directory::schema::{ClassKind, ObjectClass, Schema};
use ldap_directory::{Directory, DirectoryError, Paging, Scope, SearchRequest, Vendor};

/// The stream of entries without a structural class in the schema.
pub const UNCLASSIFIED_STREAM: &str = "unclassified";

/// The class of deleted entries on 389 DS, which keep their other classes. Directory Manager finds them by filters that
/// contain this class, even negated. They are not entries of the directory any more.
const OF_DELETED: &str = "nsTombstone";

/// Returns whether a class is that of deleted entries: it has no stream, and is in no filter.
fn is_of_deleted(class: &ObjectClass) -> bool {
    class.names.iter().any(|name| name.eq_ignore_ascii_case(OF_DELETED))
}

/// A class that is the structural class of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassStream {
    /// The class, as the schema spells it.
    pub class: String,
    /// The filter for entries with this structural class. Each entry matches one such filter.
    pub filter: String,
}

/// Finds the classes that occur below a base. Subclasses of a class without entries are skipped: an entry of a subclass is
/// also an entry of the class (RFC 4512 section 2.4).
pub async fn find(directory: &Directory, base: &str) -> Result<Vec<ClassStream>, DirectoryError> {
    let schema = directory.schema();
    let structural: Vec<&ObjectClass> = schema
        .object_classes()
        .iter()
        .filter(|c| c.kind == ClassKind::Structural && !is_of_deleted(c))
        .collect();
    let roots = structural.iter().filter(|c| superior(c, schema).is_none()).copied();
    let mut found = Vec::new();
    let mut top = Vec::new();
    let mut seen = BTreeSet::new();
    let mut queue: Vec<&ObjectClass> = roots.collect();
    // Whether a class occurs must be known before its subclasses are searched: otherwise there are too many searches.
    let mut index = 0;
    let mut occurring: Vec<(&ObjectClass, Vec<&ObjectClass>)> = Vec::new();
    while let Some(class) = queue.get(index).copied() {
        index += 1;
        if !seen.insert(class.oid.as_str()) || !occurs(directory, base, &is(class)).await? {
            continue;
        }
        occurring.push((class, Vec::new()));
        match superior(class, schema) {
            Some(above) => {
                if let Some((_, below)) = occurring.iter_mut().find(|(c, _)| c.oid == above.oid) {
                    below.push(class);
                }
            }
            None => top.push(class),
        }
        let children = structural.iter().filter(|c| superior(c, schema).is_some_and(|s| s.oid == class.oid));
        queue.extend(children.copied());
    }
    for (class, below) in &occurring {
        let filter = without(&is(class), below);
        if below.is_empty() || occurs(directory, base, &filter).await? {
            found.push(ClassStream { class: class.name().to_owned(), filter });
        }
    }
    // These two allow only one structural class and its superclasses in an entry (RFC 4512 section 2.4.2).
    if !matches!(directory.root_dse().vendor, Vendor::OpenLdap | Vendor::ActiveDirectory) {
        disjoint(directory, base, &mut found).await?;
    }
    let rest = without(MATCH_ALL, &top);
    if occurs(directory, base, &rest).await? {
        found.push(ClassStream { class: UNCLASSIFIED_STREAM.to_owned(), filter: rest });
    }
    Ok(found)
}

/// Entries in no class stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HiddenEntries {
    /// How many.
    pub count: u64,
    /// The DN of one of them.
    pub first: Option<String>,
}

/// The most entries that are checked one by one.
const MOST_SINGLE: usize = 1_000;

/// Finds entries that are in no class stream because the bound user may not see their classes: filters with classes, even
/// negated, are Undefined for them. One pass over the DNs.
pub async fn hidden_entries(
    directory: &Directory,
    base: &str,
    streams: &[ClassStream],
) -> Result<HiddenEntries, DirectoryError> {
    let any: String = streams.iter().map(|stream| stream.filter.as_str()).collect();
    let any = format!("(|{any})");
    let request = SearchRequest::new(base, Scope::Subtree, MATCH_ALL, &[CLASS]).repeating();
    let mut search = directory.search(request).await?;
    let (mut held, mut suspects, mut all, mut beginnings) = (0_u64, Vec::new(), 0_usize, 0);
    while let Some(entry) = search.next_entry().await? {
        if search.beginnings() != beginnings {
            beginnings = search.beginnings();
            (held, all) = (0, 0);
            suspects.clear();
        }
        if is_root_dse(directory, &entry.dn) {
            continue;
        }
        held += 1;
        if entry.values(CLASS).is_empty() {
            all += 1;
            if suspects.len() < MOST_SINGLE {
                suspects.push(entry.dn);
            }
        }
    }
    // A user who may not read the classes may still be allowed to search by them.
    let mut missed = HiddenEntries::default();
    if all > suspects.len() {
        let mut search = directory.search(SearchRequest::new(base, Scope::Subtree, any, &["1.1"])).await?;
        let mut found = 0_u64;
        while let Some(entry) = search.next_entry().await? {
            found += u64::from(!is_root_dse(directory, &entry.dn));
        }
        missed.count = held.saturating_sub(found);
        return Ok(missed);
    }
    for dn in suspects {
        let mut search =
            directory.search(SearchRequest::new(&*dn, Scope::Base, any.clone(), &["1.1"])).await?;
        let is_found = match search.next_entry().await {
            Err(e) if e.is_no_such_object() => false,
            found => found?.is_some(),
        };
        // It may have been deleted meanwhile.
        if !is_found && directory.read(&dn, &["1.1"]).await?.is_some() {
            missed.count += 1;
            missed.first.get_or_insert(dn);
        }
    }
    Ok(missed)
}

/// Assigns entries with several structural classes to the first of their streams, so that each entry is in one.
async fn disjoint(
    directory: &Directory,
    base: &str,
    found: &mut [ClassStream],
) -> Result<(), DirectoryError> {
    for at in 1..found.len() {
        let Some((earlier, [class, ..])) = found.split_at_mut_checked(at) else { break };
        let any = |of: &[&str]| format!("(|{})", of.concat());
        let filters: Vec<&str> = earlier.iter().map(|other| other.filter.as_str()).collect();
        if !occurs(directory, base, &format!("(&{}{})", class.filter, any(&filters))).await? {
            continue;
        }
        let mut shared = Vec::new();
        for other in filters {
            if occurs(directory, base, &format!("(&{}{other})", class.filter)).await? {
                shared.push(other);
            }
        }
        class.filter = format!("(&{}(!{}))", class.filter, any(&shared));
    }
    Ok(())
}

/// Returns the structural superclass of a class, if any.
fn superior<'s>(class: &ObjectClass, schema: &'s Schema) -> Option<&'s ObjectClass> {
    class.superiors.iter().filter_map(|s| schema.object_class(s)).find(|c| c.kind == ClassKind::Structural)
}

fn is(class: &ObjectClass) -> String {
    format!("(objectClass={})", escape_value(class.name().as_bytes()))
}

fn without(filter: &str, below: &[&ObjectClass]) -> String {
    if below.is_empty() {
        return filter.to_owned();
    }
    let not: Vec<String> = below.iter().map(|c| format!("(!{})", is(c))).collect();
    format!("(&{filter}{})", not.concat())
}

async fn occurs(directory: &Directory, base: &str, filter: &str) -> Result<bool, DirectoryError> {
    let mut request = SearchRequest::new(base, Scope::Subtree, filter, &["1.1"]);
    request.paging = Paging::AtMost(1);
    let mut search = directory.search(request).await?;
    let found = search.next_entry().await?.is_some();
    search.abandon().await?;
    Ok(found)
}
