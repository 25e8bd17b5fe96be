//! From the resolved settings to a [`TargetConfig`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::NaiveDate;
use ldap_directory::ServerUrl;
use ldap_directory::dn::{Dn, DnKey, SuffixRewrite};
use ldap_directory::ldif::LdifFormat;
use ldap_directory::schema::Schema;
use ldap_directory::time::Zone;
use serde::Deserialize;
use serde_json::{Map, Value};
use singer_common::maps::Maps;
use singer_common::operations::facts::Warning;
use singer_common::plugin::settings::{SettingsError, typed};

use super::held::HeldSettings;
use super::limits::{Guards, Limit, StreamLimits};
use super::protection::ProtectionSettings;
use super::rule_digests::RuleDigests;
use super::undo_file::UndoFile;
use super::{OnError, TargetConfig};
use crate::rules::keys::check_parts;
use crate::rules::rule::Rule;
use crate::rules::rule_settings;
use crate::rules::template::DnTemplate;

/// The target's own settings as they are written. The settings of both executables are read by `singer-common`.
#[allow(clippy::struct_excessive_bools, reason = "they are the settings, as they are")]
#[derive(Deserialize)]
struct TargetSettings {
    default_base_dn: Option<String>,
    mapping_rules: Map<String, Value>,
    dn_rewrite: Vec<RewriteSettings>,
    default_timezone: String,
    today: Option<String>,
    on_error: String,
    reject_file: Option<PathBuf>,
    max_rejects: Option<u64>,
    validate_records: bool,
    create_parents: Option<bool>,
    ldif_check: bool,
    process_activate_version: bool,
    activate_when_quiet_seconds: Option<u64>,
    max_in_flight: usize,
    write_connections: usize,
    ldif_format: LdifFormat,
    ldif_export_path: Option<PathBuf>,
    enable_metrics: bool,
    dry_run: bool,
    undo_file: Option<PathBuf>,
    undo_keep: Option<u64>,
    max_deletes: Option<Value>,
    max_changes: Option<Value>,
    limits: Map<String, Value>,
    assert_unchanged: bool,
    preserve_uuid: bool,
}

/// One of `dn_rewrite`.
#[derive(Deserialize)]
struct RewriteSettings {
    from: String,
    to: String,
}

impl TargetConfig {
    /// Builds the configuration from the resolved settings. Warnings are for the log.
    ///
    /// # Errors
    /// A value is not valid, or values exclude each other.
    pub fn from_settings(
        values: &Map<String, Value>,
        warnings: &mut Vec<Warning>,
    ) -> Result<TargetConfig, SettingsError> {
        let export =
            values.get("ldif_export_path").and_then(Value::as_str).map(PathBuf::from).map(ServerUrl::Ldif);
        let directory =
            singer_common::plugin::directory_settings::directory_config(values, export, warnings)?;
        for (n, rewrite) in
            values.get("dn_rewrite").and_then(Value::as_array).into_iter().flatten().enumerate()
        {
            check_parts(&format!("dn_rewrite[{n}]"), rewrite, &["from", "to"])?;
        }
        let raw: TargetSettings = typed("(target)", Value::Object(values.clone()))?;
        let is_file = matches!(directory.servers.first(), Some(ServerUrl::Ldif(_)));
        if raw.ldif_export_path.is_some()
            && !directory.servers.iter().any(|s| matches!(s, ServerUrl::Ldif(_)))
        {
            let text = "ldif_export_path is not used: a server is given";
            warnings.push(Warning::of_setting("ldif_export_path", text));
        }
        let directory = directory.write_connections(raw.write_connections);
        let dn_rewrite = raw.dn_rewrite()?;
        raw.check_default_base()?;
        let default_timezone = raw.default_timezone()?;
        let today = raw.today(default_timezone, warnings)?;
        let on_error = raw.on_error(warnings)?;
        if raw.undo_file.is_none() && raw.undo_keep.is_some() {
            warnings.push(Warning::of_setting("undo_keep", "undo_keep is not used: undo_file is not set"));
        }
        let undo =
            raw.undo_file.as_ref().map(|path| UndoFile::parse(path, raw.undo_keep, warnings)).transpose()?;
        let base = raw.default_base_dn.as_deref();
        let mut rules = BTreeMap::new();
        for (stream, value) in raw.mapping_rules {
            let path = format!("mapping_rules.{stream}");
            rules.insert(stream, rule_settings::parse(&path, value, base)?);
        }
        let limits = StreamLimits::parse(&raw.limits, rules.keys().map(String::as_str))?;
        let guards = Guards {
            max_deletes: raw.max_deletes.map(|v| Limit::parse("max_deletes", &v)).transpose()?,
            max_changes: raw.max_changes.map(|v| Limit::parse("max_changes", &v)).transpose()?,
        };
        let held = HeldSettings::parse(values, guards.is_any() || limits.is_any(), warnings)?;
        warnings.extend(unused_scope(&rules, raw.process_activate_version));
        check_scopes(&rules)?;
        check_places(&rules, &dn_rewrite)?;
        Ok(TargetConfig {
            maps: Maps::from_settings(values)?.map(|maps| maps.on(today, default_timezone)),
            directory,
            default_base_dn: raw.default_base_dn,
            rules,
            dn_rewrite,
            default_timezone,
            today,
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
            guards,
            limits,
            digests: RuleDigests::of(values),
            held,
            protection: ProtectionSettings::parse(values, "")?,
            assert_unchanged: raw.assert_unchanged,
            preserve_uuid: raw.preserve_uuid,
        })
    }
}

impl TargetSettings {
    fn dn_rewrite(&self) -> Result<Vec<SuffixRewrite>, SettingsError> {
        let below = |rewrite: &RewriteSettings, earlier: &RewriteSettings| {
            let earlier = SuffixRewrite::new(&earlier.from, "");
            earlier.is_ok_and(|earlier| earlier.apply(&rewrite.from, Schema::standard()).is_some())
        };
        let all = || self.dn_rewrite.iter().enumerate();
        for (n, rewrite) in all() {
            if let Some((m, earlier)) = all().take(n).find(|(_, earlier)| below(rewrite, earlier)) {
                let problem = format!(
                    "it never matches: dn_rewrite[{m}] comes first, and its suffix `{}` is that of the same DNs",
                    earlier.from
                );
                let expected = "the longer suffix before the shorter one, and each suffix once";
                return Err(SettingsError::value(format!("dn_rewrite[{n}].from"), problem, expected));
            }
        }
        let rewrite = |(n, rewrite): (usize, &RewriteSettings)| {
            SuffixRewrite::new(&rewrite.from, &rewrite.to).map_err(|e| {
                SettingsError::value(format!("dn_rewrite[{n}]"), e.to_string(), "two DNs, `from` and `to`")
            })
        };
        self.dn_rewrite.iter().enumerate().map(rewrite).collect()
    }

    fn default_timezone(&self) -> Result<Zone, SettingsError> {
        Zone::parse(&self.default_timezone).ok_or_else(|| {
            let expected =
                "a name of the IANA time zone database, such as Europe/Berlin, or an offset, such as +02:00";
            let problem = format!("`{}` is not a time zone", self.default_timezone);
            SettingsError::value("default_timezone", problem, expected)
        })
    }

    /// Returns the day of the run.
    fn today(&self, zone: Zone, warnings: &mut Vec<Warning>) -> Result<NaiveDate, SettingsError> {
        let Some(text) = &self.today else { return Ok(zone.today()) };
        let day = text.parse::<NaiveDate>();
        let day = day.map_err(|_| {
            SettingsError::value("today", format!("got \"{text}\""), "a date, such as 2026-01-31")
        })?;
        if !self.dry_run && day != zone.today() {
            let text =
                format!("setting `today`: this run writes what is right on {day}, which is another day");
            warnings.push(Warning::of_setting("today", text));
        }
        Ok(day)
    }

    fn check_default_base(&self) -> Result<(), SettingsError> {
        let Some(base) = &self.default_base_dn else { return Ok(()) };
        let expected = "a DN, for example ou=imported,dc=example,dc=com";
        match Dn::parse(base) {
            Ok(_) => Ok(()),
            Err(e) => Err(SettingsError::value("default_base_dn", e.to_string(), expected)),
        }
    }

    /// Returns `on_error`, with `reject_file` and `max_rejects`.
    fn on_error(&self, warnings: &mut Vec<Warning>) -> Result<OnError, SettingsError> {
        match (self.on_error.as_str(), &self.reject_file) {
            ("skip", Some(file)) if !file.as_os_str().is_empty() => {
                Ok(OnError::Skip { file: file.clone(), max: self.max_rejects })
            }
            ("skip", _) => Err(SettingsError::value(
                "reject_file",
                "not set, though on_error is skip: rejected records would be lost",
                "a path, for example rejects.jsonl",
            )),
            (_, file) => {
                if file.is_some() || self.max_rejects.is_some() {
                    let text = "reject_file and max_rejects are not used: on_error is not skip";
                    warnings.push(Warning::of_setting("on_error", text));
                }
                Ok(OnError::Fail)
            }
        }
    }
}

/// Warns of a scope that no setting uses.
fn unused_scope(rules: &BTreeMap<String, Rule>, process_activate_version: bool) -> Option<Warning> {
    let is_scoped = |(_, rule): &(&String, &Rule)| {
        // The groups of memberships are searched in it.
        rule.membership.is_none()
            && (rule.scope_base.is_some() && rule.matching.is_none() || rule.scope_filter.is_some())
    };
    let (stream, _) = rules.iter().find(is_scoped).filter(|_| !process_activate_version)?;
    let text = format!(
        "mapping_rules.{stream}: scope_base and scope_filter are not used: process_activate_version is not true"
    );
    Some(Warning::of_setting(format!("mapping_rules.{stream}"), text))
}

/// Checks that no rule moves its leavers to where its entries are.
fn check_places(rules: &BTreeMap<String, Rule>, rewrites: &[SuffixRewrite]) -> Result<(), SettingsError> {
    // As for scopes.
    let schema = Schema::standard();
    for (stream, rule) in rules {
        let path = format!("mapping_rules.{stream}");
        if let Some(dn) = rule.dn_template.as_ref().and_then(DnTemplate::common_suffix) {
            let dn = rewrites.iter().find_map(|rewrite| rewrite.apply(&dn, schema)).unwrap_or(dn);
            rule.check_move_to(&path, "dn_template", &dn, schema)?;
        }
        if let Some(base) = &rule.scope_base {
            rule.check_move_to(&path, "scope_base", base, schema)?;
        }
    }
    Ok(())
}

/// Checks that no two streams have the same scope: each would delete the entries of the other.
fn check_scopes(rules: &BTreeMap<String, Rule>) -> Result<(), SettingsError> {
    let mut seen: BTreeMap<(DnKey, String, Option<String>), &String> = BTreeMap::new();
    for (stream, rule) in rules {
        let Some(base) = &rule.scope_base else { continue };
        let at = format!("mapping_rules.{stream}.scope_base");
        if stream == "*" {
            let problem = "a rule for several streams, each of which would delete the others' entries";
            return Err(SettingsError::value(at, problem, "a rule for each stream that has a scope"));
        }
        // The standard schema is sufficient: the destination's is not known yet.
        let key = DnKey::parse(base, Schema::standard()).unwrap_or_default();
        // Memberships are no entries.
        let attribute = rule.membership.as_ref().map(|m| m.attribute.text().to_ascii_lowercase());
        let is_of_entries = attribute.is_none();
        if let Some(other) = seen.insert((key, rule.class_filter(), attribute), stream) {
            let what = if is_of_entries { "entries" } else { "members" };
            let problem = format!("the scope of `{other}`, too: each would delete the other's {what}");
            return Err(SettingsError::value(at, problem, "another scope_base or scope_filter"));
        }
    }
    Ok(())
}
