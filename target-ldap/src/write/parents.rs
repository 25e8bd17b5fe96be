//! Creates missing parents (`create_parents`).

use ldap_directory::change::Change;
use ldap_directory::dn::{Dn, split};
use ldap_directory::entry::{Attribute, Entry};
use ldap_directory::ldif::LdifRules;
use ldap_directory::protocol::result_code;
use ldap_directory::{DirectoryError, Vendor};

use super::applier::Applier;
use super::outcome::AttemptContext;

/// When missing parents are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ParentsMade {
    Never,
    AtOnce,
    /// Once no further record can give an entry their DN.
    Last,
}

/// The most parents that are created for one entry: a deeper DN is a mistake.
const MOST_PARENTS: usize = 100;

impl Applier {
    /// Makes a file accept entries without parents from now on, since none will be added. `false` for a server.
    pub fn takes_orphans(&self) -> bool {
        let rules = self.directory.ldif_rules();
        if let Some(rules) = rules {
            self.directory.set_ldif_rules(LdifRules { takes_orphans: true, ..rules });
        }
        rules.is_some()
    }

    /// Whether missing parents are created only once no further record can give an entry their DN.
    pub fn awaits_parents(&self) -> bool {
        self.parents_made == ParentsMade::Last
    }

    /// Whether missing parents are created in this attempt.
    pub(super) fn creates(&self, context: &AttemptContext) -> bool {
        match self.parents_made {
            ParentsMade::Never => false,
            ParentsMade::AtOnce => true,
            ParentsMade::Last => context.is_last_try,
        }
    }

    /// Whether an entry may have this DN: its parents exist, could be created, or are not needed.
    pub(super) async fn can_be_placed_at(
        &self,
        dn: &str,
        context: &AttemptContext,
    ) -> Result<bool, DirectoryError> {
        let takes_orphans = self.directory.ldif_rules().is_some_and(|rules| rules.takes_orphans);
        let creates = self.creates(context);
        if takes_orphans && !creates {
            return Ok(true);
        }
        let is_made = self.create_parents(dn, creates).await?;
        Ok(is_made || takes_orphans || context.is_last_try && self.takes_orphans())
    }

    /// Creates the missing parents of an entry. `false`: one of them cannot be created from its DN alone, or must not be.
    pub(super) async fn create_parents(&self, dn: &str, creates: bool) -> Result<bool, DirectoryError> {
        let _one_at_a_time = self.parents.lock().await;
        let Ok(parts) = split(dn) else { return Ok(false) };
        // From the nearest parent up, until one exists or can be added.
        let mut missing: Vec<Entry> = Vec::new();
        // Beyond this depth a parent exists, or there are too many to create.
        if let Some(far_up) = parts.get(MOST_PARENTS + 1..).filter(|far_up| !far_up.is_empty())
            && self.directory.read(&far_up.join(","), &["1.1"]).await?.is_none()
        {
            return Ok(false);
        }
        for above in 1..parts.len() {
            let name = parts.get(above..).unwrap_or_default().join(",");
            if self.directory.read(&name, &["1.1"]).await?.is_some() {
                break;
            }
            let Some(entry) = creates.then(|| self.parent_entry(&name)).flatten() else {
                return Ok(false);
            };
            match self.directory.apply(&Change::Add(entry.clone())).await {
                Ok(()) => {
                    tracing::info!("created the parent `{name}`");
                    break;
                }
                Err(e) if e.code() == Some(result_code::ENTRY_ALREADY_EXISTS) => break,
                Err(e) if e.is_no_such_object() && above + 1 < parts.len() => missing.push(entry),
                Err(e) => return Err(e),
            }
        }
        for entry in missing.into_iter().rev() {
            let name = entry.dn.clone();
            self.directory.apply(&Change::Add(entry)).await?;
            tracing::info!("created the parent `{name}`");
        }
        Ok(true)
    }

    /// Returns the entry that a DN fully determines.
    pub(super) fn parent_entry(&self, dn: &str) -> Option<Entry> {
        let name = Dn::parse(dn).ok()?;
        let [ava] = name.rdn()?.avas.as_slice() else { return None };
        let schema = self.directory.schema();
        let attribute = schema.canonical_name(&ava.attribute).to_ascii_lowercase();
        // RFC 4519 section 3, RFC 4524 section 3.4.
        let class = match attribute.as_str() {
            "ou" => "organizationalUnit",
            "dc" => "domain",
            "o" => "organization",
            "c" => "country",
            "l" | "st" => "locality",
            "cn" if self.directory.root_dse().vendor == Vendor::ActiveDirectory => "container",
            _ => return None,
        };
        Some(Entry {
            dn: dn.to_owned(),
            attributes: vec![
                Attribute::new("objectClass", vec![class.as_bytes().to_vec()]),
                Attribute::new(ava.attribute.clone(), vec![ava.value.clone()]),
            ],
        })
    }
}
