//! Entries below a parent that the bound user may not read.

use std::collections::BTreeSet;

use ldap_tests::ds389::{Ds389, Ds389Options, READER_PASSWORD};
use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::json;

use super::{assert_each_once, field, json_log, person, streams, thing};
use crate::support::{reader_config, tap_config, unit, with};

/// A tree with entries below parents that the reader may not see, at every place.
fn hidden_tree() -> String {
    unit("ou=people,dc=example,dc=test")
        + &person("uid=alice,ou=people,dc=example,dc=test")
        + &thing("cn=hidden,dc=example,dc=test")
        + &person("cn=below,cn=hidden,dc=example,dc=test")
        + &thing("cn=deeper,cn=hidden,dc=example,dc=test")
        + &person("cn=deepest,cn=deeper,cn=hidden,dc=example,dc=test")
        + &thing("cn=hidden,ou=people,dc=example,dc=test")
        + &unit("ou=inner,cn=hidden,ou=people,dc=example,dc=test")
        + &person("uid=bob,ou=inner,cn=hidden,ou=people,dc=example,dc=test")
        + &person("uid=eve,cn=hidden,ou=people,dc=example,dc=test")
        + &thing("cn=shown,dc=example,dc=test")
        + &person("cn=child,cn=shown,dc=example,dc=test")
}

const SEEN: [&str; 11] = [
    "dc=example,dc=test",
    "ou=people,dc=example,dc=test",
    "uid=alice,ou=people,dc=example,dc=test",
    "cn=below,cn=hidden,dc=example,dc=test",
    "cn=deeper,cn=hidden,dc=example,dc=test",
    "cn=deepest,cn=deeper,cn=hidden,dc=example,dc=test",
    "ou=inner,cn=hidden,ou=people,dc=example,dc=test",
    "uid=bob,ou=inner,cn=hidden,ou=people,dc=example,dc=test",
    "uid=eve,cn=hidden,ou=people,dc=example,dc=test",
    "cn=shown,dc=example,dc=test",
    "cn=child,cn=shown,dc=example,dc=test",
];

fn assert_hidden_tree(output: &Output, more: &[&str]) {
    assert_each_once(output, SEEN.iter().chain(more).copied());
    let found = streams(output);
    for (dn, stream) in [
        ("cn=below,cn=hidden,dc=example,dc=test", "example"),
        ("cn=deepest,cn=deeper,cn=hidden,dc=example,dc=test", "example"),
        ("uid=bob,ou=inner,cn=hidden,ou=people,dc=example,dc=test", "inner"),
        ("uid=eve,cn=hidden,ou=people,dc=example,dc=test", "people"),
    ] {
        assert_eq!(found[dn], [stream], "{dn}");
    }
    assert_eq!(field(output, "books_differ"), 0);
    assert_eq!(field(output, "books_held"), found.len());
    assert_eq!(output.of_type("ACTIVATE_VERSION").len(), output.of_type("SCHEMA").len());
}

#[test]
fn slapd_entries_below_a_parent_that_the_reader_may_not_see_are_records() {
    let rule = |dn: &str| {
        format!(
            "access to dn.base=\"{dn}\" by dn.exact=\"uid=reader,ou=people,dc=example,dc=test\" none by * break\n"
        )
    };
    let seed = hidden_tree().replace(&unit("ou=people,dc=example,dc=test"), "");
    let slapd = Slapd::start(SlapdOptions {
        access: rule("cn=hidden,dc=example,dc=test") + &rule("cn=hidden,ou=people,dc=example,dc=test"),
        ..SlapdOptions::with_users().seed(seed.replace("uid=alice", "uid=carol"))
    });
    let config = reader_config(&slapd);
    let output = json_log(&config).run().succeeds();
    let dump = slapd.dump_attributes(&["objectClass"]);
    let expected: BTreeSet<String> =
        dump.keys().filter(|dn| !dn.starts_with("cn=hidden,")).cloned().collect();
    assert_each_once(&output, expected.iter().map(String::as_str));
    let found = streams(&output);
    assert_eq!(found["cn=deepest,cn=deeper,cn=hidden,dc=example,dc=test"], ["example"]);
    assert_eq!(found["uid=bob,ou=inner,cn=hidden,ou=people,dc=example,dc=test"], ["inner"]);
    assert_eq!(field(&output, "books_differ"), 0);
    assert_eq!(field(&output, "books_held"), expected.len());
    assert_eq!(output.of_type("ACTIVATE_VERSION").len(), output.of_type("SCHEMA").len());
    // By class it is one search for each.
    let by_class = with(&config, &json!({"discover_by": "object_class", "verify": "always"}));
    let output = json_log(&by_class).run().succeeds();
    assert_each_once(&output, expected.iter().map(String::as_str));
    assert_eq!(field(&output, "books_differ"), 0);
}

#[test]
fn ds389_entries_below_a_parent_that_the_reader_may_not_see_are_records() {
    let server = Ds389::start(&Ds389Options::default().seed(hidden_tree()));
    let aci = |dn: &str| {
        format!(
            "dn: {dn}\nchangetype: modify\nadd: aci\naci: (target=\"ldap:///{dn}\")(targetattr=\"*\")(targetfilter=\"(objectClass=device)\")\
             (version 3.0; acl \"hidden\"; deny (all) userdn=\"ldap:///{}\";)\n\n",
            server.reader_dn()
        )
    };
    let hidden = ["cn=hidden,dc=example,dc=test", "cn=hidden,ou=people,dc=example,dc=test"];
    server.ldapmodify(hidden.map(|dn| aci(dn).replace("(objectClass=device)", "(cn=hidden)")).concat());
    let config =
        with(&tap_config(&server), &json!({"bind_dn": server.reader_dn(), "bind_password": READER_PASSWORD}));
    let output = json_log(&config).run().succeeds();
    assert_hidden_tree(&output, &["uid=reader,dc=example,dc=test"]);
}

#[test]
fn the_root_dse_is_no_record_and_no_entry_is_in_two_streams_with_an_empty_base() {
    let slapd = Slapd::start(SlapdOptions {
        global_conf: "defaultsearchbase dc=example,dc=test\n".into(),
        ..SlapdOptions::with_users().seed(
            hidden_tree()
                .replace(&unit("ou=people,dc=example,dc=test"), "")
                .replace("uid=alice", "uid=carol"),
        )
    });
    let config = with(&tap_config(&slapd), &json!({"base_dn": ""}));
    let dump = slapd.dump_attributes(&["objectClass"]);
    for more in [json!({}), json!({"discover_by": "object_class"}), json!({"schemas": [{"name": "all"}]})] {
        let output = Run::tap(&with(&config, &more)).run().succeeds();
        assert_each_once(&output, dump.keys().map(String::as_str));
    }
}
