//! The operational attributes that identify entries and mark their changes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::protocol::result_code;
use ldap_directory::schema::Schema;
use ldap_directory::{Directory, DirectoryError, MATCH_ALL, Paging, Scope, SearchRequest, Vendor, lookup};
use singer_common::operations::secret::is_secret_attribute;

use crate::config::TapConfig;
use crate::discovery::replication_keys;

pub(crate) const PASSWORD: &str = "userPassword";
/// The marks of disabled accounts: OpenLDAP with the overlay `ppolicy`, 389 Directory Server.
const LOCKS: [&str; 2] = ["pwdAccountLockedTime", "nsAccountLock"];
/// Entries read below each base to find out which attributes the server maintains.
const SAMPLED: u32 = 100;

/// The operational attributes of every stream.
#[derive(Debug)]
pub struct IdentityAttributes {
    /// The immutable id, if the server has one.
    pub key: Option<String>,
    /// All operational attributes, the id first.
    pub operational: Vec<String>,
    /// The marks of disabled accounts, if passwords are read.
    pub locks: Vec<String>,
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
        let mut operational = match &config.operational_attributes {
            None => usual,
            Some(names) => configured(names, usual, schema),
        };
        let mut locks = Vec::new();
        if names_password(config, schema) {
            locks = locks_of(config, directory, base).await?;
            operational.retain(|name| !locks.contains(name));
            operational.extend(locks.iter().cloned());
        }
        let id = key.as_ref().and_then(|k| base_entry.values(k).first());
        let base = id.map(|v| BASE64.encode(v)).unwrap_or_default();
        Ok(Self { key, operational, locks, change_keys, base })
    }

    /// Returns the marks of disabled accounts, for streams of a catalog that may have passwords though no setting names them.
    ///
    /// # Errors
    /// Fails if the server does not answer.
    pub(crate) async fn locks_of_passwords(
        &self,
        config: &TapConfig,
        directory: &Directory,
        base: &str,
    ) -> Result<Vec<String>, DirectoryError> {
        if names_password(config, directory.schema()) {
            return Ok(self.locks.clone());
        }
        locks_of(config, directory, base).await
    }
}

/// Returns whether a setting names the attribute of passwords.
fn names_password(config: &TapConfig, schema: &Schema) -> bool {
    let of_streams = config.schemas.iter().flat_map(|stream| &stream.attributes);
    let mut named = config.operational_attributes.iter().flatten().chain(of_streams);
    named.any(|name| schema.same_description(name, PASSWORD))
}

/// Returns the marks of disabled accounts that the directory has: who copies a password copies its lock. A file has those that occur.
async fn locks_of(
    config: &TapConfig,
    directory: &Directory,
    base: &str,
) -> Result<Vec<String>, DirectoryError> {
    let schema = directory.schema();
    let mut found = Vec::new();
    for lock in LOCKS.into_iter().filter(|lock| schema.is_operational(lock)) {
        let mut is_there = directory.root_dse().vendor != Vendor::Ldif;
        for base in bases(config, base) {
            let place = (base, Scope::Subtree);
            let filter = Filter::Present(lock.to_owned());
            is_there = is_there || !lookup::sample(directory, place, filter, &["1.1"], 1).await?.is_empty();
        }
        found.extend(is_there.then(|| schema.canonical_name(lock).to_owned()));
    }
    Ok(found)
}

/// Returns the operational attributes that the setting `operational_attributes` asks for. The name of a secret attribute, or of the mark of
/// a disabled account, is only a permission to read it; with such names alone, the usual attributes stay.
fn configured(names: &[String], usual: Vec<String>, schema: &Schema) -> Vec<String> {
    let names = names.iter().map(|n| schema.canonical_name(n).to_owned());
    let is_lock = |name: &str| LOCKS.iter().any(|lock| lock.eq_ignore_ascii_case(name));
    let (secrets, others): (Vec<String>, Vec<String>) =
        names.partition(|name| is_secret_attribute(name) || is_lock(name));
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
