//! Entries of which the bound user may not search what a filter of `protect` compares: they count as protected.

use ldap_tests::ldif::assert_same;
use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::json;

use super::{IN, person, record, seed};
use crate::support::{lines, target_config, with};

const READER: &str = "uid=reader,ou=people,dc=example,dc=test";

/// The user of the run may not search the titles in ou=crew.
fn slapd() -> Slapd {
    let access = format!(
        "access to dn.children=\"ou=crew,{IN}\" attrs=title by dn.exact=\"{READER}\" =w by * break\n\
         access to * by dn.exact=\"{READER}\" manage by * break"
    );
    Slapd::start(SlapdOptions { access, ..SlapdOptions::with_users().seed(seed()) })
}

#[test]
fn a_hidden_entry_below_is_protected_whatever_the_run_has_added_beside_it() {
    let slapd = slapd();
    let crew = format!("ou=crew,{IN}");
    let rules = json!({"units": {"dn_template": format!("ou={{name}},{IN}"), "object_classes": ["organizationalUnit"],
        "match": "(description={id})", "attribute_mapping": {"id": "description"}}});
    let config = with(
        &target_config(&slapd),
        &json!({"bind_dn": READER, "bind_password": "reader-pw", "protect": {"filter": "(title=chief)"},
            "max_in_flight": 1, "mapping_rules": rules}),
    );
    slapd.ldapmodify(format!("dn: {crew}\nchangetype: modify\nadd: description\ndescription: 7\n\n"));
    let text = json!({"type": ["null", "string"]});
    let units = json!({"type": "SCHEMA", "stream": "units", "key_properties": ["id"],
        "schema": {"properties": {"id": text, "name": text}}});
    // What the run has added is its own, and may be changed again.
    let own = format!("uid=own,{crew}");
    let messages = [super::schema(), person(&own, "mine"), record(&own, &json!({"description": ["again"]}))];
    Run::target(&config).stdin(lines(&messages)).run().succeeds();
    let before = slapd.dump();
    let mut messages = vec![super::schema()];
    messages.extend((0..30).map(|n| person(&format!("uid=new{n},{crew}"), "mine")));
    messages.push(units);
    messages.push(json!({"type": "RECORD", "stream": "units", "record": {"id": "7", "name": "renamed"}}));
    let output = Run::target(&config).stdin(lines(&messages)).run().exits(1);
    output.reports(&json!({"setting": "protect.filter", "stream": "units", "dn": crew}));
    let mut after = slapd.dump();
    after.retain(|dn, _| !dn.starts_with("uid=new"));
    assert_same("before", &before, "after", &after);
}
