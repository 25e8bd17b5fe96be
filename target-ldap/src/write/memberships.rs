//! The members of groups that rows name (`membership`): single values are added and taken away, in one modification for each group.
//!
//! [`new_group`] adds a group, and [`empty`] knows what becomes of one without members. [`sending`] sends the changes, and finds out which value a refusal is about.
//! [`scope`] reads the groups of which a version takes members away. [`primary`] knows the members that no group has a value for.

use std::collections::HashSet;
use std::sync::Arc;

use ldap_directory::change::ModificationKind;
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::{DirectoryError, Vendor};
use rustc_hash::FxHashSet;

use super::applier::{ATTEMPTS, Applier};
use super::readable::Unreadable;
use super::references::DeferredReference;
use super::removal::LimitReached;
use crate::map::MembershipPolicy;
use crate::rules::names::hash;
use crate::rules::rule::EmptyGroup;
use sending::{Of, Sent, Step};

mod empty;
mod new_group;
mod primary;
mod scope;
mod sending;

pub(super) use primary::rid;
pub use scope::{ScopedGroup, members_in_scope, with_members};

/// What rows want of one attribute of one group.
#[derive(Debug)]
pub struct WantedMembers {
    /// The DN of the group.
    pub dn: String,
    /// Its key.
    pub key: DnKey,
    /// The attribute.
    pub attribute: String,
    /// The members, each once.
    pub members: Vec<WantedMember>,
    /// How the group is changed.
    pub policy: Arc<MembershipPolicy>,
    /// With ACTIVATE_VERSION: the members that stay; all others are taken away.
    pub kept: Option<Arc<KeptMembers>>,
}

/// A member that a group is to have, or not to have.
#[derive(Debug)]
pub struct WantedMember {
    /// The value.
    pub value: Vec<u8>,
    /// Whether it is to be a member.
    pub is_member: bool,
    /// Whether no further entry will be added that it could wait for.
    pub is_last: bool,
}

/// The members that the records of a run have, as hashes, by stream.
#[derive(Debug, Default)]
pub struct KeptMembers(pub Vec<Arc<FxHashSet<u64>>>);

impl KeptMembers {
    /// Whether a record has the member.
    pub fn has(&self, member: u64) -> bool {
        self.0.iter().any(|of_stream| of_stream.contains(&member))
    }
}

/// Why a member was not written.
#[derive(Debug)]
pub enum MemberError {
    /// Not by the directory.
    Refused(String),
    /// The values of the group cannot be seen.
    Unreadable(Unreadable),
    /// By the directory.
    Directory(DirectoryError),
    /// The run would exceed a limit, and ends.
    Limit(Box<LimitReached>),
}

impl MemberError {
    /// Returns the same error for another member.
    fn again(&self) -> MemberError {
        match self {
            MemberError::Refused(reason) => MemberError::Refused(reason.clone()),
            MemberError::Unreadable(unreadable) => MemberError::Unreadable(unreadable.clone()),
            MemberError::Limit(limit) => MemberError::Limit(limit.clone()),
            MemberError::Directory(DirectoryError::Operation { operation, dn, code, matched, text }) => {
                let (dn, matched, text) = (dn.clone(), matched.clone(), text.clone());
                MemberError::Directory(DirectoryError::Operation {
                    operation,
                    dn,
                    code: *code,
                    matched,
                    text,
                })
            }
            MemberError::Directory(DirectoryError::Forbidden { operation, dn, setting, reason }) => {
                let (dn, setting, reason) = (dn.clone(), setting.clone(), reason.clone());
                MemberError::Directory(DirectoryError::Forbidden { operation, dn, setting, reason })
            }
            MemberError::Directory(other) => MemberError::Refused(other.to_string()),
        }
    }
}

/// What became of a member.
#[derive(Debug)]
pub enum MemberOutcome {
    /// It was added.
    Added,
    /// It was taken away.
    TakenAway,
    /// It was as it is to be.
    Unchanged,
    /// The rule does not allow the operation.
    LeftAlone,
    /// It stays, so that the group is not empty (`empty_group`).
    Kept,
    /// Not done yet: there is no such entry, or no such group.
    Missing(String),
    /// It was refused.
    Failed(MemberError),
}

/// What became of the members of a group.
#[derive(Debug, Default)]
pub struct MembersWritten {
    /// By the order of the wanted members.
    pub outcomes: Vec<MemberOutcome>,
    /// Members that a version took away.
    pub by_version: u64,
    /// Members that a version would have taken away, and which stay so that the group is not empty.
    pub kept: u64,
    /// Why members of a version stay.
    pub failed: Vec<MemberError>,
    /// Members that were written, though they name no entry.
    pub dangling: Vec<String>,
    /// Whether the group was added.
    pub is_added: bool,
    /// Whether the group was deleted (`empty_group`).
    pub is_deleted: bool,
}

/// Returns the normal form of the placeholder of an empty group: nobody's member.
fn normal_placeholder(policy: &EmptyGroup, attribute: &str, schema: &Schema) -> Option<Vec<u8>> {
    let EmptyGroup::Placeholder(dn) = policy else { return None };
    Some(schema.equality(attribute).normalize(dn.as_bytes(), schema).into_owned())
}

/// Returns the hash of a member of a group.
pub fn member_hash(group: &DnKey, attribute: &str, normal: &[u8]) -> u64 {
    hash(&(group, attribute.to_ascii_lowercase(), normal))
}

impl Applier {
    /// Returns a value of an attribute in the form in which equal values are equal.
    pub fn normal_member(&self, attribute: &str, value: &[u8]) -> Vec<u8> {
        let schema = self.directory.schema();
        schema.equality(attribute).normalize(value, schema).into_owned()
    }

    /// Returns whether a version takes away the member with a normal form: no record has it, and it is not the placeholder.
    fn surplus<'a>(
        &self,
        group: &'a DnKey,
        attribute: &'a str,
        policy: &MembershipPolicy,
        kept: &'a KeptMembers,
    ) -> impl Fn(&[u8]) -> bool + use<'a> {
        let placeholder = normal_placeholder(&policy.empty_group, attribute, self.directory.schema());
        move |normal| {
            placeholder.as_deref() != Some(normal) && !kept.has(member_hash(group, attribute, normal))
        }
    }

    /// Writes the members of one group.
    ///
    /// # Errors
    /// The directory cannot be asked or changed at all. What concerns single members is among the outcomes.
    pub async fn write_members(&self, wanted: &WantedMembers) -> Result<MembersWritten, DirectoryError> {
        let mut writing = Writing {
            applier: self,
            wanted,
            outcomes: wanted.members.iter().map(|_| None).collect(),
            written: MembersWritten::default(),
            tries: 1,
        };
        while !Box::pin(writing.try_once()).await? {}
        let Writing { outcomes, mut written, .. } = writing;
        written.outcomes =
            outcomes.into_iter().map(|outcome| outcome.unwrap_or(MemberOutcome::Unchanged)).collect();
        Ok(written)
    }
}

/// The members of one group, while they are written.
struct Writing<'a> {
    applier: &'a Applier,
    wanted: &'a WantedMembers,
    /// By the order of the wanted members.
    outcomes: Vec<Option<MemberOutcome>>,
    written: MembersWritten,
    tries: u32,
}

impl Writing<'_> {
    /// Makes one try. `false`: the group was changed by somebody else, and another try follows.
    async fn try_once(&mut self) -> Result<bool, DirectoryError> {
        let applier = self.applier;
        let (dn, attribute) = (&self.wanted.dn, self.wanted.attribute.as_str());
        if let Some(problem) = Box::pin(self.out_of_scope()).await? {
            self.fail_all(&MemberError::Refused(problem));
            return Ok(true);
        }
        if self.is_primary_group() {
            return self.check_primary_group().await.map(|()| true);
        }
        let mut names = vec![attribute, "objectClass"];
        names.extend(self.is_on_ad().then_some("objectSid"));
        let Some(group) = applier.directory.read_whole(dn, &names).await? else {
            return self.without_group().await;
        };
        let values = applier.directory.schema().values_of(&group, attribute);
        if values.is_empty()
            && !applier.may_read(&self.wanted.key, &[attribute])
            && let Some(unreadable) =
                Box::pin(applier.find_unreadable(dn, &self.wanted.key, &[attribute])).await?
        {
            self.fail_all(&MemberError::Unreadable(unreadable));
            return Ok(true);
        }
        let mut steps = self.steps(&group).await?;
        if !self.check_empty_group(&group, &mut steps).await? {
            return Ok(true);
        }
        match self.send(&group, steps).await? {
            Sent::All => Ok(true),
            Sent::Overtaken => {
                self.tries += 1;
                Ok(false)
            }
        }
    }

    fn is_on_ad(&self) -> bool {
        self.applier.directory.root_dse().vendor == Vendor::ActiveDirectory
    }

    /// Whether the group may have been changed by somebody else, and is read again.
    fn may_retry(&self) -> bool {
        self.tries < ATTEMPTS
    }

    fn set(&mut self, at: usize, outcome: MemberOutcome) {
        if let Some(there) = self.outcomes.get_mut(at) {
            *there = Some(outcome);
        }
    }

    /// Returns the wanted members without an outcome.
    fn open(&self) -> Vec<usize> {
        let open = self.outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_none());
        open.map(|(at, _)| at).collect()
    }

    fn fail_all(&mut self, error: &MemberError) {
        for at in self.open() {
            self.set(at, MemberOutcome::Failed(error.again()));
        }
        if self.wanted.kept.is_some() {
            self.written.failed.push(error.again());
        }
    }

    /// Returns the changes of values that the group needs. Members that it has as wanted, or that are not allowed, get their outcome.
    async fn steps(&mut self, group: &Entry) -> Result<Vec<Step>, DirectoryError> {
        let applier = self.applier;
        let WantedMembers { attribute, policy, kept, .. } = self.wanted;
        let normal = |value: &[u8]| applier.normal_member(attribute, value);
        let there: Vec<(Vec<u8>, &Vec<u8>)> = applier
            .directory
            .schema()
            .values_of(group, attribute)
            .iter()
            .map(|value| (normal(value), value))
            .collect();
        let by_normal: std::collections::HashMap<&[u8], &Vec<u8>> =
            there.iter().map(|(normal, value)| (normal.as_slice(), *value)).collect();
        let (may_add, may_take) = (
            policy.operations.update,
            policy.operations.update && policy.operations.delete && policy.takes_away,
        );
        let (mut steps, mut named) = (Vec::new(), HashSet::new());
        for at in self.open() {
            let Some(member) = self.wanted.members.get(at) else { continue };
            let normal = normal(&member.value);
            let has = by_normal.get(normal.as_slice()).copied();
            let outcome = match (member.is_member, has) {
                (true, Some(_)) if self.written.is_added => Some(MemberOutcome::Added),
                (true, Some(_)) => Some(MemberOutcome::Unchanged),
                (true, None) if may_add => {
                    steps.push(Step {
                        kind: ModificationKind::Add,
                        value: member.value.clone(),
                        of: Of::Row(at),
                    });
                    None
                }
                (false, Some(value)) if may_take => {
                    steps.push(Step {
                        kind: ModificationKind::Delete,
                        value: value.clone(),
                        of: Of::Row(at),
                    });
                    None
                }
                (true, None) | (false, Some(_)) => Some(MemberOutcome::LeftAlone),
                (false, None) => Some(self.not_there(group, &member.value).await?),
            };
            named.insert(normal);
            if let Some(outcome) = outcome {
                self.set(at, outcome);
            }
        }
        if let Some(kept) = kept.as_ref().filter(|_| may_take) {
            let is_surplus = applier.surplus(&self.wanted.key, attribute, policy, kept);
            let surplus = there.iter().filter(|(normal, _)| !named.contains(normal) && is_surplus(normal));
            steps.extend(surplus.map(|(_, value)| Step {
                kind: ModificationKind::Delete,
                value: (*value).clone(),
                of: Of::Version,
            }));
        }
        self.without_missing(&mut steps).await?;
        Ok(steps)
    }

    /// Returns the normal form of the placeholder of an empty group.
    fn placeholder(&self) -> Option<Vec<u8>> {
        let WantedMembers { attribute, policy, .. } = self.wanted;
        normal_placeholder(&policy.empty_group, attribute, self.applier.directory.schema())
    }

    /// Takes out the additions of members that name no entry.
    async fn without_missing(&mut self, steps: &mut Vec<Step>) -> Result<(), DirectoryError> {
        let applier = self.applier;
        let attribute = &self.wanted.attribute;
        let is_name = ValueKind::of(applier.directory.schema(), attribute).is_name();
        // A file that is replaced as a whole can reference entries that are added later.
        if !is_name || applier.directory.is_written_at_once() {
            return Ok(());
        }
        let added = steps.iter().filter(|step| step.kind == ModificationKind::Add);
        let references = added.filter_map(|step| {
            let key = applier.named(&step.value)?;
            Some(DeferredReference { description: attribute.clone(), value: step.value.clone(), key })
        });
        let missing = applier.missing(references.collect()).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let missing: HashSet<Vec<u8>> = missing.into_iter().map(|reference| reference.value).collect();
        let takes_dangling = |at: usize| {
            self.wanted.policy.takes_dangling && self.wanted.members.get(at).is_some_and(|m| m.is_last)
        };
        let mut without = Vec::new();
        steps.retain(|step| match step.of {
            Of::Row(at) if step.kind == ModificationKind::Add && missing.contains(&step.value) => {
                without.push((at, String::from_utf8_lossy(&step.value).into_owned()));
                takes_dangling(at)
            }
            _ => true,
        });
        for (at, name) in without {
            if takes_dangling(at) {
                self.written.dangling.push(name);
            } else {
                self.set(at, MemberOutcome::Missing(format!("there is no entry `{name}` to be a member")));
            }
        }
        Ok(())
    }

    /// Notes a change that was made.
    fn made(&mut self, of: &Of, kind: ModificationKind) {
        match of {
            Of::Row(at) if kind == ModificationKind::Add => self.set(*at, MemberOutcome::Added),
            Of::Row(at) => self.set(*at, MemberOutcome::TakenAway),
            Of::Version => self.written.by_version += 1,
            Of::Placeholder => {}
        }
    }
}
