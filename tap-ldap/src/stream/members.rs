//! Group membership as rows (`membership_streams`): one record for each member of each group, so that a group of a
//! million needs no list of a million.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use singer_common::catalog::{CatalogEntry, MetadataEntry, Places};
use singer_common::directory::ldap::result_code;
use singer_common::directory::{
    Directory, DirectoryError, Paging, Scope, SearchRequest, SearchStream, Vendor,
};
use singer_common::entry::Entry;
use singer_common::filter::escape_value;
use singer_common::schema::syntax::ValueKind;
use tokio::task::JoinSet;

use crate::discovery::sample::Sample;
use crate::stream::convert::MissingKey;
use crate::stream::entries::{Entries, Gaps, Source, Tree};

/// What the id and the name of a membership stream end with.
pub const SUFFIX: &str = "_members";
/// The attributes that hold members: names, names with an id (RFC 4517 section 3.3.21), and user ids (RFC 2307).
const ATTRIBUTES: [&str; 3] = ["member", "uniqueMember", "memberUid"];
/// The attribute of a user of Active Directory that names a group by the end of its SID.
const PRIMARY_GROUP: &str = "primaryGroupID";
/// Members looked up at once.
const LOOKUPS: usize = 32;
/// Members remembered, so that who is in many groups is looked up once.
const REMEMBERED: usize = 100_000;

const KEYS: [&str; 3] = ["group_key", "attribute", "member"];
const PROPERTIES: [(&str, &str); 6] = [
    ("group_key", "The group's key: what identifies it in its own stream"),
    ("group_dn", "The group's DN"),
    ("attribute", "The attribute that says so: member, uniqueMember, memberUid or primaryGroupID"),
    ("member", "The value of that attribute; for primaryGroupID the member's DN"),
    ("member_dn", "The member's DN, where it is known"),
    (
        "member_key",
        "The member's key: what identifies it in its own stream; null where it is in another directory or gone",
    ),
];

/// The filter of entries that have members.
fn filter(vendor: Vendor) -> &'static str {
    match vendor {
        // A group may have no `member` and still be the primary group of many.
        Vendor::ActiveDirectory => "(objectClass=group)",
        _ => "(|(member=*)(uniqueMember=*)(memberUid=*))",
    }
}

/// Whether a stream has groups.
pub fn has_groups(sample: &Sample, vendor: Vendor) -> bool {
    ATTRIBUTES.iter().any(|a| sample.occurrence(a).is_some())
        || vendor == Vendor::ActiveDirectory
            && sample.classes.iter().any(|(c, _)| c.eq_ignore_ascii_case("group"))
}

/// The catalog's entry of a membership stream.
pub fn describe(id: &str, name: &str, selected: bool) -> CatalogEntry {
    let mut properties = Map::new();
    let mut own = crate::discover::stream_metadata(&KEYS.map(str::to_owned), selected);
    // Rows of a group are no entries: nothing tells of them one by one.
    own.metadata.insert("forced-replication-method".into(), crate::replication::FULL_TABLE.into());
    let mut metadata = vec![own];
    for (property, description) in PROPERTIES {
        properties.insert(property.into(), json!({"type": ["null", "string"], "description": description}));
        let inclusion = if KEYS.contains(&property) { "automatic" } else { "available" };
        metadata.push(MetadataEntry {
            breadcrumb: vec!["properties".into(), property.into()],
            metadata: Map::from_iter([
                ("inclusion".to_owned(), inclusion.into()),
                ("selected-by-default".to_owned(), true.into()),
            ]),
        });
    }
    CatalogEntry {
        places: Places::default(),
        tap_stream_id: id.to_owned(),
        stream: name.to_owned(),
        key_properties: KEYS.map(str::to_owned).to_vec(),
        schema: json!({"type": "object", "properties": properties}),
        metadata,
        replication_method: Some(crate::replication::FULL_TABLE.to_owned()),
        replication_key: None,
    }
}

/// A group, which its rows share: there may be a million of them.
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
    /// What the member is, once it was looked up.
    found: Option<Member>,
}

/// An entry found to be a member.
#[derive(Debug, Clone)]
struct Member {
    dn: String,
    key: Value,
}

/// The rows of a membership stream, one by one.
#[derive(Debug)]
pub struct Memberships<'a> {
    tree: &'a Tree,
    entries: Entries<'a>,
    /// The attribute that identifies entries; `None` is the DN.
    key: Option<String>,
    selected: Vec<&'static str>,
    stream: String,
    /// Rows of the group in hand whose members are not looked up yet.
    pending: VecDeque<Membership>,
    /// Rows ready to be written.
    ready: VecDeque<Membership>,
    /// Groups of Active Directory by the end of their SID, for those whose primary group they are.
    primaries: VecDeque<(Membership, String)>,
    primary_search: Option<(Membership, SearchStream)>,
    known: HashMap<String, Option<Member>>,
}

impl<'a> Memberships<'a> {
    /// Begins to read the groups of a stream.
    pub async fn open(
        tree: &'a Tree,
        of: &Source,
        stream: &CatalogEntry,
        key: Option<String>,
    ) -> Result<Memberships<'a>, DirectoryError> {
        let vendor = tree.directory.root_dse().vendor;
        let mut attributes: Vec<String> = ATTRIBUTES.iter().map(|a| (*a).to_owned()).collect();
        attributes.extend(key.clone());
        if vendor == Vendor::ActiveDirectory {
            attributes.push("objectSid".to_owned());
        }
        let entries =
            Entries::open_filtered(tree, of, &attributes, Paging::Configured, filter(vendor), vec![]).await?;
        let selected =
            PROPERTIES.iter().map(|(name, _)| *name).filter(|n| stream.is_property_selected(n)).collect();
        Ok(Memberships {
            tree,
            entries,
            key,
            selected,
            stream: stream.stream.clone(),
            pending: VecDeque::new(),
            ready: VecDeque::new(),
            primaries: VecDeque::new(),
            primary_search: None,
            known: HashMap::new(),
        })
    }

    /// What was left out.
    pub(crate) fn gaps(&self) -> Gaps {
        self.entries.gaps
    }

    /// Writes the next row's RECORD line; `false` once there is none.
    pub async fn write_next(&mut self, version: i64, time: &str, out: &mut Vec<u8>) -> anyhow::Result<bool> {
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
                self.look_up().await?;
                continue;
            }
            if let Some(entry) = self.entries.next().await? {
                self.take(entry);
                continue;
            }
            match self.next_primary().await? {
                Some(row) => self.ready.push_back(row),
                None => return Ok(false),
            }
        }
    }

    fn take(&mut self, entry: Entry) {
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
        for held in entry.attributes {
            let Some(attribute) = ATTRIBUTES.into_iter().find(|a| held.description.eq_ignore_ascii_case(a))
            else {
                continue;
            };
            for value in held.values {
                // Neither a DN nor a user id is ever anything but text.
                let member = String::from_utf8(value)
                    .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
                self.pending.push_back(row(attribute, member));
            }
        }
    }

    fn key_of(&self, entry: &Entry) -> Value {
        let Some(key) = &self.key else { return Value::String(entry.dn.clone()) };
        let mut json = Vec::new();
        let value = entry.values(key).first();
        let written =
            value.map(|v| ValueKind::of(self.tree.directory.schema(), key).write_json(v, &mut json));
        match written {
            Some(Ok(())) => serde_json::from_slice(&json).unwrap_or_default(),
            _ => Value::Null,
        }
    }

    /// Looks up who the next rows are about, many at once.
    async fn look_up(&mut self) -> Result<(), DirectoryError> {
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
                    let (directory, base) = (self.tree.directory.clone(), self.tree.base.clone());
                    let (attribute, member, key) = (row.attribute, row.member.clone(), self.key.clone());
                    self.known.insert(member.clone(), None);
                    lookups.spawn(async move {
                        let entry = find(&directory, &base, attribute, &member, key.as_deref()).await;
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

    /// The next user of Active Directory whose primary group is one of the groups: it is in no `member` list.
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
            let request = SearchRequest::new(&self.tree.base, Scope::Sub, filter, &[key]).repeating();
            self.primary_search = Some((group, self.tree.directory.search(request).await?));
        }
    }

    fn write(&self, row: &Membership, version: i64, time: &str, out: &mut Vec<u8>) {
        // A DN is what it is, also where its entry could not be read.
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
        let message = json!({
            "type": "RECORD", "stream": self.stream, "record": record, "version": version, "time_extracted": time,
        });
        out.extend_from_slice(message.to_string().as_bytes());
        out.push(b'\n');
    }
}

/// The entry that a member value stands for; `None` where there is none, or not exactly one.
async fn find(
    directory: &Directory,
    base: &str,
    attribute: &str,
    member: &str,
    key: Option<&str>,
) -> Result<Option<Entry>, DirectoryError> {
    let wanted = [key.unwrap_or("1.1")];
    if attribute == "memberUid" {
        let filter = format!("(uid={})", escape_value(member.as_bytes()));
        let mut request = SearchRequest::new(base, Scope::Sub, filter, &wanted);
        // Whether there is a second one is all that has to be known of the others.
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
        // Another server's entry, or no DN at all: known by its name only.
        Err(e) if matches!(e.code(), Some(result_code::REFERRAL | result_code::INVALID_DN_SYNTAX)) => {
            Ok(None)
        }
        result => result,
    }
}
