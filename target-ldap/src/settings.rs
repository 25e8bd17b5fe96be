//! The target's own settings, and the text of `--about`.

use singer_common::about::About;
use singer_common::definition::Plugin;
use singer_common::settings::{Kind, Setting, Table};

/// The settings of `target-ldap`.
pub const TABLE: Table = Table { prefix: "TARGET_LDAP", own: OWN };

/// What `target-ldap --about` prints.
pub const ABOUT: About = About {
    name: "target-ldap",
    description: "Reads Singer messages and makes a directory (OpenLDAP, 389 Directory Server, Active Directory, any LDAP server, or an LDIF file) match them.",
    version: env!("CARGO_PKG_VERSION"),
    capabilities: &[
        "about",
        "activate-version",
        "batch",
        "schema-flattening",
        "stream-maps",
        "structured-logging",
        "validate-records",
    ],
    table: TABLE,
};

/// The additions for Meltano's definition of `target-ldap`.
pub const PLUGIN: Plugin = Plugin {
    variant: "flext",
    label: "LDAP",
    keywords: &["ldap", "directory", "active directory", "openldap", "ldif"],
    required: &[&["server_url"], &["host"], &["ldif_export_path"]],
};

const OWN: &[Setting] = &[
    Setting::new(
        "default_base_dn",
        Kind::Text,
        "Where records go whose rule gives no full DN: a `dn_template` of one RDN is put below it, and without a template the entry is named by the stream's key.",
    ),
    Setting::new(
        "mapping_rules",
        Kind::Object,
        "How records become entries, by stream; `\"*\"` is the rule of streams without one of their own. A stream without any rule, whose records have `dn` and `objectClass`, is mirrored as it is.",
    )
    .or("{}"),
    Setting::new(
        "dn_rewrite",
        Kind::ObjectList,
        "`[{\"from\": …, \"to\": …}]`: moves `dn` and every DN-valued attribute from below one name to below another. The first that fits is used.",
    )
    .or("[]"),
    Setting::new(
        "on_error",
        Kind::Choice(&["fail", "skip"]),
        "What a bad record does. `fail` ends the run at it; what came before it is written. `skip` puts it into `reject_file` and goes on; the run ends with exit code 4. Only what is the record's own fault is skipped, not what is the connection's or the server's.",
    )
    .or("\"fail\""),
    Setting::new(
        "reject_file",
        Kind::Text,
        "With `on_error: skip`: the file that rejected records are appended to, one JSON object a line, as `--retry-rejects` reads it. Passwords in it are masked.",
    ),
    Setting::new(
        "max_rejects",
        Kind::Integer { min: 0, max: i64::MAX },
        "With `on_error: skip`: the most records of one run that may be rejected. One more ends the run with exit code 1, STATE staying before it.",
    ),
    Setting::new(
        "validate_records",
        Kind::Boolean,
        "Check each record against its stream's SCHEMA (JSON Schema, formats included: of properties that a rule uses; times and URIs are read in other forms, too, and an empty text is no value).",
    )
    .or("true"),
    Setting::new(
        "create_parents",
        Kind::Boolean,
        "Create missing parents of an entry: `ou`, `dc`, `o`, `c`, `l` and `st`, and on Active Directory `cn`; at most 100 one above the other. Not set: true for a server; false for an LDIF file, which takes entries without parents.",
    ),
    Setting::new(
        "process_activate_version",
        Kind::Boolean,
        "Whether ACTIVATE_VERSION counts: entries in the rule's scope (`scope_base`, `scope_filter`) that did not come with the version go the way of `on_delete`, once, when the input has ended. What any record of the run brought, matched or was rejected for stays. Nothing goes for a stream without a scope, or of which no record came before the announcement. Every run has to bring the whole version.",
    )
    .or("false")
    // The name in the Meltano SDK.
    .alias(&["process_activate_version_messages"]),
    Setting::new(
        "activate_when_quiet_seconds",
        Kind::Integer { min: 1, max: 86_400 },
        "With `process_activate_version`, for an input that stays open (a tap with `follow`): seconds without input, since the STATE behind the ACTIVATE_VERSION, after which the deletions of the version are made. Until then STATE is held back. Not set: they are made when the input ends.",
    ),
    Setting::new("max_in_flight", Kind::Integer { min: 1, max: 1024 }, "Writes outstanding at once, in all. The entries of the records after them are looked up meanwhile; with 1 everything is done one after another.").or("32"),
    Setting::new(
        "dry_run",
        Kind::Boolean,
        "Write nothing: read the directory and print the plan on stdout, as `--dry-run` does. No STATE is printed.",
    )
    .or("false"),
    Setting::new(
        "undo_file",
        Kind::Text,
        "Where to write LDIF that takes the run back: `target-ldap undo FILE` looks at each entry first, `ldapmodify` does not. Its last part may contain `{run_id}` (when the run began and its id in the log) and `{date}`: then each run has a file of its own. A dry run leaves it as it is.",
    ),
    Setting::new(
        "undo_keep",
        Kind::Integer { min: 1, max: i64::MAX },
        "With `{run_id}` or `{date}` in `undo_file`: how many files are kept, the newest; 24 if not given. What killed runs left is never removed.",
    ),
    Setting::new(
        "max_deletes",
        Kind::IntegerOrText,
        "The most entries a run may delete (or move away with what lies below, or set values of, with `on_delete`): a number, or a share of the entries below `default_base_dn` or the server's base, such as \"5%\". A run that would delete more writes nothing and ends with exit code 1. The input is read to its end first.",
    ),
    Setting::new(
        "max_changes",
        Kind::IntegerOrText,
        "The most changes a run may make, of any kind; otherwise as `max_deletes`.",
    ),
    Setting::new(
        "assert_unchanged",
        Kind::Boolean,
        "Make a change to an entry only if what it changes is as it was read (assertion control, RFC 4528): else the entry is read and compared again. A server without the control is refused.",
    )
    .or("false"),
    Setting::new(
        "preserve_uuid",
        Kind::Boolean,
        "Give new entries the `entryUUID` of their records, for mirrors (relax rules control: OpenLDAP, for who has the right to `manage`; and LDIF files). Other servers are refused.",
    )
    .or("false"),
    Setting::new(
        "ldif_check",
        Kind::Boolean,
        "Hold the entries of a `ldif:` destination to the built-in standard schema, as a server does: what their classes demand is there, and nothing that these do not allow. Not set: a file takes every entry.",
    )
    .or("false"),
    Setting::new(
        "ldif_format",
        Kind::Choice(&["content", "changes"]),
        "What a `ldif:` destination holds: the entries, or the change records that lead to them.",
    )
    .or("\"content\""),
    Setting::new(
        "ldif_export_path",
        Kind::Text,
        "The LDIF file to write when no server is given.",
    )
    .flext("FLEXT_LDIF_EXPORT_PATH"),
];
