//! A tap run repeatedly from its last STATE, and the table that its messages produce.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use ldap_tests::ldif::{Attributes, Tree};
use ldap_tests::run::{Output, Run, output};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::server_kind::{Directory, Kind};
use super::warehouse_table::{Table, key_of};
use crate::support::{assert_records_fit, no_panic, resumed, tap_config, with};

/// The one stream of the configurations here.
pub(crate) const STREAM: &str = "all";

/// How a stream is replicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Full,
    Log,
    /// The log, with an index of what there was.
    TrackedLog,
    /// By a key; deletions are not seen.
    By(&'static str),
    /// By a key, with an index of what there was.
    Tracked(&'static str),
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Method::Full => "FULL_TABLE",
            Method::Log | Method::TrackedLog => "LOG_BASED",
            Method::By(_) | Method::Tracked(_) => "INCREMENTAL",
        }
    }

    fn key(self) -> Option<&'static str> {
        match self {
            Method::By(key) | Method::Tracked(key) => Some(key),
            Method::Full | Method::Log | Method::TrackedLog => None,
        }
    }

    /// Whether deletions arrive. Then records carry a version, and a complete read ends with ACTIVATE_VERSION.
    pub(crate) fn sees_deletions(self) -> bool {
        !matches!(self, Method::By(_))
    }

    /// Whether a run that goes on from a STATE prints what changed, and no more.
    fn has_deltas(self) -> bool {
        self != Method::Full
    }
}

/// What belongs into the table.
pub(crate) type Wanted = fn(dn: &str, attributes: &Attributes) -> bool;

#[derive(Debug)]
pub(crate) struct Mirror {
    kind: Kind,
    method: Method,
    config: Value,
    catalog: Option<Value>,
    wanted: Wanted,
    /// The last STATE printed.
    pub(crate) state: Option<Value>,
    pub(crate) table: Table,
    /// How many records came so far.
    pub(crate) records: usize,
    _state_dir: TempDir,
}

impl Mirror {
    /// Of all that lies at and below `base`.
    pub(crate) fn new(directory: &Directory, base: &str, method: Method) -> Mirror {
        let state_dir = ldap_tests::server::scratch();
        let mut stream = json!({
            "name": STREAM,
            "base_dn": base,
            "filter": "(objectClass=*)",
            "scope": "sub",
            "attributes": directory.kind().compared(),
            "replication_method": method.name(),
        });
        if let Some(key) = method.key() {
            stream["replication_key"] = json!(key);
        }
        let mut config = with(&tap_config(directory), &json!({"schemas": [stream]}));
        if matches!(method, Method::Tracked(_) | Method::TrackedLog) {
            config["track_deletions"] = json!(true);
            config["state_dir"] = json!(state_dir.path());
        }
        Mirror {
            kind: directory.kind(),
            method,
            config,
            catalog: None,
            wanted: |_, _| true,
            state: None,
            table: Table::default(),
            records: 0,
            _state_dir: state_dir,
        }
    }

    /// With other settings.
    pub(crate) fn configured(mut self, changes: &Value) -> Mirror {
        self.reconfigure(changes);
        self
    }

    pub(crate) fn reconfigure(&mut self, changes: &Value) {
        self.config = with(&self.config, changes);
    }

    /// With another key of the stream's own settings.
    pub(crate) fn set_stream(&mut self, key: &str, value: Value) {
        self.config["schemas"][0][key] = value;
    }

    /// What a filter or another base leaves.
    pub(crate) fn want(&mut self, wanted: Wanted) {
        self.wanted = wanted;
    }

    /// With a catalog in place of the stream of the configuration.
    pub(crate) fn with_catalog(mut self, catalog: Value) -> Mirror {
        self.reconfigure(&json!({"schemas": null}));
        self.catalog = Some(catalog);
        self
    }

    /// The run that comes next.
    pub(crate) fn next_run(&self) -> Run {
        resumed(&self.config, self.catalog.as_ref(), self.state.as_ref())
    }

    /// Runs the tap to its end and takes in what it prints.
    #[track_caller]
    pub(crate) fn run(&mut self) -> Output {
        let output = self.next_run().run().succeeds();
        no_panic(&output);
        self.take_in(&output);
        let last = output.messages.last().unwrap_or_else(|| panic!("nothing printed: {}", output.stderr));
        assert_eq!(last["type"], "STATE", "a run ends with STATE");
        output
    }

    /// Reads so many lines of a run, and kills it with SIGKILL. How many there were, when it ended sooner.
    #[track_caller]
    pub(crate) fn run_killed_after(&mut self, lines: usize) -> usize {
        let mut running = self.next_run().spawn();
        running.close_stdin_with(&[]);
        let mut reader = BufReader::new(running.take_stdout());
        let mut stdout = Vec::new();
        let mut read = 0;
        while read < lines && reader.read_until(b'\n', &mut stdout).unwrap() > 0 {
            read += 1;
        }
        running.signal(rustix::process::Signal::KILL);
        let (code, stderr, took) = running.wait(Duration::from_secs(30));
        self.take_in(&output(code, stdout, stderr, took));
        read
    }

    /// Takes in the messages of a run, and checks what must hold for every one of them.
    #[track_caller]
    pub(crate) fn take_in(&mut self, output: &Output) {
        self.records += assert_records_fit(output);
        let before = self.table.clone();
        let activated: BTreeSet<(&str, u64)> = output
            .of_type("ACTIVATE_VERSION")
            .iter()
            .map(|m| (m["stream"].as_str().unwrap(), m["version"].as_u64().unwrap()))
            .collect();
        for message in output.lines() {
            if message["type"] == "STATE" {
                self.state = Some(message["value"].clone());
                continue;
            }
            self.check(&message, &before, &activated);
            self.table.apply(&message);
        }
    }

    fn check(&self, message: &Value, before: &Table, activated: &BTreeSet<(&str, u64)>) {
        let stream = message["stream"].as_str().unwrap();
        match message["type"].as_str().unwrap() {
            "ACTIVATE_VERSION" => assert!(self.method.sees_deletions(), "{:?}: {message}", self.method),
            "RECORD" if self.method.sees_deletions() => {
                let version = message["version"].as_u64().unwrap_or_else(|| panic!("no version: {message}"));
                // Else the next ACTIVATE_VERSION would take away what a delta brought.
                if let Some(active) = before.active(stream)
                    && !activated.iter().any(|(s, _)| *s == stream)
                {
                    assert!(
                        version >= active,
                        "{stream}: older than the active version, {active}: {message}"
                    );
                }
                let deleted = message["record"].get("_sdc_deleted_at");
                assert!(deleted.is_some() || !self.method.has_deltas(), "no _sdc_deleted_at: {message}");
            }
            _ => {}
        }
    }

    /// The entries that belong into the table, as ldapsearch reads them.
    pub(crate) fn expected(&self, directory: &Directory) -> Tree {
        let mut names = self.kind.compared();
        names.push(self.kind.key());
        let mut tree = directory.dump_attributes(&names);
        tree.retain(|dn, attributes| (self.wanted)(dn, attributes));
        tree
    }

    /// Where table and directory differ.
    pub(crate) fn differences(&mut self, directory: &Directory) -> Vec<String> {
        let there = self.expected(directory);
        assert!(!there.is_empty(), "nothing to compare with");
        if !self.method.sees_deletions() {
            let keys = there.iter().map(|(dn, entry)| key_of(self.kind, dn, entry)).collect();
            self.table.forget_all_but(&keys);
        }
        self.table.differences(self.kind, &there, &self.kind.compared())
    }

    /// Panics unless table and directory are equal.
    #[track_caller]
    pub(crate) fn assert_equal(&mut self, directory: &Directory, output: &Output) {
        let differences = self.differences(directory);
        assert!(
            differences.is_empty(),
            "{} differences:\n{}\nthe last run said:\n{}",
            differences.len(),
            differences.iter().take(30).cloned().collect::<Vec<_>>().join("\n"),
            output.stderr
        );
    }
}

/// How often a full resync was announced.
pub(crate) fn resyncs(output: &Output) -> usize {
    output.stderr.lines().filter(|line| line.to_lowercase().contains("resync")).count()
}
