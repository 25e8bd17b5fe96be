//! The history beside `plan_file`: which runs were carried out or applied, and where each stream's rule found its entries then.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::{Directory, DirectoryError, Vendor};
use serde::{Deserialize, Serialize};
use singer_common::operations::file::{self, HISTORY, with_suffix};

use super::PlanHead;
use crate::config::TargetConfig;
use crate::rules::template::FilterTemplate;

/// The version of the format. A history of a later one is refused.
const VERSION: u32 = 1;
/// The most runs that are kept.
const MOST: usize = 50;

/// Where a stream's rule finds its entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleMark {
    /// The base of the scope; empty: the server's.
    pub scope_base: String,
    /// The filter of the entries in the scope.
    pub filter: String,
    /// The filter of `match`, or what `membership` says; empty: none.
    #[serde(rename = "match")]
    pub matching: String,
    /// What tells the directory from others: see [`place`]. Empty in histories of earlier versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub directory: String,
    /// The digests of the settings that decide what its records do, by name. Empty in histories of earlier versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}

/// Returns what tells a directory from others with the same names: the immutable id of the entry of its naming context, which its servers
/// have in common. Without one, the names of its naming contexts; for a file, its path.
///
/// # Errors
/// The server does not answer.
pub async fn place(directory: &Directory) -> Result<String, DirectoryError> {
    let root = directory.root_dse();
    if root.vendor == Vendor::Ldif {
        return Ok(directory.location().to_owned());
    }
    let Some(context) = root.default_naming_context.as_ref().or(root.naming_contexts.first()) else {
        return Ok(directory.location().to_owned());
    };
    let entry = match directory.read(context, root.vendor.immutable_ids()).await {
        // The bound user may lack the right to read it.
        Err(e) if e.code().is_some() => None,
        entry => entry?,
    };
    let id = root.vendor.immutable_ids().iter().find_map(|name| {
        let mut json = Vec::new();
        let value = entry.as_ref()?.values(name).first()?;
        ValueKind::emitted(directory.schema(), name).write_json(value, &mut json).ok()?;
        serde_json::from_slice::<String>(&json).ok()
    });
    Ok(id.unwrap_or_else(|| root.naming_contexts.join("; ").to_lowercase()))
}

impl RuleMark {
    /// Returns the mark of a stream's rule.
    pub fn of(config: &TargetConfig, stream: &str, place: &str) -> RuleMark {
        let rule = config.rule(stream);
        let base = rule.and_then(|rule| rule.scope_base.as_ref()).or(config.default_base_dn.as_ref());
        RuleMark {
            scope_base: base.cloned().unwrap_or_default(),
            filter: rule.map(crate::rules::rule::Rule::scope_filter).unwrap_or_default(),
            matching: rule
                .and_then(|rule| match &rule.membership {
                    Some(membership) => Some(membership.text.clone()),
                    None => rule.matching.as_ref().map(FilterTemplate::shape),
                })
                .unwrap_or_default(),
            directory: place.to_owned(),
            settings: config.digests.of_stream(stream),
        }
    }

    /// Returns what is another here than in an earlier mark, for messages.
    pub fn difference(&self, earlier: &RuleMark) -> Option<String> {
        if !earlier.directory.is_empty() && earlier.directory != self.directory {
            return Some("the last run was carried out in another directory".to_owned());
        }
        let parts = [
            ("scope", &earlier.scope_base, &self.scope_base),
            ("match", &earlier.matching, &self.matching),
            ("filter", &earlier.filter, &self.filter),
        ];
        if let Some((part, was, is)) = parts.into_iter().find(|(_, was, is)| was != is) {
            return Some(format!("the {part} of its rule was `{was}` in the last run, and is `{is}`"));
        }
        if earlier.settings.is_empty() {
            return None;
        }
        let all: BTreeSet<&String> = earlier.settings.keys().chain(self.settings.keys()).collect();
        let changed = all.into_iter().filter(|name| earlier.settings.get(*name) != self.settings.get(*name));
        let changed: Vec<&str> = changed.map(String::as_str).collect();
        (!changed.is_empty()).then(|| format!("not as in the last run: {}", changed.join(", ")))
    }
}

/// How a run was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// By itself.
    Run,
    /// By `target-ldap apply`.
    Apply,
    /// Not at all: it was held back, and left a plan of its own.
    Held,
}

/// A run that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastRun {
    /// The ID of the run; of an apply, that of the run that made the plan.
    pub run: String,
    /// When it ended: RFC 3339, by this machine's clock.
    pub ended: String,
    /// How it was carried out.
    pub how: How,
    /// The streams of its input; empty in histories of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<String>,
}

/// Which runs were carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    version: u32,
    /// The last runs, the newest last.
    #[serde(default)]
    pub runs: Vec<PastRun>,
    /// The last runs that were held back, the newest last. Missing in histories of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<PastRun>,
    /// By stream.
    #[serde(default)]
    pub streams: BTreeMap<String, RuleMark>,
}

impl Default for History {
    fn default() -> Self {
        History { version: VERSION, runs: Vec::new(), held: Vec::new(), streams: BTreeMap::new() }
    }
}

/// A history of which only the version is known.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl History {
    /// Returns the file beside a plan file.
    pub fn path(plan_file: &Path) -> PathBuf {
        with_suffix(plan_file, HISTORY)
    }

    /// Reads the history beside a plan file: an empty one if there is none.
    ///
    /// # Errors
    /// The file cannot be read, or is not a history of this version: it says nothing about earlier runs then.
    pub fn read(plan_file: &Path) -> io::Result<History> {
        let octets = match file::read(&Self::path(plan_file)) {
            Ok(octets) => octets,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(History::default()),
            Err(e) => return Err(e),
        };
        let Version { version } = serde_json::from_slice(&octets)?;
        if version > VERSION {
            let text = format!("it is of version {version}, and this program knows versions up to {VERSION}");
            return Err(io::Error::other(text));
        }
        Ok(serde_json::from_slice(&octets)?)
    }

    /// Returns the last run with a stream of a plan that was carried out, or held back, after the plan was made: its source may know better.
    pub fn overtakes(&self, plan: &PlanHead) -> Option<&PastRun> {
        let at = |run: &str| self.runs.iter().rposition(|past| past.run == run);
        let later = match plan.last_run.as_deref() {
            Some(last) => at(last).map_or(0, |at| at + 1),
            // Of an earlier version: by the clock.
            None => self.runs.iter().take_while(|past| past.ended <= plan.made).count(),
        };
        let has_stream = |past: &&PastRun| {
            past.streams.is_empty() || past.streams.iter().any(|stream| plan.rules.contains_key(stream))
        };
        let later = self.runs.get(later..).unwrap_or_default().iter().rev();
        // A schedule that is held back once often stays so, and each run leaves a newer plan.
        let own = self.held.iter().rposition(|past| past.run == plan.run);
        let before = || self.held.iter().take_while(|past| past.ended <= plan.made).count();
        let from = own.map_or_else(before, |own| own + 1);
        let newer = self.held.get(from..).unwrap_or_default().iter();
        later.chain(newer.rev()).filter(|past| past.run != plan.run).find(has_stream)
    }

    /// Adds a run that was carried out or held back, and writes the file: as a whole or not at all.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn add(
        plan_file: &Path,
        run: &str,
        how: How,
        streams: &BTreeMap<String, RuleMark>,
    ) -> io::Result<()> {
        let mut history = Self::read(plan_file)?;
        let ended = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let streams_of_run = streams.keys().cloned().collect();
        let past = PastRun { run: run.to_owned(), ended, how, streams: streams_of_run };
        let list = if how == How::Held {
            &mut history.held
        } else {
            history.streams.extend(streams.clone());
            &mut history.runs
        };
        list.push(past);
        let surplus = list.len().saturating_sub(MOST);
        list.drain(..surplus);
        let text = serde_json::to_string_pretty(&history)?;
        file::replace_private(&Self::path(plan_file), |out| writeln!(out, "{text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_with_a_stream_of_a_plan_overtakes_it() {
        let past = |run: &str, ended: &str, streams: &[&str]| PastRun {
            run: run.into(),
            ended: ended.into(),
            how: How::Run,
            streams: streams.iter().map(|s| (*s).to_owned()).collect(),
        };
        let history = History {
            runs: vec![
                past("a", "2026-01-01T00:00:01Z", &[]),
                past("b", "2026-01-01T00:00:02Z", &["users"]),
                past("c", "2026-01-01T00:00:03Z", &["teams"]),
            ],
            ..History::default()
        };
        let by = |run: &str, made: &str, last_run: Option<&str>, stream: &str| {
            let head = PlanHead {
                version: 1,
                run: run.into(),
                made: made.into(),
                server: String::new(),
                contexts: Vec::new(),
                limits: Vec::new(),
                streams: BTreeMap::new(),
                rules: BTreeMap::from([(stream.to_owned(), RuleMark::default())]),
                last_run: last_run.map(str::to_owned),
                still_enabled: Vec::new(),
            };
            history.overtakes(&head).map(|past| past.run.clone())
        };
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:02Z");
        for (plan, overtaken_by) in [
            (by("p", early, Some("a"), "users"), Some("b")),
            (by("p", early, Some("b"), "users"), None),
            (by("p", early, Some("b"), "teams"), Some("c")),
            // It was the first run, or the run before it is no longer kept.
            (by("p", late, Some(""), "users"), Some("b")),
            (by("p", late, Some("gone"), "others"), Some("a")),
            // Of an earlier version.
            (by("p", early, None, "users"), Some("b")),
            (by("p", late, None, "users"), None),
            // It was applied itself.
            (by("b", early, Some("a"), "users"), None),
        ] {
            assert_eq!(plan.as_deref(), overtaken_by);
        }
    }

    #[test]
    fn a_history_is_kept_beside_the_plan_and_one_that_is_not_known_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let plan = folder.path().join("plan.ldif");
        assert_eq!(History::read(&plan).unwrap(), History::default());
        let mark = RuleMark { scope_base: "dc=x".into(), ..RuleMark::default() };
        for n in 0..60 {
            let streams = BTreeMap::from([(format!("s{}", n % 2), mark.clone())]);
            History::add(&plan, &format!("r{n}"), How::Run, &streams).unwrap();
        }
        let history = History::read(&plan).unwrap();
        assert_eq!((history.runs.len(), history.streams.len()), (MOST, 2));
        assert_eq!(history.runs.last().unwrap().run, "r59");
        let other = RuleMark { matching: "(a={}) of id".into(), ..mark.clone() };
        let elsewhere = RuleMark { directory: "2".into(), ..mark.clone() };
        let here = RuleMark { directory: "1".into(), ..mark.clone() };
        assert!(elsewhere.difference(&here).is_some() && here.difference(&here).is_none());
        assert!(here.difference(&mark).is_none(), "a history of an earlier version does not say where");
        assert!(other.difference(&mark).unwrap().contains("match") && mark.difference(&mark).is_none());
        for bad in ["", "{}", "{\"version\": 2}", "{\"version\": 1, \"runs\": 3}"] {
            std::fs::write(History::path(&plan), bad).unwrap();
            assert!(History::read(&plan).is_err(), "{bad}");
        }
    }
}
