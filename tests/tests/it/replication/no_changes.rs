//! No changes: nothing is emitted, and the STATE stays as it is.

use std::time::Duration;

use super::random_company::{Habits, World};
use super::repeated_runs::{Method, Mirror, resyncs};
use super::server_kind::{Directory, Kind};

fn stays_quiet(kind: Kind, methods: &[Method]) {
    let directory = Directory::start(kind);
    let suffix = directory.suffix().to_owned();
    let mut world = World::new(kind, &suffix, Habits::UnitsMove, 61);
    directory.ldapmodify(world.populate(12) + &world.operations(20));
    for method in methods {
        let mut mirror = Mirror::new(&directory, &suffix, *method);
        // Twice in the second of the last change, where a key of whole seconds cannot tell what is new.
        let first = mirror.run();
        assert!(mirror.records > 12, "{method:?}: {} records", mirror.records);
        mirror.assert_equal(&directory, &first);
        let state = mirror.state.clone();
        for pause in [0, 0, 1_100] {
            std::thread::sleep(Duration::from_millis(pause));
            let output = mirror.run();
            let records = output.of_type("RECORD");
            assert!(records.is_empty(), "{method:?}: {records:?}\n{}", output.stderr);
            assert!(output.of_type("ACTIVATE_VERSION").is_empty(), "{method:?}: {}", output.stdout_text());
            assert_eq!(mirror.state, state, "{method:?}");
            assert_eq!(resyncs(&output), 0, "{method:?}: {}", output.stderr);
        }
        // And it still sees what comes then.
        directory.ldapmodify(world.operations(5));
        let output = mirror.run();
        assert!(!output.of_type("RECORD").is_empty(), "{method:?}");
        assert_ne!(mirror.state, state, "{method:?}");
        mirror.assert_equal(&directory, &output);
    }
}

#[test]
fn on_openldap() {
    let methods = [
        Method::Log,
        Method::By("modifyTimestamp"),
        Method::By("entryCSN"),
        Method::Tracked("modifyTimestamp"),
        Method::Tracked("entryCSN"),
    ];
    stays_quiet(Kind::OpenLdap, &methods);
}

#[test]
fn on_ds389() {
    let methods = [Method::Log, Method::By("entryusn"), Method::Tracked("modifyTimestamp")];
    stays_quiet(Kind::Ds389, &methods);
}

#[test]
fn on_active_directory() {
    let methods = [Method::Log, Method::By("uSNChanged"), Method::Tracked("whenChanged")];
    stays_quiet(Kind::ActiveDirectory, &methods);
}
