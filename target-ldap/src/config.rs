//! The target's configuration: the settings, parsed and checked before the first record is read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::NaiveDate;
use ldap_directory::dn::SuffixRewrite;
use ldap_directory::ldif::{LdifFormat, LdifRules};
use ldap_directory::nearest::nearest;
use ldap_directory::time::Zone;
use ldap_directory::{DirectoryConfig, ServerUrl};
use singer_common::maps::Maps;
use singer_common::operations::facts::Warning;

use crate::rules::rule::Rule;
use crate::rules::template::FilterTemplate;
use held::HeldSettings;
use limits::{Guards, StreamLimits};
use protection::ProtectionSettings;
use rule_digests::RuleDigests;
use undo_file::UndoFile;

pub mod held;
pub mod limits;
pub mod protection;
pub mod rule_digests;
mod target_settings;
pub mod undo_file;

/// What happens to a record that cannot be written (`on_error`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OnError {
    /// The run fails.
    #[default]
    Fail,
    /// The record is rejected, and the run continues.
    Skip {
        /// The reject file.
        file: PathBuf,
        /// The most records that may be rejected; `None`: any number.
        max: Option<u64>,
    },
}

/// The target's configuration.
#[allow(clippy::struct_excessive_bools, reason = "they are the settings, as they are")]
#[derive(Debug, Clone)]
pub struct TargetConfig {
    /// Stream maps and flattening, if they are set.
    pub maps: Option<Maps>,
    /// The directory.
    pub directory: DirectoryConfig,
    /// The base DN for records whose rule has no absolute DN.
    pub default_base_dn: Option<String>,
    /// The rules by stream; `*` is for all other streams.
    pub rules: BTreeMap<String, Rule>,
    /// DN suffixes to replace.
    pub dn_rewrite: Vec<SuffixRewrite>,
    /// The zone of times that do not name one.
    pub default_timezone: Zone,
    /// The day of the run in that zone: one for all of it.
    pub today: NaiveDate,
    /// What happens to a record that cannot be written.
    pub on_error: OnError,
    /// Whether records are checked against their SCHEMA.
    pub validate_records: bool,
    /// Whether ACTIVATE_VERSION deletes entries that are not in the version.
    pub process_activate_version: bool,
    /// How long the input must be quiet before the deletions of a version are made; `None`: they are made at the end of the
    /// input.
    pub activate_when_quiet: Option<Duration>,
    /// Whether missing parents are created.
    pub create_parents: bool,
    /// Whether entries of an LDIF file must conform to the schema.
    pub ldif_check: bool,
    /// The most write operations in flight.
    pub max_in_flight: usize,
    /// What an LDIF file contains: entries or changes.
    pub ldif_format: LdifFormat,
    /// Whether METRIC lines are logged.
    pub metrics: bool,
    /// Whether the run only prints its plan.
    pub dry_run: bool,
    /// The undo file, if one is to be written.
    pub undo: Option<UndoFile>,
    /// The most deletions and changes that the run may make.
    pub guards: Guards,
    /// The most changes that the run may make, by stream and kind.
    pub limits: StreamLimits,
    /// What tells the rules from those of an earlier run.
    pub digests: RuleDigests,
    /// What a run leaves that is held back.
    pub held: HeldSettings,
    /// What no run changes.
    pub protection: ProtectionSettings,
    /// Whether an entry is modified only if it is as it was read (RFC 4528).
    pub assert_unchanged: bool,
    /// Whether new entries get the entryUUID of their records.
    pub preserve_uuid: bool,
}

impl TargetConfig {
    /// Whether something can hold a run back: then it is rehearsed first.
    pub fn has_limits(&self) -> bool {
        self.guards.is_any() || self.limits.is_any() || self.held.plan_file.is_some()
    }

    /// Returns the entries below which `max_deletes` and `max_changes` are a share: `default_base_dn`, else those of the rules'
    /// scopes. Empty: the server's own base.
    pub fn limit_bases(&self) -> Vec<&str> {
        match &self.default_base_dn {
            Some(base) => vec![base],
            None => self.rules.values().filter_map(|rule| rule.scope_base.as_deref()).collect(),
        }
    }

    /// Returns the bases that the settings name, with the names of the settings: no run changes these entries.
    pub fn named_bases(&self) -> Vec<(String, String)> {
        let default = self.default_base_dn.iter().map(|dn| ("default_base_dn".to_owned(), dn.clone()));
        let of_rule = |(stream, rule): (&String, &Rule)| {
            let base = rule.scope_base.clone()?;
            Some((format!("mapping_rules.{stream}.scope_base"), base))
        };
        default.chain(self.rules.iter().filter_map(of_rule)).collect()
    }

    /// Returns the attributes that `match` compares, each once.
    pub fn matched_attributes(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .rules
            .values()
            .filter_map(|r| r.matching.as_ref())
            .flat_map(FilterTemplate::attributes)
            .collect();
        names.sort_unstable_by_key(|n| n.to_ascii_lowercase());
        names.dedup_by(|a, b| a.eq_ignore_ascii_case(b));
        names
    }

    /// Returns warnings for rules that none of these streams used. For a run whose input was read to its end.
    pub fn unused_rules(&self, streams: &[&str]) -> Vec<Warning> {
        let unused = self.rules.keys().filter(|name| *name != "*" && !streams.contains(&name.as_str()));
        let warning = |name: &String| {
            // A stream with a rule of its own is not a misspelt name.
            let without = streams.iter().copied().filter(|stream| !self.rules.contains_key(*stream));
            let setting = format!("mapping_rules.{name}");
            let text =
                format!("setting `{setting}`: the input has no stream `{name}`, and the rule was not used");
            Warning::of_setting(setting, text).near(name, nearest(name, without))
        };
        unused.map(warning).collect()
    }

    /// Whether the destination is an LDIF file of changes, which does not contain the directory that they are for.
    pub fn writes_changes(&self) -> bool {
        self.ldif_destination().is_some() && self.ldif_format == LdifFormat::Changes
    }

    /// Returns the checks for entries of an LDIF file.
    pub fn ldif_rules(&self) -> LdifRules {
        // If changes are applied, or undone, in order, a parent must come before its children.
        let is_in_order = self.ldif_format == LdifFormat::Changes || self.undo.is_some();
        let takes_orphans = !self.create_parents && !is_in_order;
        LdifRules { takes_orphans, checks_schema: self.ldif_check }
    }

    /// Returns the LDIF file that is written, if the destination is one.
    pub fn ldif_destination(&self) -> Option<&Path> {
        match self.directory.servers.first() {
            Some(ServerUrl::Ldif(path)) => Some(path),
            _ => None,
        }
    }

    /// Returns the rule of a stream: its own, or `*`.
    pub fn rule(&self, stream: &str) -> Option<&Rule> {
        self.rules.get(stream).or_else(|| self.rules.get("*"))
    }
}
