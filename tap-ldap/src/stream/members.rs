//! Group memberships as records (`membership_streams`): one record per member of a group, so that a group of a million members
//! needs no list of a million values.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use ldap_directory::entry::{Entry, base_type};
use ldap_directory::filter::escape_value;
use ldap_directory::protocol::result_code;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::{Directory, DirectoryError, Paging, Scope, SearchRequest, SearchStream, Vendor};
use serde_json::{Map, Value, json};
use singer_common::singer::catalog::CatalogEntry;
use tokio::task::JoinSet;

use crate::discovery::context::DirectoryContext;
use crate::discovery::gaps::Gaps;
use crate::discovery::membership::{ATTRIBUTES, PROPERTIES};
use crate::discovery::source::Source;
use crate::stream::convert::MissingKey;
use crate::stream::entries::Entries;

/// The attribute of a user of Active Directory that refers to a group by its RID, the last part of its SID.
const PRIMARY_GROUP: &str = "primaryGroupID";
/// Members looked up at once.
const LOOKUPS: usize = 32;
/// Members kept, so that a member of many groups is looked up once.
const REMEMBERED: usize = 100_000;

/// Returns the filter for entries that have members.
fn filter(vendor: Vendor) -> &'static str {
    match vendor {
        // A group may have no `member` and still be the primary group of many users.
        Vendor::ActiveDirectory => "(objectClass=group)",
        _ => "(|(member=*)(uniqueMember=*)(memberUid=*))",
    }
}

/// A group, shared by its records: there may be a million of them.
#[derive(Debug)]
struct Group {
    key: Value,
    dn: String,
}

/// A member of a group.
#[derive(Debug, Clone)]
struct Membership {
    group: Arc<Group>,
    attribute: &'static str,
    member: String,
    /// The member's entry, once it was looked up.
    found: Option<Member>,
}

/// The entry of a member.
#[derive(Debug, Clone)]
struct Member {
    dn: String,
    key: Value,
}

/// The records of a membership stream, one by one.
#[derive(Debug)]
pub struct Memberships<'a> {
    context: &'a DirectoryContext,
    entries: Entries<'a>,
    /// The attribute that identifies entries; `None` is the DN.
    key: Option<String>,
    selected: Vec<&'static str>,
    stream: String,
    /// Records of the current group whose members are not looked up yet.
    pending: VecDeque<Membership>,
    /// Records ready to be written.
    ready: VecDeque<Membership>,
    /// Groups of Active Directory with their RID, to find the users that have them as primary group.
    primaries: VecDeque<(Membership, String)>,
    primary_search: Option<(Membership, SearchStream)>,
    known: HashMap<String, Option<Member>>,
    /// A group that has members by its filter, and shows none.
    without_members: Option<String>,
}

impl<'a> Memberships<'a> {
    /// Starts reading the groups of a stream. `only`: the DN of one group alone.
    pub async fn open(
        context: &'a DirectoryContext,
        of: &Source,
        stream: &CatalogEntry,
        key: Option<String>,
        only: Option<&str>,
    ) -> Result<Memberships<'a>, DirectoryError> {
        let vendor = context.directory.root_dse().vendor;
        let mut attributes: Vec<String> = ATTRIBUTES.iter().map(|a| (*a).to_owned()).collect();
        attributes.extend(key.clone());
        if vendor == Vendor::ActiveDirectory {
            attributes.push("objectSid".to_owned());
        }
        let (filter, pages) = (filter(vendor), Paging::Configured);
        let entries = match only {
            Some(dn) => Entries::one_of(context, of, &attributes, (dn, filter)),
            None => Entries::open_filtered(context, of, &attributes, pages, filter, vec![]).await?,
        };
        let selected =
            PROPERTIES.iter().map(|(name, _)| *name).filter(|n| stream.is_property_selected(n)).collect();
        Ok(Memberships {
            context,
            entries,
            key,
            selected,
            stream: stream.stream.clone(),
            pending: VecDeque::new(),
            ready: VecDeque::new(),
            primaries: VecDeque::new(),
            primary_search: None,
            known: HashMap::new(),
            without_members: None,
        })
    }

    /// Returns what was skipped.
    pub(crate) fn gaps(&self) -> Gaps {
        self.entries.gaps
    }

    /// Returns a group of which the server says that it has members, and shows none.
    pub(crate) fn without_members(&self) -> Option<&str> {
        self.without_members.as_deref()
    }

    /// Writes the next RECORD line. Returns `false` at the end.
    pub async fn write_next(
        &mut self,
        version: Option<i64>,
        time: &str,
        out: &mut Vec<u8>,
    ) -> anyhow::Result<bool> {
        loop {
            if let Some(row) = self.ready.pop_front() {
                if row.group.key.is_null() {
                    return Err(MissingKey {
                        dn: row.group.dn.clone(),
                        property: self.key.clone().unwrap_or_default(),
                        stream: self.stream.clone(),
                    }
                    .into());
                }
                self.write(&row, version, time, out);
                return Ok(true);
            }
            if !self.pending.is_empty() {
                self.look_up_members().await?;
                continue;
            }
            if let Some(entry) = self.entries.next().await? {
                self.add_group(entry);
                continue;
            }
            match self.next_primary().await? {
                Some(row) => self.ready.push_back(row),
                None => return Ok(false),
            }
        }
    }

    fn add_group(&mut self, entry: Entry) {
        let group = Arc::new(Group { key: self.key_of(&entry), dn: entry.dn.clone() });
        let row = |attribute, member| Membership { group: group.clone(), attribute, member, found: None };
        let sid = entry.values("objectSid").first().and_then(|sid| {
            let mut json = Vec::new();
            ValueKind::Sid.write_json(sid, &mut json).ok()?;
            serde_json::from_slice::<String>(&json).ok()
        });
        if let Some(rid) = sid.as_deref().and_then(|s| s.rsplit('-').next()) {
            self.primaries.push_back((row(PRIMARY_GROUP, String::new()), rid.to_owned()));
        }
        let directory = &self.context.directory;
        let schema = directory.schema();
        // Also under options (`member;lang-en`): the server counts them as members, whatever asks.
        let attribute_of = |description: &str| {
            ATTRIBUTES.into_iter().find(|a| schema.same_description(a, base_type(description)))
        };
        let held: Vec<_> = entry
            .attributes
            .into_iter()
            .filter_map(|a| Some((attribute_of(&a.description)?, a.values)))
            .collect();
        // Under one description, each value is there once; a million of them need not be compared.
        let is_twice = |attribute: &str| held.iter().filter(|(of, _)| *of == attribute).count() > 1;
        let twice: Vec<&str> = ATTRIBUTES.into_iter().filter(|attribute| is_twice(attribute)).collect();
        let (mut seen, mut is_shown) = (HashSet::new(), false);
        for (attribute, values) in held {
            for value in values {
                is_shown = true;
                // A DN or a user id is always text.
                let member = String::from_utf8(value)
                    .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
                if !twice.contains(&attribute) || seen.insert((attribute, member.clone())) {
                    self.pending.push_back(row(attribute, member));
                }
            }
        }
        if !is_shown
            && self.without_members.is_none()
            && matches!(directory, Directory::Ldap(_))
            && directory.root_dse().vendor != Vendor::ActiveDirectory
        {
            self.without_members = Some(entry.dn);
        }
    }

    fn key_of(&self, entry: &Entry) -> Value {
        let Some(key) = &self.key else { return Value::String(entry.dn.clone()) };
        let mut json = Vec::new();
        let value = entry.values(key).first();
        let written =
            value.map(|v| ValueKind::emitted(self.context.directory.schema(), key).write_json(v, &mut json));
        match written {
            Some(Ok(())) => serde_json::from_slice(&json).unwrap_or_default(),
            _ => Value::Null,
        }
    }

    /// Looks up the members of the next records, many at once.
    async fn look_up_members(&mut self) -> Result<(), DirectoryError> {
        let count = self.pending.len().min(LOOKUPS);
        let mut rows: Vec<Membership> = self.pending.drain(..count).collect();
        let wanted = self.selected.contains(&"member_key") || self.selected.contains(&"member_dn");
        if wanted {
            if self.known.len() > REMEMBERED {
                self.known.clear();
            }
            let mut lookups = JoinSet::new();
            for row in &rows {
                if !self.known.contains_key(&row.member) {
                    let (directory, base) = (self.context.whole.clone(), self.context.base.clone());
                    let (attribute, member, key) = (row.attribute, row.member.clone(), self.key.clone());
                    self.known.insert(member.clone(), None);
                    lookups.spawn(async move {
                        let entry = find_member(&directory, &base, attribute, &member, key.as_deref()).await;
                        (member, entry)
                    });
                }
            }
            while let Some(done) = lookups.join_next().await {
                let Ok((member, entry)) = done else { continue };
                let found = entry?.map(|e| Member { key: self.key_of(&e), dn: e.dn });
                self.known.insert(member, found);
            }
            for row in &mut rows {
                row.found = self.known.get(&row.member).cloned().flatten();
            }
        }
        self.ready.extend(rows);
        Ok(())
    }

    /// Returns the next user of Active Directory whose primary group is one of the groups; such users are in no `member` list.
    async fn next_primary(&mut self) -> Result<Option<Membership>, DirectoryError> {
        loop {
            if let Some((group, search)) = &mut self.primary_search {
                if let Some(user) = search.next_entry().await? {
                    let mut row = group.clone();
                    row.member.clone_from(&user.dn);
                    row.found = Some(Member { key: self.key_of(&user), dn: user.dn });
                    return Ok(Some(row));
                }
                self.primary_search = None;
            }
            let Some((group, rid)) = self.primaries.pop_front() else { return Ok(None) };
            let filter = format!("({PRIMARY_GROUP}={})", escape_value(rid.as_bytes()));
            let key = self.key.as_deref().unwrap_or("1.1");
            let request = SearchRequest::new(&self.context.base, Scope::Subtree, filter, &[key]).repeating();
            self.primary_search = Some((group, self.context.whole.search(request).await?));
        }
    }

    fn write(&self, row: &Membership, version: Option<i64>, time: &str, out: &mut Vec<u8>) {
        // A member's DN is known, even if its entry could not be read.
        let named = (row.attribute == "member").then(|| row.member.clone());
        let dn = row.found.as_ref().map(|m| m.dn.clone()).or(named);
        let key = row.found.as_ref().map_or(Value::Null, |m| m.key.clone());
        let record: Map<String, Value> = self
            .selected
            .iter()
            .map(|name| {
                let value = match *name {
                    "group_key" => row.group.key.clone(),
                    "group_dn" => row.group.dn.clone().into(),
                    "attribute" => row.attribute.into(),
                    "member" => row.member.clone().into(),
                    "member_dn" => dn.clone().into(),
                    _ => key.clone(),
                };
                ((*name).to_owned(), value)
            })
            .collect();
        let mut message =
            json!({"type": "RECORD", "stream": self.stream, "record": record, "time_extracted": time});
        if let Some(version) = version {
            message["version"] = version.into();
        }
        out.extend_from_slice(message.to_string().as_bytes());
        out.push(b'\n');
    }
}

/// Returns the entry for a member value; `None` if there is none, or more than one.
async fn find_member(
    directory: &Directory,
    base: &str,
    attribute: &str,
    member: &str,
    key: Option<&str>,
) -> Result<Option<Entry>, DirectoryError> {
    let wanted = [key.unwrap_or("1.1")];
    if attribute == "memberUid" {
        let filter = format!("(uid={})", escape_value(member.as_bytes()));
        let mut request = SearchRequest::new(base, Scope::Subtree, filter, &wanted);
        // Of further entries, only their existence matters.
        request.paging = Paging::Limited(2);
        let mut search = directory.search(request).await?;
        let first = search.next_entry().await?;
        let second = search.next_entry().await?;
        search.abandon().await?;
        return Ok(first.filter(|_| second.is_none()));
    }
    let dn = match member.rsplit_once('#') {
        Some((dn, uid)) if attribute == "uniqueMember" && uid.starts_with('\'') => dn,
        _ => member,
    };
    match directory.read(dn, &wanted).await {
        // An entry of another server, or not a DN: only the value is known.
        Err(e) if matches!(e.code(), Some(result_code::REFERRAL | result_code::INVALID_DN_SYNTAX)) => {
            Ok(None)
        }
        result => result,
    }
}
