//! Reads samples of a stream: for discovery, and to choose a replication key.

use ldap_directory::{DirectoryError, Paging, Vendor};

use crate::config::TapConfig;
use crate::discovery::context::DirectoryContext;
use crate::discovery::doubles::Doubles;
use crate::discovery::sample::Sample;
use crate::discovery::source::Source;
use crate::stream::entries::Entries;

/// Entries read to choose a replication key.
const SAMPLED: u32 = 100;

/// Reads up to `discovery_sample_size` entries of a stream with all their attributes. `doubles`: receives them, too.
///
/// # Errors
/// Fails if the server does not answer.
pub async fn sample(
    config: &TapConfig,
    context: &DirectoryContext,
    source: &Source,
    mut doubles: Option<&mut Doubles>,
) -> Result<Sample, DirectoryError> {
    let ids = &context.ids;
    let mut attributes = vec!["objectClass".to_owned()];
    match source {
        Source::Search(stream) if !stream.attributes.is_empty() => {
            attributes.extend(stream.attributes.clone());
        }
        // `ref` is operational on OpenLDAP, and is the point of referral entries (RFC 3296).
        _ => attributes.extend(["*".to_owned(), "ref".to_owned()]),
    }
    attributes.extend(ids.operational.iter().cloned());
    let mut sample = Sample::default();
    // A file is in memory: all of it is read, so the sample is complete.
    let is_file = context.directory.root_dse().vendor == Vendor::Ldif;
    let most = config.sample_size.filter(|_| !is_file);
    let limit = most.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let paging = limit.map_or(Paging::Configured, Paging::AtMost);
    let mut entries = Entries::open(context, source, &attributes, paging).await?;
    while most.is_none_or(|n| sample.entries < n) {
        let Some(entry) = entries.next().await? else {
            sample.complete = true;
            break;
        };
        sample.add(&entry, ids, context.directory.schema());
        if let Some(doubles) = &mut doubles {
            doubles.add(&entry, context.directory.schema());
        }
    }
    entries.close().await?;
    Ok(sample)
}

/// Returns the best replication key of a stream, by some of its entries.
///
/// # Errors
/// Fails if the server does not answer.
pub async fn change_key(
    context: &DirectoryContext,
    source: &Source,
) -> Result<Option<String>, DirectoryError> {
    let ids = &context.ids;
    let mut sample = Sample::default();
    let mut entries = Entries::open(context, source, &ids.change_keys, Paging::AtMost(SAMPLED)).await?;
    while sample.entries < u64::from(SAMPLED) {
        let Some(entry) = entries.next().await? else { break };
        sample.add(&entry, ids, context.directory.schema());
    }
    entries.close().await?;
    Ok(sample.change_key(context.directory.root_dse().vendor, ids).cloned())
}
