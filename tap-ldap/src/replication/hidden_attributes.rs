//! Attributes that the bound user may not read, or that a file says it does not have: null in a record says that an entry has no value, by which a target removes what it has.
//!
//! Some entries are looked at before the stream is read. The property of an attribute that is hidden in one of them is left out of the
//! records of all entries that show no value of it.

use std::io::Write;

use ldap_directory::entry::{Entry, base_type};
use ldap_directory::schema::Schema;
use ldap_directory::unseen::{self, Hidden};
use ldap_directory::{Directory, DirectoryError, MATCH_ALL, Paging, Scope, SearchRequest, Vendor};

use singer_common::operations::facts::Facts;

use crate::discovery::containers;
use crate::discovery::membership::ATTRIBUTES;
use crate::discovery::source::Source;
use crate::output::{Interrupted, Output};
use crate::replication::stream_run::StreamRun;
use crate::stream::entries::{Entries, is_base_only};

/// The first entries of a stream, which are looked at.
const SAMPLED: u32 = 100;
/// Of a stream with more entries, and with several containers: the most containers, and the entries of each, that are looked at as well.
const MOST_CONTAINERS: u32 = 50;
const FEW: u32 = 3;
/// The streams with a warning of one attribute; of others the log has a line of the level `info`.
const WARNED: u64 = 10;
/// The attributes that a warning about a file names.
const NAMED: usize = 5;
/// Attributes that are hidden for a reason of their own ([`crate::replication::completeness`]).
const CLASSES: [&str; 2] = ["objectClass", "structuralObjectClass"];

/// Finds out which attributes of a stream are hidden, warns of them, and leaves their properties out where they would be null.
///
/// # Errors
/// A signal requested a stop.
pub(crate) async fn leave_out<W: Write>(
    run: &mut StreamRun<'_>,
    output: &mut Output<'_, W>,
) -> Result<(), Interrupted> {
    if run.context.directory.stated().is_some_and(|stated| !stated.has_all_attributes()) {
        leave_out_of_file(run, output);
        return Ok(());
    }
    let names = questionable(run);
    if names.is_empty() {
        return Ok(());
    }
    let stream = run.stream.stream.as_str();
    let is_membership = matches!(run.source, Source::Members(_));
    match output.or_stop(Box::pin(hidden(run, &names))).await? {
        Ok(hidden) => {
            for Hidden { dn, attribute } in hidden {
                let of_it = |name: &&String| base_type(name).eq_ignore_ascii_case(base_type(&attribute));
                for property in names.iter().filter(of_it) {
                    run.converter.leave_out_null(property);
                }
                run.hides_members |= is_membership;
                let streams = output.hidden.entry(attribute.clone()).or_default();
                *streams += 1;
                let facts = Facts {
                    stream: Some(stream.to_owned()),
                    attribute: Some(attribute.clone()),
                    dn: Some(dn.clone()),
                    ..Facts::of_setting("bind_dn")
                };
                let why = if is_membership {
                    "its members are missing among the records, and those that were emitted before stay downstream"
                } else {
                    "the property is left out of the records of entries that show no value, because null would say that they have none"
                };
                let text = format!(
                    "{stream}: the bound user may not read `{attribute}`, for example of `{dn}`: {why}"
                );
                // A directory may have thousands of streams.
                if *streams <= WARNED { facts.warn(&text) } else { facts.info(&text) }
            }
        }
        // The read of the stream has the same problem, and other ways to go on.
        Err(e) if e.code().is_none() => tracing::debug!(stream, "{stream}: no sample of its entries: {e}"),
        Err(e) => tracing::warn!(
            stream,
            "{stream}: whether the bound user may read all attributes could not be found out: {e}"
        ),
    }
    Ok(())
}

/// Warns of a group that has members, as its filter says, and shows none.
pub(crate) fn warn_of_group(run: &mut StreamRun<'_>, dn: &str) {
    if std::mem::replace(&mut run.hides_members, true) {
        return;
    }
    let stream = run.stream.stream.as_str();
    let facts =
        Facts { stream: Some(stream.to_owned()), dn: Some(dn.to_owned()), ..Facts::of_setting("bind_dn") };
    facts.warn(&format!(
        "{stream}: the bound user may not read the members of `{dn}`: they are missing among the records, and those that were emitted before stay downstream"
    ));
}

/// Leaves the properties out whose attributes a file says it does not have.
fn leave_out_of_file<W: Write>(run: &mut StreamRun<'_>, output: &mut Output<'_, W>) {
    let Some(stated) = run.context.directory.stated().filter(|_| !matches!(run.source, Source::Members(_)))
    else {
        return;
    };
    let schema = run.schema();
    let missing = |name: &str| stated.missing(name, schema).map(|line| (name.to_owned(), line));
    let missing: Vec<(String, u64)> = run.converter.properties().filter_map(missing).collect();
    for (property, _) in &missing {
        run.converter.leave_out_null(property);
    }
    let Some((first, line)) = missing.first() else { return };
    let stream = run.stream.stream.as_str();
    let is_first = output.hidden.is_empty();
    *output.hidden.entry(first.clone()).or_default() += 1;
    let facts = Facts {
        stream: Some(stream.to_owned()),
        attribute: Some(first.clone()),
        line: Some(*line),
        ..Facts::of_setting("server_url")
    };
    let names: Vec<String> = missing.iter().take(NAMED).map(|(name, _)| format!("`{name}`")).collect();
    let more = match missing.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let text = format!(
        "{stream}: line {line} of the file says that it does not have {}{more} of all entries: such a property is left out of the records of entries that show no value, because null would say that they have none",
        names.join(", ")
    );
    // It is the same for all streams.
    if is_first { facts.warn(&text) } else { facts.info(&text) }
}

/// Returns the properties whose attributes the bound user may have to be allowed to read.
fn questionable(run: &StreamRun<'_>) -> Vec<String> {
    let directory = &run.context.directory;
    if !matches!(directory, Directory::Ldap(_)) {
        return Vec::new();
    }
    let schema = directory.schema();
    if matches!(run.source, Source::Members(_)) {
        let known = ATTRIBUTES.iter().filter(|name| schema.attribute_type(name).is_some());
        return known.map(|name| (*name).to_owned()).collect();
    }
    let is_active_directory = directory.root_dse().vendor == Vendor::ActiveDirectory;
    // Active Directory computes some for each answer, and no filter matches them ([MS-ADTS] 3.1.1.4.5).
    let is_computed = |name: &str| {
        let is_maintained = schema.attribute_type(name).is_none_or(|known| known.no_user_modification);
        is_active_directory && (is_maintained || is_base_only(name))
    };
    let is_class = |name: &str| CLASSES.iter().any(|class| schema.same_description(class, name));
    let properties = run.converter.properties().filter(|name| !is_class(name) && !is_computed(name));
    properties.map(str::to_owned).collect()
}

/// Returns the hidden attributes of some entries of the stream.
async fn hidden(run: &StreamRun<'_>, names: &[String]) -> Result<Vec<Hidden>, DirectoryError> {
    let context = run.context;
    let schema = context.directory.schema();
    let ids = context.directory.root_dse().vendor.immutable_ids();
    let id = ids.iter().copied().find(|id| schema.attribute_type(id).is_some()).unwrap_or("entryUUID");
    // The records of memberships have other properties than the groups that they are made from.
    let (attributes, groups) = if matches!(run.source, Source::Members(_)) {
        (names.iter().cloned().chain([id.to_owned()]).collect(), Some(group_filter(schema)))
    } else {
        (run.attributes(&[id]), None)
    };
    let mut sample: Vec<Entry> = Vec::new();
    let filter = groups.as_deref().unwrap_or(MATCH_ALL);
    let paging = Paging::AtMost(SAMPLED);
    let mut entries =
        Entries::open_filtered(context, run.source, &attributes, paging, filter, Vec::new()).await?;
    let most = usize::try_from(SAMPLED).unwrap_or(usize::MAX);
    while sample.len() < most {
        match entries.next().await {
            Ok(Some(entry)) => sample.push(entry),
            Ok(None) => break,
            Err(e) if e.is_limit() => break,
            Err(e) => return Err(e),
        }
    }
    entries.discard_count();
    entries.close().await?;
    // The first entries of a large stream may all lie in one container, and rights differ by containers.
    let source = if let Source::Members(of) = run.source { of } else { run.source };
    let filter = match source {
        Source::Class { filter } => Some(filter),
        Source::Search(search) if search.scope == Scope::Subtree => Some(&search.filter),
        _ => None,
    };
    if let Some(filter) = filter.filter(|_| sample.len() >= most) {
        let filter = groups.map_or_else(|| filter.clone(), |groups| format!("(&{groups}{filter})"));
        sample_containers(run, &filter, &attributes, &mut sample).await?;
    }
    // One value says that an attribute is shown.
    sample.iter_mut().flat_map(|entry| &mut entry.attributes).for_each(|a| a.values.truncate(1));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    unseen::hidden_in_sample(&context.directory, run.base(), &sample, id, &names).await
}

/// Returns the filter for entries that may have members, by their classes: a hidden attribute matches no filter.
fn group_filter(schema: &Schema) -> String {
    let is_of = |names: &[String]| {
        names.iter().any(|name| ATTRIBUTES.iter().any(|a| schema.same_description(a, name)))
    };
    let classes = schema.object_classes().iter().filter(|class| is_of(&class.must) || is_of(&class.may));
    let parts = classes.map(|class| format!("(objectClass={})", class.name()));
    format!("(|{})", parts.collect::<String>())
}

/// Adds a few entries of each container below the base of the stream.
async fn sample_containers(
    run: &StreamRun<'_>,
    filter: &str,
    attributes: &[String],
    sample: &mut Vec<Entry>,
) -> Result<(), DirectoryError> {
    let directory = &run.context.directory;
    let is_container = containers::filter(directory.root_dse().vendor);
    let dn_alone = ["1.1".to_owned()];
    let place = (run.base(), Scope::Subtree);
    let all = some(directory, place, &is_container, &dn_alone, MOST_CONTAINERS).await?;
    for container in all {
        let few = some(directory, (&container.dn, Scope::OneLevel), filter, attributes, FEW).await?;
        let is_new = |entry: &Entry| sample.iter().all(|other| other.dn != entry.dn);
        let few: Vec<Entry> = few.into_iter().filter(is_new).collect();
        sample.extend(few);
    }
    Ok(())
}

/// Returns at most `most` entries, fewer if the server has a limit, none if it does not have the base.
async fn some(
    directory: &Directory,
    (base, scope): (&str, Scope),
    filter: &str,
    attributes: &[String],
    most: u32,
) -> Result<Vec<Entry>, DirectoryError> {
    let names: Vec<&str> = attributes.iter().map(String::as_str).collect();
    let request =
        SearchRequest { paging: Paging::Limited(most), ..SearchRequest::new(base, scope, filter, &names) };
    let mut found = Vec::new();
    let mut search = directory.search(request).await?;
    loop {
        match search.next_entry().await {
            Ok(Some(entry)) => found.push(entry),
            Ok(None) => return Ok(found),
            Err(e) if e.is_limit() || e.is_no_such_object() => return Ok(found),
            Err(e) => return Err(e),
        }
    }
}
