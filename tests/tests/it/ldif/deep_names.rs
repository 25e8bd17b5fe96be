//! DNs of very many RDNs: the work for one grows with its length, not with its square.

use std::time::Duration;

use ldap_tests::ldif::parse_file;
use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use serde_json::json;

#[test]
fn an_entry_of_forty_thousand_rdns_is_written_in_time() {
    let dir = scratch();
    let path = dir.path().join("d.ldif");
    let units: Vec<String> = (0..40_000).map(|n| format!("ou=o{n}")).collect();
    let text = json!({"type": ["null", "string"]});
    let messages = [
        json!({"type": "SCHEMA", "stream": "p", "key_properties": ["dn"], "schema": {"properties": {
            "dn": text, "objectClass": {"type": ["null", "array"]}, "uid": text, "cn": text, "sn": text}}}),
        json!({"type": "RECORD", "stream": "p", "record": {"dn": format!("uid=a,{},dc=x", units.join(",")),
            "objectClass": ["inetOrgPerson"], "uid": "a", "cn": "a", "sn": "a"}}),
    ];
    let config = json!({"server_url": format!("ldif:{}", path.display())});
    // The square took 26 seconds on an idle machine.
    Run::target(&config).messages(&messages).timeout(Duration::from_secs(20)).run().succeeds();
    assert_eq!(parse_file(&path).len(), 1);
}
