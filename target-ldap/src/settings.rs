//! The target's own settings, and the text of `--about`.

use singer_common::plugin::about::About;
use singer_common::plugin::definition::{Plugin, PluginCommand};
use singer_common::plugin::settings::{Group, Kind, Setting, Table};

/// The settings of `target-ldap`.
pub const TABLE: Table = Table { prefix: "TARGET_LDAP", own: OWN, without: &[] };

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
    kind: "loaders",
    keywords: &["ldap", "directory", "active directory", "openldap", "ldif"],
    required: &[&["server_url"], &["host"], &["ldif_export_path"]],
    commands: &[
        PluginCommand {
            name: "doctor",
            args: "doctor --config ENV",
            description: "Check what the configuration may do in the directory, and list requests to its administrator; writes nothing",
        },
        PluginCommand {
            name: "dry-run",
            args: "--config ENV --dry-run",
            description: "Print the changes that a run would make with the messages on stdin, or of --input FILE; writes nothing",
        },
        PluginCommand {
            name: "undo",
            args: "undo --config ENV",
            description: "Undo the run that wrote FILE (undo_file)",
        },
    ],
};

const OWN: &[Setting] = &[
    Setting::new(
        "default_base_dn",
        Kind::Text,
        "The base DN for records whose rule has no absolute DN: a `dn_template` of one RDN is relative to it. Without a template the RDN is the stream's key.",
    )
    .of(Group::Mapping)
    .basic(),
    Setting::new(
        "mapping_rules",
        Kind::Object,
        "How records are mapped to entries, by stream; `\"*\"` is the rule for all streams without their own. A stream without a rule is mirrored as it is, if its records have `dn` and `objectClass`.",
    )
    .of(Group::Mapping)
    .basic()
    .or("{}"),
    Setting::new(
        "dn_rewrite",
        Kind::ObjectList,
        "`[{\"from\": …, \"to\": …}]`: replaces the suffix of `dn` and of every DN-valued attribute. The first suffix that matches is replaced.",
    )
    .of(Group::Mapping)
    .basic()
    .or("[]"),
    Setting::new(
        "default_timezone",
        Kind::Text,
        "The time zone of dates and times without one, in mapped properties, `match`, `defaults` and the filter `date` of templates: a name of the IANA time zone database, such as `Europe/Berlin`, or an offset, such as `+02:00`.",
    )
    .of(Group::Mapping)
    .or("\"UTC\""),
    Setting::new(
        "today",
        Kind::Text,
        "The day of the run, as `2026-01-31`: what `{today}`, `days_until` and `accounts` compare with, and `today()` in stream maps. The default is the day on which the run starts, in `default_timezone`. With `--dry-run` it shows what another day will change; a warning names it in a run that writes.",
    )
    .of(Group::Mapping),
    Setting::new(
        "on_error",
        Kind::Choice(&["fail", "skip"]),
        "What happens to a record that cannot be written. `fail`: the run fails; earlier records are written. `skip`: the record is appended to `reject_file`, the run continues and ends with exit code 4. Only faults of the record are skipped, not failures of the connection or the server.",
    )
    .of(Group::Rejects)
    .basic()
    .or("\"fail\""),
    Setting::new(
        "reject_file",
        Kind::Text,
        "With `on_error: skip`: the file that rejected records are appended to, one JSON object per line, for `--retry-rejects`. Passwords are masked.",
    )
    .of(Group::Rejects)
    .basic(),
    Setting::new(
        "max_rejects",
        Kind::Integer { min: 0, max: i64::MAX },
        "With `on_error: skip`: the most records that a run may reject. With one more the run fails (exit code 1), and STATE stays before that record.",
    )
    .of(Group::Rejects)
    .holds_back(),
    Setting::new(
        "validate_records",
        Kind::Boolean,
        "Validate each record against its stream's SCHEMA (JSON Schema). `format` is checked only for email addresses that are written to `mail`; an empty text is no value.",
    )
    .of(Group::Rejects)
    .or("true"),
    Setting::new(
        "create_parents",
        Kind::Boolean,
        "Create missing parents of an entry: `ou`, `dc`, `o`, `c`, `l` and `st`, and on Active Directory `cn`; at most 100 levels. Not set: true for a server; false for an LDIF file, which accepts entries without parents.",
    )
    .of(Group::Mapping),
    Setting::new(
        "process_activate_version",
        Kind::Boolean,
        "Delete by ACTIVATE_VERSION: entries in the rule's scope (`scope_base`, `scope_filter`) that are not in the version are deleted as `on_delete` says, once the input has ended. Entries that any record of the run wrote, matched or was rejected for stay. Nothing is deleted for a stream without a scope, or without a record before the message. Every run must contain the whole version.",
    )
    .of(Group::Deletions)
    .basic()
    .or("false")
    // The name in the Meltano SDK.
    .alias(&["process_activate_version_messages"]),
    Setting::new(
        "activate_when_quiet_seconds",
        Kind::Integer { min: 1, max: 86_400 },
        "With `process_activate_version`, for an input that stays open (a tap with `follow`): the deletions of a version are made after this many seconds without input, if a STATE has followed the ACTIVATE_VERSION. Until then STATE is held back. Not set: they are made when the input ends.",
    )
    .of(Group::Deletions),
    Setting::new("max_in_flight", Kind::Integer { min: 1, max: 1024 }, "The most write operations in flight. Meanwhile the entries of later records are searched; with 1 everything is done one after another.")
        .of(Group::Throughput)
        .or("32"),
    Setting::new(
        "write_connections",
        Kind::Integer { min: 1, max: 16 },
        "The most connections over which writes are sent, all to the same server. Further ones are opened while several writes are in flight; they are not counted in `connection_pool_size`. One is used, and the log says so, if the server publishes nothing to be recognized by, or if another server answers behind the same address, as behind a load balancer.",
    )
    .of(Group::Throughput)
    .or("4"),
    Setting::new(
        "dry_run",
        Kind::Boolean,
        "Write nothing: read the directory and print the plan on stdout, as `--dry-run` does. No STATE is printed.",
    )
    .of(Group::PlanAndUndo)
    .holds_back()
    .basic()
    .or("false"),
    Setting::new(
        "undo_file",
        Kind::Text,
        "The file for LDIF that undoes the run: `target-ldap undo FILE` checks each entry first, `ldapmodify` does not. The file name may contain `{run_id}` (the start of the run and its ID in the log) and `{date}`: then each run has its own file. A dry run does not write it.",
    )
    .of(Group::PlanAndUndo)
    .holds_back()
    .basic(),
    Setting::new(
        "undo_keep",
        Kind::Integer { min: 1, max: i64::MAX },
        "With `{run_id}` or `{date}` in `undo_file`: the number of newest files to keep; 24 if not set. Files of killed runs are never removed.",
    )
    .of(Group::PlanAndUndo),
    Setting::new(
        "max_deletes",
        Kind::IntegerOrText,
        "The most entries that a run may delete (or, with `on_delete`, move with their subtree or set values of): a number, or a percentage of the entries below `default_base_dn`, else those in the scopes of the rules (`scope_base`), else below the server's base, such as \"5%\". A run that would delete more writes nothing and fails (exit code 1). The input is read to its end first.",
    )
    .of(Group::Limits)
    .holds_back()
    .basic(),
    Setting::new(
        "max_changes",
        Kind::IntegerOrText,
        "The most changes of any kind that a run may make; otherwise as `max_deletes`.",
    )
    .of(Group::Limits)
    .holds_back(),
    Setting::new(
        "limits",
        Kind::Object,
        "The most changes by stream and kind: `{\"users\": {\"delete\": \"5%\", \"rename\": 20}}`. The streams are the names of `mapping_rules`; `\"*\"` is for each stream without limits of its own. Kinds: `add`, `modify`, `rename` (moves included), `delete` (as in `max_deletes`), `change` (any). A number, or a percentage of the entries in the scope of the stream's rule: below its `scope_base` (else `default_base_dn`, else the server's base), with its `scope_filter` or object classes. Otherwise as `max_deletes`.",
    )
    .of(Group::Limits)
    .holds_back()
    .or("{}"),
    Setting::new(
        "plan_file",
        Kind::Text,
        "The file for the plan of a run that `max_deletes`, `max_changes`, `limits` or `first_run` holds back. Nothing is written to the directory, and the exit code is 5. `target-ldap apply FILE` carries out exactly that plan: LDIF with what it saw of each entry, without passwords. A later held run replaces it. A dry run does not write it. Each run is rehearsed first, and a history beside it (`FILE.history`) has the runs that were carried out or applied.",
    )
    .of(Group::Limits)
    .holds_back()
    .basic(),
    Setting::new(
        "first_run",
        Kind::Choice(&["hold", "apply"]),
        "With `plan_file`: the first run, and the first with a stream, at another directory, or after a change of its rule or of a setting that decides what its records do. `hold`: it is held back if it would delete something of such a stream, or modify or rename more than a tenth of the entries in its scope; `target-ldap apply` carries out its plan. `apply`: it is carried out.",
    )
    .of(Group::Limits)
    .or("\"hold\""),
    Setting::new(
        "on_held",
        Kind::TextOrList,
        "A command that is run when a run is held back, for at most 60 seconds: a line for the shell, or a list of a program and its arguments. It gets a summary as JSON on its standard input. If it fails, that is a warning, and the exit code stays.",
    )
    .of(Group::Limits),
    Setting::new(
        "protect",
        Kind::Object,
        "Entries that no run changes, renames or deletes: `filter` (entries that match it), `dns` (single entries), `below` (these entries and their subtrees, to which nothing is added either). `dns` and `below` are a DN or a list of DNs. A record that would change one is an error of the record. Deletions by ACTIVATE_VERSION skip them.",
    )
    .of(Group::Limits)
    .holds_back()
    .basic(),
    Setting::new(
        "protect_defaults",
        Kind::Boolean,
        "On Active Directory: protect objects with `isCriticalSystemObject=TRUE` or `adminCount=1` as if `protect.filter` matched them. The entry of the bound user, what is above it, `default_base_dn` and every `scope_base` are protected in any case.",
    )
    .of(Group::Limits)
    .or("true"),
    Setting::new(
        "write_base",
        Kind::TextOrList,
        "DN or list of DNs: no change of any kind is made outside of these entries and their subtrees, whatever a record, a template, `dn_rewrite`, `on_delete` or an undo file says. Not set: anywhere.",
    )
    .of(Group::Limits)
    .holds_back()
    .basic(),
    Setting::new(
        "assert_unchanged",
        Kind::Boolean,
        "Modify an entry only if the attributes are as they were read (assertion control, RFC 4528); else the entry is read and compared again. A server without the control is refused.",
    )
    .of(Group::Limits)
    .or("false"),
    Setting::new(
        "preserve_uuid",
        Kind::Boolean,
        "Add entries with the `entryUUID` of their records, for mirrors (relax rules control: OpenLDAP, if the bound user has the right to `manage`; and LDIF files). Other servers are refused.",
    )
    .of(Group::Mapping)
    .or("false"),
    Setting::new(
        "ldif_check",
        Kind::Boolean,
        "Check the entries of an `ldif:` destination against the built-in standard schema, as a server does: required attributes must exist, and others must be allowed by the object classes. Not set: a file accepts every entry.",
    )
    .of(Group::Ldif)
    .or("false"),
    Setting::new(
        "ldif_format",
        Kind::Choice(&["content", "changes"]),
        "What an `ldif:` destination contains: the entries, or the change records that lead to them.",
    )
    .of(Group::Ldif)
    .or("\"content\""),
    Setting::new(
        "ldif_export_path",
        Kind::Text,
        "The LDIF file to write if no server is set.",
    )
    .of(Group::Ldif)
    .flext("FLEXT_LDIF_EXPORT_PATH"),
];
