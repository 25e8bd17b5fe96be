//! The target's configuration, resolved: every template parsed, every name checked, before a record is read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use singer_common::directory::ldif::{LdifFormat, LdifRules};
use singer_common::directory::{DirectoryConfig, ServerUrl};
use singer_common::dn::SuffixRewrite;
use singer_common::facts::Warning;
use singer_common::maps::Maps;
use singer_common::settings::nearest;

use crate::rules::rule::Rule;
use crate::rules::template::FilterTemplate;
use limits::Guards;
use undo_file::UndoFile;

pub mod limits;
mod target_settings;
pub mod undo_file;

/// What a bad record does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OnError {
    /// It ends the run.
    #[default]
    Fail,
    /// It is left out.
    Skip {
        /// Where it is put.
        file: PathBuf,
        /// How many may be; `None`: any number.
        max: Option<u64>,
    },
}

/// The target's settings.
#[allow(clippy::struct_excessive_bools, reason = "they are the settings, as they are")]
#[derive(Debug, Clone)]
pub struct TargetConfig {
    /// Stream maps and flattening, when they are asked for.
    pub maps: Option<Maps>,
    /// The directory.
    pub directory: DirectoryConfig,
    /// Where records go whose rule gives no full DN.
    pub default_base_dn: Option<String>,
    /// The rules by stream; `*` for the others.
    pub rules: BTreeMap<String, Rule>,
    /// Suffixes to rewrite.
    pub dn_rewrite: Vec<SuffixRewrite>,
    /// What a bad record does.
    pub on_error: OnError,
    /// Whether records are checked against their SCHEMA.
    pub validate_records: bool,
    /// Whether ACTIVATE_VERSION deletes what is gone.
    pub process_activate_version: bool,
    /// After how long without input the deletions of a version are made; `None`: when the input has ended.
    pub activate_when_quiet: Option<Duration>,
    /// Whether missing parents are created.
    pub create_parents: bool,
    /// Whether entries of an LDIF file have to go with the schema.
    pub ldif_check: bool,
    /// Writes outstanding at once.
    pub max_in_flight: usize,
    /// What a file holds.
    pub ldif_format: LdifFormat,
    /// Whether METRIC lines are written.
    pub metrics: bool,
    /// Whether the run only shows what it would do.
    pub dry_run: bool,
    /// Where to write what takes the run back.
    pub undo: Option<UndoFile>,
    /// What the run may do at most.
    pub guards: Guards,
    /// Whether a modify is made only of what is as it was read.
    pub assert_unchanged: bool,
    /// Whether new entries are given the entryUUID of their records.
    pub preserve_uuid: bool,
}

impl TargetConfig {
    /// The attributes by which entries are looked for, each once.
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

    /// What is said of rules that none of these streams used: their entries are left as they are, without a word. For a run
    /// whose input was read to its end.
    pub fn unused_rules(&self, streams: &[&str]) -> Vec<Warning> {
        let unused = self.rules.keys().filter(|name| *name != "*" && !streams.contains(&name.as_str()));
        let warning = |name: &String| {
            // One that has a rule of its own is nobody's misspelt name.
            let without = streams.iter().copied().filter(|stream| !self.rules.contains_key(*stream));
            let setting = format!("mapping_rules.{name}");
            let text =
                format!("setting `{setting}`: the input has no stream `{name}`, and the rule was not used");
            Warning::of_setting(setting, text).near(name, nearest(name, without))
        };
        unused.map(warning).collect()
    }

    /// Whether the destination is a file of changes, which does not hold the directory that they are for.
    pub fn writes_changes(&self) -> bool {
        self.ldif_destination().is_some() && self.ldif_format == LdifFormat::Changes
    }

    /// What is asked of the entries of a file.
    pub fn ldif_rules(&self) -> LdifRules {
        // Where changes are carried out one after another, or taken back so, a parent that comes later goes first.
        let is_in_order = self.ldif_format == LdifFormat::Changes || self.undo.is_some();
        let takes_orphans = !self.create_parents && !is_in_order;
        LdifRules { takes_orphans, checks_schema: self.ldif_check }
    }

    /// The LDIF file that is written, where it is one.
    pub fn ldif_destination(&self) -> Option<&Path> {
        match self.directory.servers.first() {
            Some(ServerUrl::Ldif(path)) => Some(path),
            _ => None,
        }
    }

    /// The rule of a stream: its own, or `*`.
    pub fn rule(&self, stream: &str) -> Option<&Rule> {
        self.rules.get(stream).or_else(|| self.rules.get("*"))
    }
}
