//! The tap's own settings, and what `--about` says.

use singer_common::plugin::about::About;
use singer_common::plugin::definition::Plugin;
use singer_common::plugin::settings::{Kind, Setting, Table};

/// The settings of `tap-ldap`.
pub const TABLE: Table = Table { prefix: "TAP_LDAP", own: OWN };

/// What `tap-ldap --about` prints.
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

/// What Meltano's definition of `tap-ldap` says beside that.
pub const PLUGIN: Plugin = Plugin {
    variant: "flext",
    label: "LDAP",
    keywords: &["ldap", "directory", "active directory", "openldap", "ldif"],
    required: &[&["server_url"], &["host"]],
};

/// More would keep no server busy, and few let one client have so many connections.
pub(crate) const MOST_PARTITIONS: i64 = 32;

const OWN: &[Setting] = &[
    Setting::new(
        "base_dn",
        Kind::Text,
        "Where the directory begins for this tap. Default: the server's default naming context, or its only one.",
    ),
    Setting::new(
        "schemas",
        Kind::ObjectList,
        "The streams, in place of those found by discovery: a list of objects with `name`, `base_dn`, `filter`, `scope` (`base`, `one`, `sub`), `attributes`, `exclude_attributes`, `key_properties`, `replication_method`, `replication_key`, `single_valued`, `partitions`.",
    )
    .alias(&["streams"]),
    Setting::new(
        "discover_by",
        Kind::Choice(&["ou", "object_class", "both"]),
        "What becomes a stream: every container of entries (`ou`), every structural class that occurs (`object_class`), or `both`; of both, the containers are selected by default.",
    )
    .or("\"ou\""),
    Setting::new(
        "discovery_sample_size",
        Kind::Integer { min: 0, max: i64::MAX },
        "Entries read per stream to see which classes and attributes occur; 0 reads all, and of a file all are read in any case. Attributes that do not occur in the sample are not selected by default: use 0 for mirrors.",
    )
    .or("1000"),
    Setting::new(
        "select_by_default",
        Kind::Choice(&["used", "allowed"]),
        "Which properties discovery selects: those that occur in the sample or that the classes demand (`used`), or all that the classes allow (`allowed`), so that a record has null for what no entry has any more. Use `allowed` for mirrors without a catalog: a target leaves alone what no SCHEMA has.",
    )
    .or("\"used\""),
    Setting::new(
        "single_valued",
        Kind::TextList,
        "Attributes to emit as one value though the schema allows several. The value of the entry's own name comes first; entries that had more are counted in one warning.",
    )
    .or("[]"),
    Setting::new(
        "operational_attributes",
        Kind::TextList,
        "Operational attributes to add to every stream. Default: the immutable id, `createTimestamp`, `modifyTimestamp`, and the server's own change key. A secret attribute in this list (`userPassword`) is read where it occurs; a list of secret attributes alone leaves the default as it is.",
    ),
    Setting::new(
        "membership_streams",
        Kind::Boolean,
        "For each stream with groups add one, `<name>_members`, with a record for each member of each group, from `member`, `uniqueMember`, `memberUid` and Active Directory's `primaryGroupID`.",
    )
    .or("false"),
    Setting::new(
        "state_interval_records",
        Kind::Integer { min: 1, max: i64::MAX },
        "Records after which STATE is printed, where the position can be resumed (INCREMENTAL, and changes by LOG_BASED). Where the server cannot sort, INCREMENTAL reads windows of about so many entries.",
    )
    .or("10000"),
    Setting::new(
        "partitions",
        Kind::Integer { min: 1, max: MOST_PARTITIONS },
        "Read a stream whole over so many connections side by side, each with a range of an attribute that never changes (OpenLDAP's `entryUUID`, Active Directory's `uSNCreated`); `connection_pool_size` has to be one more. The bound user needs the right to search by that attribute on all entries: a server leaves out the others without a word. Records come in no order. Other servers and containers with others nested in them are read over one connection.",
    )
    .or("1"),
    Setting::new(
        "follow",
        Kind::Boolean,
        "Stay after the first sync and print changes as they happen, with STATE within a second, until a signal comes. For LOG_BASED streams; others are read once.",
    )
    .or("false"),
    Setting::new(
        "ignore_modifiers",
        Kind::TextList,
        "DNs (`modifiersName`) whose changes are left out of INCREMENTAL and LOG_BASED deltas: those of your own loader, so that they do not come back. Full reads have all entries; deletions are told whoever made them. Not on Active Directory, which does not say who changed an entry.",
    )
    .or("[]"),
    Setting::new(
        "track_deletions",
        Kind::Boolean,
        "Keep the keys and names of entries in `state_dir`. FULL_TABLE and INCREMENTAL: after each complete read print a deletion (`_sdc_deleted_at`) for each that is gone; INCREMENTAL then reads the keys of all entries in every run. LOG_BASED: a deletion has its `dn`, and a renamed entry comes as the deletion of its old name and a record with the new one, for mirrors.",
    )
    .or("false"),
    Setting::new(
        "state_dir",
        Kind::Text,
        "With `track_deletions`: the folder of the indexes of keys, one file for each stream. It belongs to one tap and its STATE, and has to stay from run to run.",
    ),
    Setting::new(
        "verify",
        Kind::Choice(&["auto", "always", "never"]),
        "Compare the entries emitted by each whole read with a pass over the names in the directory. `auto`: for files, for streams by container (one pass for the run), and for `partitions`; of streams by class, whether entries are in none of them because their `objectClass` is hidden (one pass, OpenLDAP and 389 Directory Server); other reads are one search, whose answer the server says is complete. `always`: one more search of the names for each stream. Entries that are missing are read one by one; if some remain, the stream gets one warning and no ACTIVATE_VERSION.",
    )
    .or("\"auto\""),
    Setting::new(
        "allow_empty_streams",
        Kind::Boolean,
        "Let a stream that was read whole without a record replace what was there: send its ACTIVATE_VERSION, and emit the deletions that `track_deletions` finds. By default an empty answer deletes nothing: a misspelt filter or a lost right gives one, too.",
    )
    .or("false"),
    Setting::new(
        "emit_activate_version_messages",
        Kind::Boolean,
        "Send ACTIVATE_VERSION at the end of a stream that was read whole. Some loaders end with an error at this message: `false` is for them. Nothing is deleted downstream then, but by records with `_sdc_deleted_at` (`LOG_BASED`, `track_deletions`).",
    )
    .or("true"),
    Setting::new(
        "max_shrink",
        Kind::IntegerOrText,
        "How much smaller than its last complete answer a stream that is read whole may be: a number of entries, or a share such as `\"50%\"`. A smaller answer deletes nothing: no ACTIVATE_VERSION and no deletions by `track_deletions`. The count is kept in the bookmark, so that the STATE has to come back with the next run, for FULL_TABLE as well. Default: no limit; an answer of less than half of the last one, where that is known and had 20 entries or more, is a warning.",
    ),
    Setting::new(
        "batch_config",
        Kind::Object,
        "Records in files of their own, told of by BATCH messages, as the Meltano SDK has it: `{\"encoding\": {\"format\": \"jsonl\", \"compression\": \"gzip\"}, \"storage\": {\"root\": \"file:///path\", \"prefix\": \"…\"}, \"batch_size\": 10000}`. `compression` may be `none`; the folder has to be one that the target sees, too.",
    ),
    Setting::new(
        "catalog_path",
        Kind::Text,
        "The catalog to use when there is no `--catalog`.",
    )
    .flext("FLEXT_SINGER_LDAP_CATALOG_PATH"),
];
