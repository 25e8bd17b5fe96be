//! Discovery mode: samples each stream of a directory and describes it in a catalog.

use std::collections::BTreeSet;

use ldap_directory::entry::base_type;
use ldap_directory::{Directory, DirectoryError};
use singer_common::operations::secret::is_secret_attribute;
use singer_common::singer::catalog::{Catalog, CatalogEntry};

use crate::config::TapConfig;
use crate::discovery::catalog::describe;
use crate::discovery::context::DirectoryContext;
use crate::discovery::doubles::Doubles;
use crate::discovery::identity::IdentityAttributes;
use crate::discovery::membership;
use crate::discovery::sample::{Occurrence, Sample};
use crate::discovery::source::Source;
use crate::discovery::streams::{StreamSource, entry_sources, membership_sources};
use crate::stream::sampling::sample;

/// A catalog and the samples that it was made from.
#[derive(Debug)]
pub struct Discovery {
    /// The streams, for Singer.
    pub catalog: Catalog,
    /// The sample of each stream, in the same order. Membership streams, which are last, have none.
    pub samples: Vec<Sample>,
}

/// Reads a sample of each stream and describes it.
///
/// # Errors
/// Fails if the server does not answer.
pub async fn discover(config: &TapConfig, context: &DirectoryContext) -> Result<Discovery, DirectoryError> {
    discover_with(config, context, None).await
}

/// Does the same, and also looks for doubles in the entries that it reads.
///
/// # Errors
/// Fails if the server does not answer.
pub async fn discover_with(
    config: &TapConfig,
    context: &DirectoryContext,
    mut doubles: Option<&mut Doubles>,
) -> Result<Discovery, DirectoryError> {
    let vendor = context.directory.root_dse().vendor;
    let mut streams = Vec::new();
    let mut samples = Vec::new();
    let mut memberships = Vec::new();
    let mut withheld = BTreeSet::new();
    let sources = entry_sources(config, context);
    for (stream, of_members) in sources.iter().zip(membership_sources(&sources)) {
        let sample = sample(config, context, &stream.source, doubles.as_deref_mut()).await?;
        let entry = describe(config, context, stream, &sample);
        warn_of_no_operational(stream, context, &sample);
        let occurs = |name: &&String| sample.occurrence(name).is_some() && !entry.is_property_selected(name);
        let secrets = entry.properties().map(|(name, _)| name).filter(|name| is_secret_attribute(name));
        withheld.extend(secrets.filter(occurs).cloned());
        if config.membership_streams && membership::has_groups(&sample, vendor) {
            memberships.push(membership::describe(&of_members.id, &of_members.name, entry.is_selected()));
        }
        streams.push(entry);
        samples.push(sample);
    }
    let is_file = matches!(context.directory, Directory::Ldif(_));
    warn_of_dn_keys(&streams, &samples, &context.ids, is_file);
    streams.extend(memberships);
    if !withheld.is_empty() {
        let names: Vec<String> = withheld.into_iter().collect();
        tracing::info!(
            "left out, for they may hold passwords or keys: {}; to read one, name it in `attributes` of its stream, or in `operational_attributes`",
            names.join(", ")
        );
    }
    Ok(Discovery { catalog: Catalog { streams }, samples })
}

/// Warns of streams with the key `dn` because entries have no immutable id. A rename changes the key of their records, and the
/// key changes once all entries have an id.
fn warn_of_dn_keys(streams: &[CatalogEntry], samples: &[Sample], ids: &IdentityAttributes, is_file: bool) {
    let Some(id) = &ids.key else { return };
    let has_dn_key = |stream: &CatalogEntry| stream.key_properties == ["dn"];
    let lacking = streams.iter().zip(samples).filter(|(stream, s)| s.without_id > 0 && has_dn_key(stream));
    let lacking: Vec<_> = lacking.collect();
    let Some((stream, sample)) = lacking.first() else { return };
    let more = match lacking.len() - 1 {
        0 => String::new(),
        more => format!("; {more} more streams are the same"),
    };
    let (stream, without_id) = (stream.stream.as_str(), sample.without_id);
    let first = sample.first_without_id.as_deref().unwrap_or_default();
    let advice =
        if is_file { "Export the entries with it" } else { "Give the bound user the right to read it there" };
    tracing::warn!(
        stream,
        without_id,
        first,
        streams = lacking.len(),
        "{stream}: key_properties is `dn`, because {without_id} of the {} entries looked at have no `{id}` (the first is `{first}`){more}. {advice}, or set key_properties, so that the key stays the same",
        sample.entries
    );
}

/// Warns if `+` (RFC 3673) returned no attribute because the server does not offer it.
fn warn_of_no_operational(stream: &StreamSource, context: &DirectoryContext, sample: &Sample) {
    let Source::Search(user) = &stream.source else { return };
    let schema = context.directory.schema();
    let named = |name: &str| {
        user.attributes.iter().chain(&context.ids.operational).any(|a| schema.same_description(a, name))
    };
    let was_returned = |o: &Occurrence| {
        let name = o.description.as_str();
        !named(name) && (schema.is_operational(name) || schema.attribute_type(base_type(name)).is_none())
    };
    if user.attributes.iter().chain(&context.ids.operational).any(|a| a == "+")
        && sample.entries > 0
        && !context.directory.root_dse().gives_all_operational()
        && !sample.attributes.iter().any(was_returned)
    {
        let name = &stream.name;
        tracing::warn!(
            setting = "schemas[].attributes",
            stream = name,
            "{name}: `attributes` asks for `+`, all operational attributes (RFC 3673), which this server does not offer: none came; name each of them"
        );
    }
}
