//! Attributes that the bound user may not read: null in a record says that an entry has no value, by which a target removes what it has.
//!
//! Some entries are looked at before the stream is read. The property of an attribute that is hidden in one of them is left out of the
//! records of all entries that show no value of it.

use std::io::Write;

use ldap_directory::entry::{Entry, base_type};
use ldap_directory::unseen::{self, Hidden};
use ldap_directory::{Directory, DirectoryError, Paging, Scope, SearchRequest, Vendor};

use singer_common::operations::facts::Facts;

use crate::discovery::containers;
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
    let names = questionable(run);
    if names.is_empty() {
        return Ok(());
    }
    let stream = run.stream.stream.as_str();
    match output.or_stop(Box::pin(hidden(run, &names))).await? {
        Ok(hidden) => {
            for Hidden { dn, attribute } in hidden {
                let of_it = |name: &&String| base_type(name).eq_ignore_ascii_case(base_type(&attribute));
                for property in names.iter().filter(of_it) {
                    run.converter.leave_out_null(property);
                }
                let streams = output.hidden.entry(attribute.clone()).or_default();
                *streams += 1;
                let facts = Facts {
                    stream: Some(stream.to_owned()),
                    attribute: Some(attribute.clone()),
                    dn: Some(dn.clone()),
                    ..Facts::of_setting("bind_dn")
                };
                let text = format!(
                    "{stream}: the bound user may not read `{attribute}`, for example of `{dn}`: the property is left out of the records of entries that show no value, because null would say that they have none"
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

/// Returns the properties whose attributes the bound user may have to be allowed to read.
fn questionable(run: &StreamRun<'_>) -> Vec<String> {
    let directory = &run.context.directory;
    if !matches!(directory, Directory::Ldap(_)) || matches!(run.source, Source::Members(_)) {
        return Vec::new();
    }
    let schema = directory.schema();
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
    let attributes = run.attributes(&[id]);
    let mut sample: Vec<Entry> = Vec::new();
    let mut entries = Entries::open(context, run.source, &attributes, Paging::AtMost(SAMPLED)).await?;
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
    let filter = match run.source {
        Source::Class { filter } => Some(filter),
        Source::Search(search) if search.scope == Scope::Subtree => Some(&search.filter),
        _ => None,
    };
    if let Some(filter) = filter.filter(|_| sample.len() >= most) {
        sample_containers(run, filter, &attributes, &mut sample).await?;
    }
    // One value says that an attribute is shown.
    sample.iter_mut().flat_map(|entry| &mut entry.attributes).for_each(|a| a.values.truncate(1));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    unseen::hidden_in_sample(&context.directory, run.base(), &sample, id, &names).await
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
