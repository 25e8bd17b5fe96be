//! State of earlier versions and renamed containers.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ldap_tests::slapd::{Base, Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::{SUFFIX, file, run};
use crate::replication::repeated_runs::resyncs;
use crate::support::{reader_config, unit, with};

#[test]
fn the_fingerprints_of_yesterday_are_known() {
    let (_dir, url) = file(
        "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\
         entryUUID: 11111111-1111-4111-8111-111111111111\n\
         createTimestamp: 20260101000000Z\nmodifyTimestamp: 20260101000000Z\n\n\
         dn: cn=a,dc=example,dc=test\nobjectClass: device\ncn: a\n\
         entryUUID: 22222222-2222-4222-8222-222222222222\n\
         createTimestamp: 20260102000000Z\nmodifyTimestamp: 20260103000000Z\n\n",
    );
    // As the version before printed them, letter by letter.
    let first = r#"{"bookmarks":{"all":{"format":1,"replication_method":"INCREMENTAL","replication_key":"modifyTimestamp","replication_key_value":"2026-01-01T00:00:00Z","fingerprint":"SG-gGhmEQZu6nxdG","boundary":{"2026-01-01T00:00:00":{"count":1,"sum":"Y9JEdngMfb7joXMRSu6sgQ","hashes":["Y9JEdngMfb7joXMRSu6sgQ"]}}}}}"#;
    let second = r#"{"bookmarks":{"all":{"format":1,"replication_method":"INCREMENTAL","replication_key":"modifyTimestamp","replication_key_value":"2026-01-03T00:00:00Z","fingerprint":"hIh2ylmaXbOLDQeQ","boundary":{"2026-01-03T00:00:00":{"count":1,"sum":"Z2ssPilGEhP0sLXiyGPMfA","hashes":["Z2ssPilGEhP0sLXiyGPMfA"]}}}}}"#;
    let third = r#"{"bookmarks":{"all":{"format":1,"replication_method":"INCREMENTAL","replication_key":"modifyTimestamp","replication_key_value":"2026-01-03T00:00:00Z","fingerprint":"RvJ_We8kjophJ7nd","boundary":{"2026-01-03T00:00:00":{"count":1,"sum":"Z2ssPilGEhP0sLXiyGPMfA","hashes":["Z2ssPilGEhP0sLXiyGPMfA"]}},"containers":{"11111111-1111-4111-8111-111111111111":"G0Gbuecb"}}}}"#;
    for (scope, old) in [("base", first), ("one", second), ("sub", third)] {
        let stream = |scope: &str| {
            json!([{"name": "all", "base_dn": SUFFIX, "filter": "(objectClass=*)", "scope": scope, "attributes": ["cn"],
                "replication_method": "INCREMENTAL", "replication_key": "modifyTimestamp"}])
        };
        let config = json!({"server_url": url, "base_dn": SUFFIX, "schemas": stream(scope)});
        let old: Value = serde_json::from_str(old).unwrap();
        let (output, state) = run(&config, Some(&old));
        assert_eq!(resyncs(&output), 0, "{scope}: {}", output.stderr);
        assert!(output.records(None).is_empty(), "{scope}: nothing changed");
        // And those of today say how they were made, and are known as well.
        let print = state["bookmarks"]["all"]["fingerprint"].as_str().unwrap();
        let hash = print.strip_prefix("1:").expect(print);
        assert_eq!(old["bookmarks"]["all"]["fingerprint"], hash);
        let (output, _) = run(&config, Some(&state));
        assert_eq!(resyncs(&output), 0, "{scope}: {}", output.stderr);
        let other = if scope == "sub" { "one" } else { "sub" };
        let (output, _) = run(&with(&config, &json!({"schemas": stream(other)})), Some(&state));
        assert_eq!(resyncs(&output), 1, "{scope}: another scope is another question");
    }
}

#[test]
fn a_renamed_container_may_hold_more_than_the_reader_gets_at_once() {
    let mut seed = unit("ou=old,dc=example,dc=test");
    for n in 0..700 {
        write!(
            seed,
            "dn: uid=m{n},ou=old,{SUFFIX}\nobjectClass: account\nobjectClass: simpleSecurityObject\nuid: m{n}\nuserPassword: x\n\n"
        )
        .unwrap();
    }
    let options = SlapdOptions { base: Base::Users, ..SlapdOptions::default() };
    let slapd = Slapd::start(options.seed(seed));
    for method in ["INCREMENTAL", "LOG_BASED"] {
        let stream = json!([{"name": "all", "base_dn": SUFFIX, "filter": "(uid=m*)", "attributes": ["uid"],
            "replication_method": method}]);
        let config = with(&reader_config(&slapd), &json!({"schemas": stream}));
        let (output, state) = run(&config, None);
        assert_eq!(output.records(None).len(), 700);
        let (old, new) = if method == "INCREMENTAL" { ("old", "new") } else { ("new", "newest") };
        slapd.ldapmodify(format!(
            "dn: ou={old},{SUFFIX}\nchangetype: modrdn\nnewrdn: ou={new}\ndeleteoldrdn: 1\n\n"
        ));
        let (output, state) = run(&config, Some(&state));
        // The log tells of the unit as well, which the filter leaves out.
        let moved: BTreeSet<&str> = output
            .records(None)
            .iter()
            .filter(|record| record["_sdc_deleted_at"].is_null())
            .map(|record| record["dn"].as_str().unwrap())
            .collect();
        assert_eq!(moved.len(), 700, "{method}");
        let suffix = format!(",ou={new},{SUFFIX}");
        assert!(moved.iter().all(|dn| dn.ends_with(&suffix)));
        assert!(run(&config, Some(&state)).0.records(None).is_empty());
    }
}
