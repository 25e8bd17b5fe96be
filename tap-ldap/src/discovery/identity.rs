//! The operational attributes that identify entries and mark their changes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ldap_directory::entry::Entry;
use ldap_directory::protocol::result_code;
use ldap_directory::schema::Schema;
use ldap_directory::{Directory, DirectoryError, MATCH_ALL, Paging, Scope, SearchRequest, Vendor};
use singer_common::operations::secret::is_secret_attribute;

use crate::config::TapConfig;
use crate::discovery::replication_keys;

/// Entries read below each base to find out which attributes the server maintains.
const SAMPLED: u32 = 100;

/// The operational attributes of every stream.
#[derive(Debug)]
pub struct IdentityAttributes {
    /// The immutable id, if the server has one.
    pub key: Option<String>,
    /// All operational attributes, the id first.
    pub operational: Vec<String>,
    /// The attributes that mark changes, the server's own first.
    pub change_keys: Vec<String>,
    /// The id of the base entry in base64; it differs between directories. Empty if it is not visible.
    pub base: String,
}

impl IdentityAttributes {
    /// Finds the attributes that this server maintains and the bound user may read, by the entries that have them. The base
    /// entry is not enough: it may be invisible, or older than a plug-in that maintains an attribute.
    ///
    /// # Errors
    /// Fails if the server does not answer.
    pub async fn find(config: &TapConfig, directory: &Directory, base: &str) -> Result<Self, DirectoryError> {
        let vendor = directory.root_dse().vendor;
        let schema = directory.schema();
        let wanted: Vec<&str> = vendor.immutable_ids().iter().chain(vendor.change_keys()).copied().collect();
        let base_entry = match directory.read(base, &wanted).await {
            // The empty DN is the root DSE (RFC 4512 section 5.1), which is not an entry of the directory.
            Ok(_) if base.is_empty() => Entry::default(),
            Ok(entry) => entry.unwrap_or_default(),
            Err(e) if e.code() == Some(result_code::INSUFFICIENT_ACCESS_RIGHTS) => Entry::default(),
            Err(e) => return Err(e),
        };
        let mut seen: Vec<&str> =
            wanted.iter().copied().filter(|name| base_entry.attribute(name).is_some()).collect();
        if !are_all_seen(vendor, &seen) {
            for base in bases(config, base) {
                sample_below(directory, base, &wanted, &mut seen).await?;
            }
        }
        let has = |name: &str| seen.iter().any(|s| s.eq_ignore_ascii_case(name));
        // Active Directory spells it `modifyTimeStamp`.
        let spelled = |name: &str| schema.canonical_name(name).to_owned();
        let key = vendor.immutable_ids().iter().copied().find(|name| has(name)).map(spelled);
        let change_keys: Vec<String> =
            replication_keys::available(vendor, vendor.change_keys(), has).into_iter().map(spelled).collect();
        let usual: Vec<String> = key.iter().chain(&change_keys).cloned().collect();
        let operational = match &config.operational_attributes {
            None => usual,
            Some(names) => configured(names, usual, schema),
        };
        let id = key.as_ref().and_then(|k| base_entry.values(k).first());
        let base = id.map(|v| BASE64.encode(v)).unwrap_or_default();
        Ok(Self { key, operational, change_keys, base })
    }
}

/// Returns the operational attributes that the setting `operational_attributes` asks for. The name of a secret attribute is
/// only a permission to read it; with secret names alone, the usual attributes stay.
fn configured(names: &[String], usual: Vec<String>, schema: &Schema) -> Vec<String> {
    let names = names.iter().map(|n| schema.canonical_name(n).to_owned());
    let (secrets, others): (Vec<String>, Vec<String>) = names.partition(|n| is_secret_attribute(n));
    let only_permissions = others.is_empty() && !secrets.is_empty();
    // A server returns an operational attribute only if it is requested (RFC 4511 section 4.5.1.8).
    let requested = secrets.into_iter().filter(|n| schema.is_operational(n));
    let chosen = if only_permissions { usual } else { others };
    chosen.into_iter().chain(requested).collect()
}

/// Returns whether further entries cannot show more attributes.
fn are_all_seen(vendor: Vendor, seen: &[&str]) -> bool {
    vendor.immutable_ids().first().is_some_and(|id| seen.contains(id))
        && vendor.change_keys().iter().all(|key| seen.contains(key))
}

/// Returns the bases of all streams.
fn bases<'c>(config: &'c TapConfig, base: &'c str) -> Vec<&'c str> {
    let own = config.schemas.iter().map(|stream| stream.base_dn.as_deref().unwrap_or(base));
    let mut bases: Vec<&str> = if config.schemas.is_empty() { vec![base] } else { own.collect() };
    bases.sort_unstable();
    bases.dedup();
    bases
}

/// Reads up to [`SAMPLED`] entries below a base and adds the attributes that they have to `seen`.
async fn sample_below<'w>(
    directory: &Directory,
    base: &str,
    wanted: &[&'w str],
    seen: &mut Vec<&'w str>,
) -> Result<(), DirectoryError> {
    let vendor = directory.root_dse().vendor;
    let mut request = SearchRequest::new(base, Scope::Subtree, MATCH_ALL, wanted);
    request.paging = Paging::AtMost(SAMPLED);
    let mut search = directory.search(request).await?;
    let mut read = 0;
    while read < SAMPLED && !are_all_seen(vendor, seen) {
        let entry = match search.next_entry().await {
            // A problem with this base is reported when its entries are read.
            Err(e) if e.code().is_some() => return Ok(()),
            entry => entry?,
        };
        let Some(entry) = entry else { return Ok(()) };
        for name in wanted {
            if !seen.contains(name) && entry.attribute(name).is_some() {
                seen.push(name);
            }
        }
        read += 1;
    }
    search.abandon().await
}
