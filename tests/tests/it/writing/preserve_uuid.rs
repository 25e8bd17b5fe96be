//! `preserve_uuid`: new entries get the `entryUUID` of their records.

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::ldif::{Tree, assert_same};
use ldap_tests::run::{Run, pipe, read_text};
use ldap_tests::samba::Samba;
use ldap_tests::server::{Server, scratch};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::json;

use crate::support::{assert_untouched, people, tap_config, target_config, unit, with};

fn uuids(server: &Server) -> Tree {
    server.dump_attributes(&["entryUUID"])
}

fn source() -> Slapd {
    let unit = "ou=people,dc=example,dc=test";
    let group = "dn: cn=all,dc=example,dc=test\nobjectClass: groupOfNames\ncn: all\nmember: uid=person0,ou=people,dc=example,dc=test\n\n";
    let seed = self::unit(unit) + &people(20, unit) + group;
    Slapd::start(SlapdOptions::default().seed(seed))
}

#[test]
fn a_mirror_has_the_same_entry_uuids() {
    let source = source();
    let target = Slapd::start(SlapdOptions::empty());
    let config = with(&target_config(&target), &json!({"preserve_uuid": true}));
    let (tap, output) = pipe(&tap_config(&source), &config);
    tap.succeeds();
    output.succeeds();
    assert_same("source", &source.dump(), "mirror", &target.dump());
    assert_eq!(uuids(&source).len(), 23);
    assert_same("source", &uuids(&source), "mirror", &uuids(&target));
    // What else the server keeps itself it keeps itself.
    let created = |s: &Server| s.dump_attributes(&["creatorsName", "createTimestamp", "entryCSN"]);
    assert_ne!(created(&source), created(&target));

    // Who has another one already keeps it, and nothing is sent.
    source.ldapmodify("dn: uid=person3,ou=people,dc=example,dc=test\nchangetype: delete\n");
    source.ldapadd(people(4, "ou=people,dc=example,dc=test").split("\n\n").nth(3).unwrap());
    let before = target.change_marks();
    let (tap, output) = pipe(&tap_config(&source), &config);
    tap.succeeds();
    output.succeeds();
    assert_untouched(&target, &before);

    // Without the setting a mirror names its entries itself.
    let other = Slapd::start(SlapdOptions::empty());
    let (tap, output) = pipe(&tap_config(&source), &target_config(&other));
    tap.succeeds();
    output.succeeds();
    for (dn, attributes) in uuids(&other) {
        assert_ne!(uuids(&source)[&dn], attributes, "{dn}");
    }
}

#[test]
fn the_plan_says_how_and_ldapmodify_can_carry_it_out() {
    let source = source();
    let target = Slapd::start(SlapdOptions::empty());
    let config = with(&target_config(&target), &json!({"preserve_uuid": true}));
    let stream = Run::tap(&tap_config(&source)).run().succeeds().stdout;
    let plan = Run::target(&config).arg("--dry-run").stdin(&stream).run().succeeds().stdout_text();
    assert_eq!(plan.matches("control: 1.3.6.1.4.1.4203.666.5.12 true\n").count(), 23, "{plan}");
    target.ldapmodify(plan);
    assert_same("source", &uuids(&source), "mirror", &uuids(&target));

    // A file takes them as they come.
    let dir = scratch();
    let file = dir.path().join("out.ldif");
    let config = json!({"server_url": format!("ldif:{}", file.display()), "preserve_uuid": true});
    Run::target(&config).stdin(&stream).run().succeeds();
    assert_eq!(read_text(&file).matches("\nentryUUID: ").count(), 23);
}

#[test]
fn a_server_that_gives_them_itself_is_2_and_a_user_who_may_not_gets_the_servers_answer() {
    let ds389 = Ds389::start(&Ds389Options::default());
    let samba = Samba::start("");
    for server in [&*ds389, &*samba] {
        let config = with(&target_config(server), &json!({"preserve_uuid": true}));
        Run::target(&config).run().exits(2).reports_setting("preserve_uuid");
    }
    let source = source();
    let stream = Run::tap(&tap_config(&source)).run().succeeds().stdout;
    let slapd = Slapd::start(SlapdOptions {
        access: "access to * by dn.exact=\"uid=replica,ou=people,dc=example,dc=test\" write by * break"
            .into(),
        ..SlapdOptions::with_users()
    });
    let writer =
        json!({"bind_dn": "uid=replica,ou=people,dc=example,dc=test", "bind_password": "replica-pw"});
    let config = with(&target_config(&slapd), &writer);
    let output = Run::target(&with(&config, &json!({"preserve_uuid": true}))).stdin(&stream).run().exits(1);
    output.reports_code(50);
    Run::target(&config).stdin(&stream).run().succeeds();
}
