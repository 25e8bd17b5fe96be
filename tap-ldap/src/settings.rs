//! The tap's own settings, as `--about` and the documentation list them.

use singer_common::plugin::about::About;
use singer_common::plugin::definition::{Plugin, PluginCommand};
use singer_common::plugin::settings::{Group, Kind, Setting, Table};

/// The settings of `tap-ldap`.
pub const TABLE: Table = Table { prefix: "TAP_LDAP", own: OWN, without: &[] };

/// The content of `tap-ldap --about`.
pub const ABOUT: About = About {
    name: "tap-ldap",
    description: "Reads any directory (OpenLDAP, 389 Directory Server, Active Directory, any LDAP server, or an LDIF file) and prints Singer messages.",
    version: env!("CARGO_PKG_VERSION"),
    capabilities: &[
        "catalog",
        "properties",
        "discover",
        "state",
        "about",
        "test",
        "activate-version",
        "log-based",
        "structured-logging",
        "stream-maps",
        "schema-flattening",
        "batch",
    ],
    table: TABLE,
};

/// Further content of Meltano's definition of `tap-ldap`.
pub const PLUGIN: Plugin = Plugin {
    variant: "flext",
    label: "LDAP",
    kind: "extractors",
    keywords: &["ldap", "directory", "active directory", "openldap", "ldif"],
    required: &[&["server_url"], &["host"]],
    commands: &[PluginCommand {
        name: "doctor",
        args: "doctor --config ENV",
        description: "Check what the configuration may do in the directory, and list requests to its administrator; writes nothing",
    }],
};

/// The most partitions: more do not help, and few servers accept so many connections of one client.
pub(crate) const MOST_PARTITIONS: i64 = 32;

const OWN: &[Setting] = &[
    Setting::new(
        "base_dn",
        Kind::Text,
        "The base DN of the tap. Default: the server's default naming context, or its only one.",
    )
    .of(Group::Streams)
    .basic(),
    Setting::new(
        "exclude_base_dns",
        Kind::TextList,
        "Subtrees to leave out of every stream: a list of DNs. An entry that moves into one of them has left its stream, and is deleted downstream. With another list, INCREMENTAL and LOG_BASED read everything again. Values that name such entries stay: members of groups, managers.",
    )
    .of(Group::Streams)
    .basic()
    .or("[]"),
    Setting::new(
        "schemas",
        Kind::ObjectList,
        "The streams, instead of those found by discovery: a list of objects with `name`, `base_dn`, `filter`, `scope` (`base`, `one`, `sub`), `attributes`, `exclude_attributes`, `key_properties`, `replication_method`, `replication_key`, `single_valued`, `partitions`.",
    )
    .of(Group::Streams)
    .basic()
    .alias(&["streams"]),
    Setting::new(
        "discover_by",
        Kind::Choice(&["ou", "object_class", "both"]),
        "What makes a stream: every container of entries (`ou`), every structural class that occurs (`object_class`), or `both`; with `both`, the containers are selected by default.",
    )
    .of(Group::Streams)
    .basic()
    .or("\"ou\""),
    Setting::new(
        "discovery_sample_size",
        Kind::Integer { min: 0, max: i64::MAX },
        "Entries read per stream to find the classes and attributes that occur; 0 reads all. All entries of a file are always read. Attributes that do not occur in the sample are not selected by default: use 0 for mirrors.",
    )
    .of(Group::Streams)
    .basic()
    .or("1000"),
    Setting::new(
        "select_by_default",
        Kind::Choice(&["used", "allowed"]),
        "The properties that discovery selects: those that occur in the sample or that the classes require (`used`), or all that the classes allow (`allowed`). With `allowed`, a record has null for an attribute that no entry has any more. Use it for mirrors without a catalog: a target does not change properties that are not in the SCHEMA.",
    )
    .of(Group::Streams)
    .or("\"used\""),
    Setting::new(
        "single_valued",
        Kind::TextList,
        "Attributes to emit as one value although the schema allows several. The value in the entry's RDN is preferred; one warning counts the entries with more values.",
    )
    .of(Group::Streams)
    .basic()
    .or("[]"),
    Setting::new(
        "operational_attributes",
        Kind::TextList,
        "Operational attributes of every stream. Default: the immutable id, `createTimestamp`, `modifyTimestamp`, and the server's own change key. A secret attribute in this list (`userPassword`) is read if it occurs, and `userPassword` together with the lock of its account (`pwdAccountLockedTime`, `nsAccountLock`); a list of such names alone does not change the default.",
    )
    .of(Group::Streams),
    Setting::new(
        "membership_streams",
        Kind::Boolean,
        "Add a stream `<name>_members` for each stream with groups: one record for each member of each group, from `member`, `uniqueMember`, `memberUid` and Active Directory's `primaryGroupID`.",
    )
    .of(Group::Streams)
    .basic()
    .or("false"),
    Setting::new(
        "own_values",
        Kind::Boolean,
        "Read what the entries have of their own, without the values that 389 Directory Server computes by classes of service and roles: for mirrors to another directory, in which a computed value would be one of the entry's own. By default the tap reads what the server shows, as a warehouse wants it. Other servers compute no values, and are read as before.",
    )
    .of(Group::Streams)
    .or("false"),
    Setting::new(
        "state_interval_records",
        Kind::Integer { min: 1, max: i64::MAX },
        "Records between two STATE messages, if the position can be resumed (INCREMENTAL, and changes by LOG_BASED). If the server cannot sort, INCREMENTAL reads windows of about this many entries.",
    )
    .of(Group::Replication)
    .or("10000"),
    Setting::new(
        "partitions",
        Kind::Integer { min: 1, max: MOST_PARTITIONS },
        "The number of connections for a whole read of a stream, each with a range of an attribute that never changes (OpenLDAP's `entryUUID`, Active Directory's `uSNCreated`); `connection_pool_size` must be one more. The bound user needs the right to search by that attribute on all entries: a server silently omits the others. Records are not ordered. Other servers, and containers with nested containers, are read over one connection.",
    )
    .of(Group::Throughput)
    .or("1"),
    Setting::new(
        "follow",
        Kind::Boolean,
        "Keep running after the first sync and emit changes as they happen, with a STATE within a second, until a signal arrives. Only for LOG_BASED streams; others are read once.",
    )
    .of(Group::Replication)
    .or("false"),
    Setting::new(
        "ignore_modifiers",
        Kind::TextList,
        "DNs (`modifiersName`) whose changes INCREMENTAL and LOG_BASED deltas ignore: those of your own loader, so that its changes are not read back. Full reads emit all entries; deletions are always emitted. Not on Active Directory, which does not store the modifier of an entry.",
    )
    .of(Group::Replication)
    .or("[]"),
    Setting::new(
        "track_deletions",
        Kind::Boolean,
        "Keep the keys and DNs of entries in `state_dir`. FULL_TABLE and INCREMENTAL: after each complete read, emit a deletion (`_sdc_deleted_at`) for each entry that no longer exists; INCREMENTAL then reads the keys of all entries in every run. LOG_BASED: a deletion has its `dn`, and a renamed entry is emitted as the deletion of its old DN and a record with the new one, for mirrors.",
    )
    .of(Group::Deletions)
    .or("false"),
    Setting::new(
        "state_dir",
        Kind::Text,
        "With `track_deletions`: the folder of the indexes of keys, one file for each stream. It belongs to one tap and its STATE, and must be kept between runs.",
    )
    .of(Group::Deletions),
    Setting::new(
        "verify",
        Kind::Choice(&["auto", "always", "never"]),
        "Compare the entries emitted by each whole read with a pass over the DNs in the directory. `auto`: for files, for streams by container (one pass per run), and for `partitions`; for streams by class, whether entries are in no stream because their `objectClass` is hidden (one pass, OpenLDAP and 389 Directory Server). Other reads are one search, which the server reports as complete. `always`: one more search of the DNs for each stream. Missing entries are read one by one; if some remain, the stream gets a warning and no ACTIVATE_VERSION.",
    )
    .of(Group::Deletions)
    .or("\"auto\""),
    Setting::new(
        "allow_empty_streams",
        Kind::Boolean,
        "Accept a whole read without records as complete: send its ACTIVATE_VERSION, and emit the deletions that `track_deletions` finds. By default an empty result deletes nothing, because a misspelled filter or a missing right also causes one. Neither does the result of a filter that asks for a class, an attribute or a comparison that the directory does not know, unless this is set.",
    )
    .of(Group::Deletions)
    .or("false"),
    Setting::new(
        "emit_activate_version_messages",
        Kind::Boolean,
        "Send ACTIVATE_VERSION at the end of a whole read. Use `false` for targets that fail at this message. Then nothing is deleted downstream, except by records with `_sdc_deleted_at` (`LOG_BASED`, `track_deletions`).",
    )
    .of(Group::Deletions)
    .or("true"),
    Setting::new(
        "max_shrink",
        Kind::IntegerOrText,
        "How much smaller than the last complete read of a stream a whole read may be: a number of entries, or a share such as `\"50%\"`. A smaller read deletes nothing: no ACTIVATE_VERSION and no deletions by `track_deletions`. The count is kept in the bookmark, so the STATE must be passed to the next run, for FULL_TABLE as well. Default: no limit; a read of less than half of the last one is a warning, if the last one is known and had at least 20 entries.",
    )
    .of(Group::Deletions)
    .holds_back(),
    Setting::new(
        "batch_config",
        Kind::Object,
        "Write records to files, announced by BATCH messages, as in the Meltano SDK: `{\"encoding\": {\"format\": \"jsonl\", \"compression\": \"gzip\"}, \"storage\": {\"root\": \"file:///path\", \"prefix\": \"…\"}, \"batch_size\": 10000}`. `compression` may be `none`; the target must be able to read the folder.",
    )
    .of(Group::Output),
    Setting::new(
        "catalog_path",
        Kind::Text,
        "The catalog to use if `--catalog` is not given.",
    )
    .of(Group::Streams)
    .flext("FLEXT_SINGER_LDAP_CATALOG_PATH"),
];
