//! Property test: after any changes in any order, the records so far, applied in order by key, equal the directory.

use std::thread::sleep;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ldap_tests::ldif::Attributes;
use ldap_tests::run::Output;
use serde_json::json;

use super::random_company::{Habits, World};
use super::repeated_runs::{Method, Mirror, STREAM, resyncs};
use super::server_kind::{Directory, Kind};
use crate::support::rng;
use crate::support::{discover, tap_config};

/// Random operations of a model test, at least.
const OPERATIONS: usize = 300;
/// The most of them between two runs.
const ROUND: usize = 40;

/// One test: a directory, what happens in it, and who follows it.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) directory: Directory,
    pub(crate) world: World,
    pub(crate) mirror: Mirror,
    seed: u64,
    rounds: usize,
    /// What was done last.
    batch: String,
}

impl Model {
    /// A populated directory and a mirror of all of it, which has not run yet.
    pub(crate) fn start(kind: Kind, method: Method, habits: Habits, own_seed: u64) -> Model {
        let directory = Directory::start(kind);
        Model::on(directory, method, habits, own_seed)
    }

    /// The same on a server that was started already.
    pub(crate) fn on(directory: Directory, method: Method, habits: Habits, own_seed: u64) -> Model {
        let seed = rng::seed(own_seed);
        let suffix = directory.suffix().to_owned();
        let mut world = World::new(directory.kind(), &suffix, habits, seed);
        directory.ldapmodify(world.populate(30));
        let mirror = Mirror::new(&directory, &suffix, method);
        Model { directory, world, mirror, seed, rounds: 0, batch: String::new() }
    }

    /// Some random operations, all in one go.
    pub(crate) fn change(&mut self, operations: usize) {
        self.batch = self.world.operations(operations);
        self.directory.ldapmodify(&self.batch);
    }

    /// Runs the tap and compares.
    #[track_caller]
    pub(crate) fn look(&mut self) -> Output {
        self.rounds += 1;
        let output = self.mirror.run();
        self.compare(&output);
        output
    }

    #[track_caller]
    pub(crate) fn compare(&mut self, output: &Output) {
        let differences = self.mirror.differences(&self.directory);
        assert!(
            differences.is_empty(),
            "MODEL_SEED={}, look {}: {} differences:\n{}\n\nthe last operations:\n{}\nthe tap said:\n{}\nits STATE: {}",
            self.seed,
            self.rounds,
            differences.len(),
            differences.iter().take(30).cloned().collect::<Vec<_>>().join("\n"),
            self.batch,
            output.stderr,
            self.mirror.state.as_ref().unwrap_or(&serde_json::Value::Null),
        );
    }

    /// The whole test: looks after every few operations, and no resync in all that time.
    #[track_caller]
    pub(crate) fn play(&mut self, operations: usize) {
        let operations = rng::operations(operations);
        self.look();
        let mut done = 0;
        while done < operations {
            let count = 1 + self.world.rng().below(ROUND);
            self.change(count);
            // Some looks come in the very second of a change, some do not.
            let pause = *self.world.rng().pick(&[0, 0, 0, 20, 300, 1_100]);
            sleep(Duration::from_millis(pause));
            let output = self.look();
            assert_eq!(resyncs(&output), 0, "MODEL_SEED={}: {}", self.seed, output.stderr);
            done += count;
        }
    }
}

fn play(kind: Kind, method: Method, own_seed: u64) {
    Model::start(kind, method, Habits::UnitsMove, own_seed).play(OPERATIONS);
}

/// Half the people, or so; they come into the filter and leave it.
fn play_filtered(kind: Kind, method: Method, own_seed: u64) {
    let mut model = Model::start(kind, method, Habits::UnitsMove, own_seed);
    model.mirror.set_stream("filter", json!("(employeeType=active)"));
    model.mirror.want(is_active);
    model.play(OPERATIONS);
}

pub(crate) fn is_active(_: &str, attributes: &Attributes) -> bool {
    attributes.get("employeetype").is_some_and(|values| values.contains(b"active".as_slice()))
}

#[test]
fn full_table_on_openldap() {
    play(Kind::OpenLdap, Method::Full, 1);
}

#[test]
fn log_based_on_openldap() {
    play(Kind::OpenLdap, Method::Log, 11);
}

#[test]
fn by_modify_timestamp_on_openldap() {
    play(Kind::OpenLdap, Method::By("modifyTimestamp"), 412);
}

#[test]
fn by_modify_timestamp_with_deletions_on_openldap() {
    play(Kind::OpenLdap, Method::Tracked("modifyTimestamp"), 13);
}

#[test]
fn by_entry_csn_on_openldap() {
    play(Kind::OpenLdap, Method::By("entryCSN"), 14);
}

#[test]
fn by_entry_csn_with_deletions_on_openldap() {
    play(Kind::OpenLdap, Method::Tracked("entryCSN"), 15);
}

#[test]
fn log_based_with_a_filter_on_openldap() {
    play_filtered(Kind::OpenLdap, Method::Log, 16);
}

#[test]
fn by_entry_csn_with_deletions_and_a_filter_on_openldap() {
    play_filtered(Kind::OpenLdap, Method::Tracked("entryCSN"), 17);
}

#[test]
fn log_based_on_ds389() {
    play(Kind::Ds389, Method::Log, 21);
}

#[test]
fn by_entry_usn_on_ds389() {
    play(Kind::Ds389, Method::By("entryusn"), 22);
}

#[test]
fn by_modify_timestamp_with_deletions_on_ds389() {
    play(Kind::Ds389, Method::Tracked("modifyTimestamp"), 23);
}

#[test]
fn log_based_with_a_filter_on_ds389() {
    play_filtered(Kind::Ds389, Method::Log, 24);
}

#[test]
fn log_based_on_active_directory() {
    play(Kind::ActiveDirectory, Method::Log, 31);
}

#[test]
fn log_based_by_usn_and_tombstones_on_active_directory() {
    let mut model = Model::start(Kind::ActiveDirectory, Method::Log, Habits::UnitsMove, 35);
    model.look();
    // The way of accounts that see tombstones and may not DirSync. Samba has none, but the bookmark says by its first
    // letter which way it is.
    let tree = model.directory.dump_attributes(&["uSNChanged"]);
    let numbers = tree.values().filter_map(|e| e.get("usnchanged")?.first());
    let usn: u64 = numbers.map(|n| std::str::from_utf8(n).unwrap().parse().unwrap()).max().unwrap();
    let bookmark = &mut model.mirror.state.as_mut().unwrap()["bookmarks"][STREAM];
    bookmark["cookie"] = json!(STANDARD.encode(format!("U{usn}")));
    model.play(OPERATIONS);
}

#[test]
fn by_usn_changed_with_deletions_on_active_directory() {
    play(Kind::ActiveDirectory, Method::Tracked("uSNChanged"), 32);
}

#[test]
fn by_when_changed_on_active_directory() {
    play(Kind::ActiveDirectory, Method::By("whenChanged"), 33);
}

#[test]
fn log_based_with_a_filter_on_active_directory() {
    play_filtered(Kind::ActiveDirectory, Method::Log, 34);
}

#[test]
fn log_based_by_container_on_openldap_has_an_entry_in_one_table() {
    let mut model = Model::start(Kind::OpenLdap, Method::Log, Habits::PeopleMove, 41);
    let mut catalog = discover(&tap_config(&model.directory));
    for stream in catalog["streams"].as_array_mut().unwrap() {
        stream["replication_method"] = json!("LOG_BASED");
        for entry in stream["metadata"].as_array_mut().unwrap() {
            if entry["breadcrumb"] == json!([]) {
                entry["metadata"]["replication-method"] = json!("LOG_BASED");
            }
        }
    }
    model.mirror = model.mirror.with_catalog(catalog);
    model.play(OPERATIONS);
}

/// A subtree is left out; entries and units move into it and out of it, and the units above it are renamed.
fn play_excluding(kind: Kind, method: Method, own_seed: u64) {
    let mut model = Model::start(kind, method, Habits::UnitsMove, own_seed);
    exclude_europe(&mut model);
    model.play(OPERATIONS / 2);
}

fn exclude_europe(model: &mut Model) {
    let excluded = format!("ou=Europe, ou=staff,{}", model.directory.suffix());
    model.mirror.reconfigure(&json!({"exclude_base_dns": [excluded]}));
    model.mirror.want(is_outside_europe);
}

fn is_outside_europe(dn: &str, _: &Attributes) -> bool {
    !format!(",{}", dn.to_lowercase()).contains(",ou=europe,ou=staff,dc=")
}

#[test]
fn full_table_without_a_subtree_on_openldap() {
    play_excluding(Kind::OpenLdap, Method::Full, 51);
}

#[test]
fn log_based_without_a_subtree_on_openldap() {
    play_excluding(Kind::OpenLdap, Method::Log, 52);
}

#[test]
fn by_entry_csn_with_deletions_without_a_subtree_on_openldap() {
    play_excluding(Kind::OpenLdap, Method::Tracked("entryCSN"), 53);
}

#[test]
fn log_based_without_a_subtree_on_ds389() {
    play_excluding(Kind::Ds389, Method::Log, 54);
}

#[test]
fn log_based_without_a_subtree_on_active_directory() {
    play_excluding(Kind::ActiveDirectory, Method::Log, 55);
}
