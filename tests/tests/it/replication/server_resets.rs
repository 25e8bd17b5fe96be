//! Servers that are reset between two runs: the table is right afterwards, and a full resync is reported once.

use ldap_tests::run::Output;
use ldap_tests::slapd::{Slapd, SlapdOptions};

use super::random_changes::Model;
use super::random_company::Habits;
use super::repeated_runs::{Method, resyncs};
use super::server_kind::{Directory, Kind};

/// What an upset may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cost {
    Nothing,
    Resync,
}

/// After a run that saw everything, and some changes it has not seen, `upset` happens, and more changes.
fn is_survived(mut model: Model, cost: Cost, upset: impl FnOnce(&mut Model)) {
    model.look();
    model.change(30);
    model.look();
    model.change(20);
    upset(&mut model);
    model.change(20);
    let output = model.look();
    assert_cost(&output, cost);
    // And on it goes, by a change so small that the shortest log holds it.
    model.change(1);
    assert_cost(&model.look(), Cost::Nothing);
}

#[track_caller]
fn assert_cost(output: &Output, cost: Cost) {
    let announced = resyncs(output);
    let activated = output.of_type("ACTIVATE_VERSION").len();
    assert_eq!(announced, activated, "a full read is announced, once: {}", output.stderr);
    match cost {
        Cost::Nothing => assert_eq!(announced, 0, "{}", output.stderr),
        Cost::Resync => assert_eq!(announced, 1, "{}", output.stderr),
    }
}

fn openldap(options: SlapdOptions, own_seed: u64) -> Model {
    let directory = Directory::OpenLdap(Slapd::start(options));
    Model::on(directory, Method::Log, Habits::UnitsMove, own_seed)
}

fn session_log(lines: &str) -> SlapdOptions {
    SlapdOptions { syncprov: format!("overlay syncprov\n{lines}\n"), ..SlapdOptions::default() }
}

/// The session log is read from the accesslog, and so survives a restart.
pub(crate) fn log_that_stays() -> SlapdOptions {
    SlapdOptions { accesslog: true, ..session_log("syncprov-sessionlog-source cn=accesslog") }
}

fn slapd(model: &mut Model) -> &mut Slapd {
    match &mut model.directory {
        Directory::OpenLdap(slapd) => slapd,
        other => panic!("{other:?}"),
    }
}

#[test]
fn openldap_restarted_has_lost_its_session_log() {
    let model = openldap(SlapdOptions::default(), 71);
    is_survived(model, Cost::Resync, |model| model.directory.restart());
}

#[test]
fn openldap_restarted_when_nothing_was_missed() {
    let mut model = openldap(SlapdOptions::default(), 72);
    model.look();
    model.change(30);
    model.look();
    // Its log begins anew, and that is just where we are.
    model.directory.restart();
    let output = model.look();
    assert!(output.of_type("RECORD").is_empty(), "{}", output.stdout_text());
    assert_cost(&output, Cost::Nothing);
    model.directory.restart();
    model.change(20);
    assert_cost(&model.look(), Cost::Nothing);
}

#[test]
fn openldap_crashed() {
    // Its contextCSN must have been kept up to date. If it is older than the last changes, slapd 2.5 takes its empty
    // session log for complete, and no consumer ever hears of the deletions between the checkpoint and the crash.
    let options = session_log("syncprov-checkpoint 1 1\nsyncprov-sessionlog 10000");
    is_survived(openldap(options, 73), Cost::Resync, |model| {
        slapd(model).kill();
        model.directory.restart();
    });
}

#[test]
fn openldap_crashed_behind_its_checkpoint() {
    let mut model = openldap(SlapdOptions::default(), 86);
    model.look();
    model.change(30);
    model.look();
    slapd(&mut model).kill();
    model.directory.restart();
    // "consumer state is newer than provider!"
    assert_cost(&model.look(), Cost::Resync);
    model.change(10);
    assert_cost(&model.look(), Cost::Nothing);
}

#[test]
fn openldap_restarted_with_its_session_log_in_the_accesslog() {
    is_survived(openldap(log_that_stays(), 74), Cost::Nothing, |model| model.directory.restart());
}

#[test]
fn openldap_with_a_session_log_that_is_too_short() {
    let options = session_log("syncprov-sessionlog 3");
    is_survived(openldap(options, 75), Cost::Resync, |model| {
        for _ in 0..10 {
            let ldif = model.world.deletion();
            model.directory.ldapmodify(ldif);
        }
    });
}

#[test]
fn openldap_that_asks_for_a_refresh() {
    let options = session_log("syncprov-sessionlog 3\nsyncprov-reloadhint TRUE");
    is_survived(openldap(options, 76), Cost::Resync, |model| {
        for _ in 0..10 {
            let ldif = model.world.deletion();
            model.directory.ldapmodify(ldif);
        }
    });
}

#[test]
fn openldap_without_a_session_log() {
    let options = session_log("");
    let mut model = openldap(options, 77);
    model.look();
    for _ in 0..5 {
        model.change(20);
        assert_cost(&model.look(), Cost::Resync);
    }
}

#[test]
fn openldap_restored_from_an_older_backup() {
    let mut model = openldap(SlapdOptions::default(), 78);
    model.look();
    let backup = slapd(&mut model).slapcat();
    model.change(40);
    model.look();
    // The cookie is now newer than anything the server has.
    slapd(&mut model).reload(&backup);
    let output = model.look();
    assert_cost(&output, Cost::Resync);
    let output = model.look();
    assert_cost(&output, Cost::Nothing);
    assert!(output.of_type("RECORD").is_empty(), "{}", output.stdout_text());
}

#[test]
fn active_directory_restored_from_an_older_backup() {
    let mut model = Model::start(Kind::ActiveDirectory, Method::Log, Habits::UnitsMove, 85);
    model.look();
    // A domain controller as it was before anything happened: all domain controllers here are copies of one, with its
    // ids. What gives it away is that its highest update sequence number is lower than the cookie's.
    let mut older = Model::start(Kind::ActiveDirectory, Method::Log, Habits::UnitsMove, 85);
    model.change(200);
    model.look();
    model.mirror.reconfigure(&serde_json::json!({"server_url": older.directory.ldap_uri()}));
    older.change(20);
    model.directory = older.directory;
    model.world = older.world;
    assert_cost(&model.look(), Cost::Resync);
    model.change(10);
    assert_cost(&model.look(), Cost::Nothing);
}

#[test]
fn another_openldap_at_the_same_address() {
    let mut model = openldap(SlapdOptions::default(), 79);
    model.look();
    let mut other = openldap(SlapdOptions::default(), 80);
    other.change(30);
    let theirs = slapd(&mut other).slapcat();
    slapd(&mut model).reload(&theirs);
    assert_cost(&model.look(), Cost::Resync);
}

#[test]
fn ds389_restarted() {
    let model = Model::start(Kind::Ds389, Method::Log, Habits::UnitsMove, 81);
    is_survived(model, Cost::Nothing, |model| model.directory.restart());
}

#[test]
fn samba_restarted() {
    let model = Model::start(Kind::ActiveDirectory, Method::Log, Habits::UnitsMove, 82);
    is_survived(model, Cost::Nothing, |model| model.directory.restart());
}

#[test]
fn openldap_restarted_is_nothing_to_a_key() {
    for (method, seed) in [(Method::Tracked("entryCSN"), 83), (Method::Tracked("modifyTimestamp"), 84)] {
        let model = Model::start(Kind::OpenLdap, method, Habits::UnitsMove, seed);
        is_survived(model, Cost::Nothing, |model| model.directory.restart());
    }
}
