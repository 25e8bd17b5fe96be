//! `ignore_modifiers`: changes by our own loader are not emitted.

use ldap_tests::ds389::{Ds389, Ds389Options, READER_PASSWORD};
use ldap_tests::run::Output;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::json;

use super::repeated_runs::{Method, Mirror, resyncs};
use super::server_kind::Directory;
use crate::support::people;

const SUFFIX: &str = "dc=example,dc=test";

/// Whose description was emitted, in order of name.
fn emitted(output: &Output) -> Vec<String> {
    let mut all: Vec<String> = output
        .records(None)
        .iter()
        .filter_map(|r| r["sn"].as_array()?[0].as_str().map(str::to_owned))
        .collect();
    all.sort_unstable();
    all
}

fn describe(person: usize, text: &str) -> String {
    format!(
        "dn: uid=person{person},{SUFFIX}\nchangetype: modify\nreplace: description\ndescription: {text}\n\n"
    )
}

fn added(person: usize) -> String {
    people(person + 1, SUFFIX).split_inclusive("\n\n").nth(person).unwrap().replacen(
        '\n',
        "\nchangetype: add\n",
        1,
    )
}

fn leaves_out_the_loader(directory: &Directory, loader: &str, password: &str, methods: &[Method]) {
    directory.ldapadd(people(6, SUFFIX));
    let by_loader = |ldif: &str| directory.ldapmodify_as(loader, password, ldif);
    for (n, method) in methods.iter().enumerate() {
        by_loader(&describe(5, &format!("before the first run of {n}")));
        let spelled = loader.replacen("uid=", "UID = ", 1);
        let mut mirror = Mirror::new(directory, SUFFIX, *method)
            .configured(&json!({"ignore_modifiers": ["cn=nobody,dc=example,dc=test", spelled]}));
        let first = mirror.run();
        let all = directory.dump().values().filter(|e| e.contains_key("sn")).count();
        if *method == Method::Log {
            assert_eq!(
                emitted(&first).len(),
                all,
                "a complete read is complete, or a target would delete the rest"
            );
        }
        std::thread::sleep(std::time::Duration::from_millis(1_100));
        mirror.run();

        by_loader(&(describe(1, &format!("loaded {n}")) + &added(100 + n)));
        directory.ldapmodify(describe(2, &format!("by hand {n}")) + &added(200 + n));
        let output = mirror.run();
        let expected = vec!["Number2".to_owned(), format!("Number{}", 200 + n)];
        assert_eq!(emitted(&output), expected, "{method:?}: {}", output.stderr);
        assert_eq!(resyncs(&output), 0);

        // Somebody else's change to what the loader wrote is a change.
        directory.ldapmodify(describe(1, &format!("corrected {n}")));
        let output = mirror.run();
        let names = emitted(&output);
        assert!(names.contains(&"Number1".to_owned()), "{method:?}: {names:?}");
        assert!(!names.contains(&format!("Number{}", 100 + n)), "{method:?}: {names:?}");

        // Nothing but the loader's changes: nothing is emitted, and the position moves on all the same.
        mirror.run();
        by_loader(&describe(3, &format!("loaded {n}")));
        let output = mirror.run();
        assert!(emitted(&output).is_empty(), "{method:?}: {:?}", emitted(&output));
        directory.ldapmodify(format!("dn: uid=person{},{SUFFIX}\nchangetype: delete\n", 200 + n));
        if *method == Method::Log {
            let output = mirror.run();
            let deleted = output.records(None).iter().filter(|r| r["_sdc_deleted_at"].is_string()).count();
            assert_eq!(deleted, 1, "{}", output.stdout_text());
        }
    }
}

#[test]
fn on_openldap() {
    let loader = format!("uid=loader,{SUFFIX}");
    let mut options = SlapdOptions::default().seed(format!(
        "dn: {loader}\nobjectClass: account\nobjectClass: simpleSecurityObject\nuid: loader\n\
         userPassword: loader-pw\n"
    ));
    options.access = format!("access to * by dn.exact=\"{loader}\" write by * break\n");
    let directory = Directory::OpenLdap(Slapd::start(options));
    let methods = [Method::Log, Method::By("modifyTimestamp"), Method::By("entryCSN")];
    leaves_out_the_loader(&directory, &loader, "loader-pw", &methods);
}

#[test]
fn on_ds389() {
    let loader = format!("uid=reader,{SUFFIX}");
    let directory = Directory::Ds389(Ds389::start(&Ds389Options::default()));
    directory.ldapmodify(format!(
        "dn: {SUFFIX}\nchangetype: modify\nadd: aci\naci: (targetattr=\"*\")(version 3.0; acl \"load\"; \
         allow (all) userdn=\"ldap:///{loader}\";)\n"
    ));
    let methods = [Method::Log, Method::By("entryusn")];
    leaves_out_the_loader(&directory, &loader, READER_PASSWORD, &methods);
}
