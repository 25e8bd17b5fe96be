//! The target's configuration, resolved: every template parsed, every name checked, before a record is read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use singer_common::directory::ldif::{LdifFormat, LdifRules};
use singer_common::directory::{DirectoryConfig, ServerUrl};
use singer_common::dn::{Dn, DnKey, SuffixRewrite};
use singer_common::facts::Warning;
use singer_common::maps::Maps;
use singer_common::schema::Schema;
use singer_common::settings::{SettingsError, nearest, typed};

use crate::rules::keys::check_parts;
use crate::rules::rule::{Rule, rule};
use crate::rules::template::FilterTemplate;
use limits::{Guards, Limit};
use undo_file::UndoFile;

pub mod limits;
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

    /// Resolves the settings. Warnings are for the log.
    pub fn from_settings(
        values: &Map<String, Value>,
        warnings: &mut Vec<Warning>,
    ) -> Result<TargetConfig, SettingsError> {
        #[derive(Deserialize)]
        struct Rewrite {
            from: String,
            to: String,
        }
        #[allow(clippy::struct_excessive_bools, reason = "they are the settings, as they are")]
        #[derive(Deserialize)]
        struct Raw {
            default_base_dn: Option<String>,
            mapping_rules: Map<String, Value>,
            dn_rewrite: Vec<Rewrite>,
            on_error: String,
            reject_file: Option<PathBuf>,
            max_rejects: Option<u64>,
            validate_records: bool,
            create_parents: Option<bool>,
            ldif_check: bool,
            process_activate_version: bool,
            activate_when_quiet_seconds: Option<u64>,
            max_in_flight: usize,
            ldif_format: LdifFormat,
            ldif_export_path: Option<PathBuf>,
            enable_metrics: bool,
            dry_run: bool,
            undo_file: Option<PathBuf>,
            undo_keep: Option<u64>,
            max_deletes: Option<Value>,
            max_changes: Option<Value>,
            assert_unchanged: bool,
            preserve_uuid: bool,
        }
        let export =
            values.get("ldif_export_path").and_then(Value::as_str).map(PathBuf::from).map(ServerUrl::Ldif);
        let directory = DirectoryConfig::from_settings(values, export, warnings)?;
        for (n, rewrite) in
            values.get("dn_rewrite").and_then(Value::as_array).into_iter().flatten().enumerate()
        {
            check_parts(&format!("dn_rewrite[{n}]"), rewrite, &["from", "to"])?;
        }
        let raw: Raw = typed("(target)", Value::Object(values.clone()))?;
        let is_file = matches!(directory.servers.first(), Some(ServerUrl::Ldif(_)));
        if raw.ldif_export_path.is_some()
            && !directory.servers.iter().any(|s| matches!(s, ServerUrl::Ldif(_)))
        {
            warnings.push(Warning::of_setting(
                "ldif_export_path",
                "ldif_export_path is not used: a server is given",
            ));
        }
        let dn_rewrite = raw
            .dn_rewrite
            .iter()
            .enumerate()
            .map(|(n, r)| {
                SuffixRewrite::new(&r.from, &r.to).map_err(|e| {
                    SettingsError::value(
                        format!("dn_rewrite[{n}]"),
                        e.to_string(),
                        "two DNs, `from` and `to`",
                    )
                })
            })
            .collect::<Result<_, _>>()?;
        if let Some(base) = &raw.default_base_dn {
            Dn::parse(base).map_err(|e| {
                SettingsError::value(
                    "default_base_dn",
                    e.to_string(),
                    "a DN, for example ou=imported,dc=example,dc=com",
                )
            })?;
        }
        let on_error = match (raw.on_error.as_str(), raw.reject_file) {
            ("skip", Some(file)) if !file.as_os_str().is_empty() => {
                OnError::Skip { file, max: raw.max_rejects }
            }
            ("skip", _) => {
                return Err(SettingsError::value(
                    "reject_file",
                    "not set, though on_error is skip: rejected records would be lost",
                    "a path, for example rejects.jsonl",
                ));
            }
            (_, file) => {
                if file.is_some() || raw.max_rejects.is_some() {
                    let text = "reject_file and max_rejects are not used: on_error is not skip";
                    warnings.push(Warning::of_setting("on_error", text));
                }
                OnError::Fail
            }
        };
        if raw.undo_file.is_none() && raw.undo_keep.is_some() {
            warnings.push(Warning::of_setting("undo_keep", "undo_keep is not used: undo_file is not set"));
        }
        let undo = raw.undo_file.map(|path| UndoFile::parse(&path, raw.undo_keep, warnings)).transpose()?;
        let mut rules = BTreeMap::new();
        for (stream, value) in raw.mapping_rules {
            let path = format!("mapping_rules.{stream}");
            rules.insert(stream, rule(&path, value, raw.default_base_dn.as_deref())?);
        }
        let scoped = |(_, rule): &(&String, &Rule)| {
            rule.scope_base.is_some() && rule.matching.is_none() || rule.scope_filter.is_some()
        };
        if let (false, Some((stream, _))) = (raw.process_activate_version, rules.iter().find(scoped)) {
            let text = format!(
                "mapping_rules.{stream}: scope_base and scope_filter are not used: process_activate_version is not true"
            );
            warnings.push(Warning::of_setting(format!("mapping_rules.{stream}"), text));
        }
        check_scopes(&rules)?;
        Ok(TargetConfig {
            maps: Maps::from_settings(values)?,
            directory,
            default_base_dn: raw.default_base_dn,
            rules,
            dn_rewrite,
            on_error,
            validate_records: raw.validate_records,
            create_parents: raw.create_parents.unwrap_or(!is_file),
            ldif_check: raw.ldif_check,
            process_activate_version: raw.process_activate_version,
            activate_when_quiet: raw.activate_when_quiet_seconds.map(Duration::from_secs),
            max_in_flight: raw.max_in_flight,
            ldif_format: raw.ldif_format,
            metrics: raw.enable_metrics,
            dry_run: raw.dry_run,
            undo,
            guards: Guards {
                max_deletes: raw.max_deletes.map(|v| Limit::parse("max_deletes", &v)).transpose()?,
                max_changes: raw.max_changes.map(|v| Limit::parse("max_changes", &v)).transpose()?,
            },
            assert_unchanged: raw.assert_unchanged,
            preserve_uuid: raw.preserve_uuid,
        })
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

/// A scope is one stream's: what one stream did not bring, another may be about to.
fn check_scopes(rules: &BTreeMap<String, Rule>) -> Result<(), SettingsError> {
    let mut seen: BTreeMap<(DnKey, String), &String> = BTreeMap::new();
    for (stream, rule) in rules {
        let Some(base) = &rule.scope_base else { continue };
        let at = format!("mapping_rules.{stream}.scope_base");
        if stream == "*" {
            let problem = "a rule for several streams, each of which would delete the others' entries";
            return Err(SettingsError::value(at, problem, "a rule for each stream that has a scope"));
        }
        // The standard schema will do: the destination's is not known yet.
        let key = DnKey::parse(base, Schema::standard()).unwrap_or_default();
        if let Some(other) = seen.insert((key, rule.scope_filter()), stream) {
            let problem = format!("the scope of `{other}`, too: each would delete the other's entries");
            return Err(SettingsError::value(at, problem, "another scope_base or scope_filter"));
        }
    }
    Ok(())
}
