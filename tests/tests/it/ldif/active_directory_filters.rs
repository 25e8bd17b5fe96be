//! Filters of Active Directory, evaluated here: in a file, as a domain controller evaluates them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ldap_tests::ldif::normalize_dn;
use ldap_tests::run::Run;
use ldap_tests::samba::Samba;
use ldap_tests::server::scratch;
use serde_json::{Value, json};

use crate::support::{tap_config, with};

const FILTERS: [&str; 12] = [
    "(objectCategory=person)",
    "(objectCategory=User)",
    "(objectCategory=contact)",
    "(objectCategory=group)",
    "(objectCategory=computer)",
    "(objectCategory=organizationalUnit)",
    "(objectCategory=domainDNS)",
    "(objectCategory=domain)",
    "(&(objectCategory=person)(objectClass=user))",
    "(&(objectCategory=person)(!(objectClass=user)))",
    "(!(objectCategory=person))",
    "(objectCategory=foreignSecurityPrincipal)",
];

fn dns(config: &Value, filter: &str) -> BTreeSet<String> {
    let stream = json!({"name": "s", "filter": filter, "attributes": ["cn"], "key_properties": ["dn"]});
    let output = Run::tap(&with(config, &json!({"schemas": [stream]}))).run().succeeds();
    output.records(None).iter().map(|record| normalize_dn(record["dn"].as_str().unwrap())).collect()
}

#[test]
fn a_file_finds_by_object_category_what_active_directory_finds() {
    let samba = Samba::start(
        "dn: CN=Partner,CN=Users,DC=ad,DC=example,DC=test\nobjectClass: contact\n\n\
         dn: OU=Unit,DC=ad,DC=example,DC=test\nobjectClass: organizationalUnit\n\n",
    );
    let mut ldif = String::from("version: 1\n");
    for (dn, entry) in samba.dump_attributes(&["objectClass", "objectCategory", "cn"]) {
        write!(ldif, "\ndn: {dn}\n").unwrap();
        for (name, values) in entry {
            for value in values {
                writeln!(ldif, "{name}: {}", String::from_utf8(value).unwrap()).unwrap();
            }
        }
    }
    let folder = scratch();
    let file = folder.path().join("ad.ldif");
    std::fs::write(&file, ldif).unwrap();
    let of_server = with(&tap_config(&samba), &json!({"base_dn": samba.suffix()}));
    let of_file = json!({"server_url": format!("ldif:{}", file.display()), "base_dn": samba.suffix()});
    for filter in FILTERS {
        let there = dns(&of_server, filter);
        assert!(!there.is_empty(), "{filter}");
        assert_eq!(dns(&of_file, filter), there, "{filter}");
    }
}

#[test]
fn what_only_a_domain_controller_can_evaluate_is_reported() {
    let folder = scratch();
    let file = folder.path().join("ad.ldif");
    std::fs::write(
        &file,
        "dn: CN=a,DC=x\nobjectClass: user\ncn: a\nobjectCategory: CN=Person,CN=Schema,CN=Configuration,DC=x\n",
    )
    .unwrap();
    for filter in ["(anr=a)", "(|(cn=a)(anr=a*))", "(objectCategory=computr)"] {
        let stream = json!({"name": "s", "filter": filter});
        let config =
            json!({"server_url": format!("ldif:{}", file.display()), "base_dn": "DC=x", "schemas": [stream]});
        let output = Run::tap(&config).run();
        assert!(output.stderr.contains("schemas[0].filter"), "{filter}: {}", output.stderr);
    }
}
