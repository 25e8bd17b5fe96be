//! Puts rows into groups: finds the groups and members of filters, and lets the last row of a member count.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::sync::Arc;

use ldap_directory::DirectoryError;
use ldap_directory::dn::DnKey;

use super::super::{Load, LoadError};
use super::CollectedRow;
use crate::map::{MembershipRow, NamedEntry, PRIMARY_GROUP};
use crate::rules::names::hash;
use crate::write::counts::RecordOutcome;
use crate::write::find::FoundEntry;
use crate::write::memberships::{WantedMember, WantedMembers, member_hash};

/// The rows of one group and attribute.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) stream: Arc<str>,
    pub(super) wanted: WantedMembers,
    /// The row of each wanted member.
    pub(super) rows: Vec<CollectedRow>,
    /// The position of each member by the normal form of its value.
    by_member: HashMap<Vec<u8>, usize>,
}

/// Returns the DN of the one entry that a filter matches.
pub(super) fn found_name(found: Option<&FoundEntry>) -> Option<&str> {
    match found {
        Some(FoundEntry::One(dn)) => Some(dn),
        _ => None,
    }
}

/// Returns why a filter gives no entry.
fn not_one(part: &str, filter: &str, found: Option<&FoundEntry>) -> String {
    match found {
        Some(FoundEntry::Several(names)) => {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            format!(
                "membership.{part}: {filter} matches several entries: {}; it must match one",
                names.join(", ")
            )
        }
        _ => format!("membership.{part}: no entry matches {filter}"),
    }
}

impl<W: Write> Load<'_, W> {
    /// Returns the rows by group. Those whose group or member is not found wait, or are refused.
    pub(super) async fn groups_of(
        &mut self,
        rows: Vec<CollectedRow>,
        is_last: impl Fn(&CollectedRow) -> bool,
    ) -> Result<Vec<Group>, DirectoryError> {
        let rows = self.without_superseded(rows);
        let found_groups = self.find_groups(&rows).await?;
        let mut members: Vec<String> = rows.iter().filter_map(|row| filter_of(&row.row.member)).collect();
        members.sort_unstable();
        members.dedup();
        let found_members = self.applier.find_all(&self.applier.members_base(None), members).await?;
        let (mut groups, mut places) = (Vec::<Group>::new(), HashMap::new());
        let mut unfound = 0_u64;
        for row in rows {
            let is_last = is_last(&row);
            let dn = match &row.row.group {
                NamedEntry::Name(dn) => dn.clone(),
                NamedEntry::Filter(filter) => {
                    let found = found_groups.get(&(row.row.policy.base.clone(), filter.clone()));
                    match found_name(found) {
                        Some(dn) => dn.to_owned(),
                        // Nobody is a member of a group that is not there.
                        None if !row.row.is_member && found == Some(&FoundEntry::Nowhere) => {
                            self.membership_done(&row, RecordOutcome::Unchanged);
                            continue;
                        }
                        None => {
                            let is_last = is_last || matches!(found, Some(FoundEntry::Several(_)));
                            let reason = not_one("group", filter, found);
                            self.membership_missing(row, None, reason, is_last);
                            continue;
                        }
                    }
                }
            };
            let Ok(key) = self.applier.key(&dn) else {
                let reason = format!("membership.group: `{dn}` is not a valid DN");
                self.membership_missing(row, None, reason, true);
                continue;
            };
            let value = match &row.row.member {
                NamedEntry::Name(value) => value.clone(),
                NamedEntry::Filter(filter) => {
                    let found = found_members.get(filter);
                    match found_name(found).or(row.member_was.as_deref()) {
                        Some(dn) => dn.as_bytes().to_vec(),
                        None if !row.row.is_member && found == Some(&FoundEntry::Nowhere) => {
                            if unfound == 0 {
                                warn_of_unfound(&row, filter);
                            }
                            unfound += 1;
                            self.membership_done(&row, RecordOutcome::Unchanged);
                            continue;
                        }
                        None => {
                            let is_last = is_last || matches!(found, Some(FoundEntry::Several(_)));
                            let reason = not_one("member", filter, found);
                            self.membership_missing(row, Some(&key), reason, is_last);
                            continue;
                        }
                    }
                }
            };
            let id = (row.stream.clone(), key.clone(), row.row.attribute.to_ascii_lowercase());
            let at = *places.entry(id).or_insert_with(|| {
                groups.push(Group::new(&row, dn, key));
                groups.len() - 1
            });
            if let Some(group) = groups.get_mut(at) {
                self.put(group, row, value, is_last);
            }
        }
        Ok(groups)
    }

    /// Returns the rows without those that a later one repeats or takes back in the same words: their group or member need not be found.
    fn without_superseded(&mut self, rows: Vec<CollectedRow>) -> Vec<CollectedRow> {
        let mut seen = HashSet::new();
        let mut last = Vec::with_capacity(rows.len());
        for row in rows.into_iter().rev() {
            let MembershipRow { group, attribute, member, .. } = &row.row;
            if seen.insert(hash(&(&*row.stream, group, attribute, member))) {
                last.push(row);
            } else {
                self.membership_done(&row, RecordOutcome::Unchanged);
            }
        }
        last.reverse();
        last
    }

    /// Finds the groups of filters.
    async fn find_groups(
        &self,
        rows: &[CollectedRow],
    ) -> Result<HashMap<(Option<String>, String), FoundEntry>, DirectoryError> {
        let mut by_base: HashMap<Option<String>, Vec<String>> = HashMap::new();
        for row in rows {
            if let Some(filter) = filter_of(&row.row.group) {
                by_base.entry(row.row.policy.base.clone()).or_default().push(filter);
            }
        }
        let mut all = HashMap::new();
        for (base, mut filters) in by_base {
            filters.sort_unstable();
            filters.dedup();
            let found = self.applier.find_all(&self.applier.members_base(base.as_deref()), filters).await?;
            all.extend(found.into_iter().map(|(filter, found)| ((base.clone(), filter), found)));
        }
        Ok(all)
    }

    /// Puts a row into its group. An earlier row of the same member counts no longer.
    fn put(&mut self, group: &mut Group, row: CollectedRow, value: Vec<u8>, is_last: bool) {
        let attribute = &group.wanted.attribute;
        // The value of a primary group is the user's DN.
        let compared = if attribute.eq_ignore_ascii_case(PRIMARY_GROUP) { "member" } else { attribute };
        let normal = self.applier.normal_member(compared, &value);
        if self.config.process_activate_version {
            let member = member_hash(&group.wanted.key, attribute, &normal);
            let renamed = self.memberships.renamed;
            let brought = self.memberships.brought.of(&group.stream, row.period);
            brought.renamed.get_or_insert(renamed);
            brought.note(member, row.row.is_member);
            if row.row.is_member {
                brought.groups.insert(group.wanted.key.clone(), group.wanted.dn.clone());
            }
        }
        let member = WantedMember { value, is_member: row.row.is_member, is_last };
        let next = group.rows.len();
        let at = *group.by_member.entry(normal).or_insert(next);
        if let (Some(there), Some(wanted)) = (group.rows.get_mut(at), group.wanted.members.get_mut(at)) {
            let earlier = std::mem::replace(there, row);
            *wanted = member;
            self.membership_done(&earlier, RecordOutcome::Unchanged);
        } else {
            group.rows.push(row);
            group.wanted.members.push(member);
        }
    }
}

impl Group {
    fn new(row: &CollectedRow, dn: String, key: DnKey) -> Group {
        let (attribute, policy) = (row.row.attribute.clone(), row.row.policy.clone());
        let members = Vec::new();
        let wanted = WantedMembers { dn, key, attribute, members, policy, kept: None };
        Group { stream: row.stream.clone(), wanted, rows: Vec::new(), by_member: HashMap::new() }
    }
}

fn filter_of<T>(entry: &NamedEntry<T>) -> Option<String> {
    match entry {
        NamedEntry::Filter(filter) => Some(filter.clone()),
        NamedEntry::Name(_) => None,
    }
}

/// Warns of a row whose member no filter finds any more.
fn warn_of_unfound(row: &CollectedRow, filter: &str) {
    let error = LoadError::record(row.line, &row.stream, String::new()).of_key(&row.about);
    error.facts().warn(&format!(
        "line {}, stream `{}`, {}: nobody is taken out of the group, because no entry matches {filter}: its deletion has taken the member away, if the server has referential integrity; other such rows are not logged",
        row.line, row.stream, row.about
    ));
}
