//! Which entries are containers, and have a stream each.

use std::collections::{BTreeMap, BTreeSet};

use ldap_tests::client::Client;
use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::ldif::{normalize_dn, parent, parse_file};
use ldap_tests::run::Run;
use ldap_tests::server::{Server, scratch};
use serde_json::{Value, json};

use super::{SUFFIX, ds389, nested, records, samba, slapd, tree_ldif};
use crate::support::{discover, stream, tap_config, with};

/// The streams with a DN for an id are the entries of these classes, the base, and no others.
#[track_caller]
fn containers_are(catalog: &Value, there: &ldap_tests::ldif::Tree, base: &str, classes: &[&str]) {
    let has = |dn: &str, names: &[&str]| {
        let values = &there[dn]["objectclass"];
        values.iter().any(|v| names.iter().any(|n| n.as_bytes().eq_ignore_ascii_case(v)))
    };
    // People, accounts and mailboxes hold no others, whatever else they are.
    let expected: BTreeSet<String> = there
        .keys()
        .filter(|dn| {
            **dn == normalize_dn(base)
                || has(dn, classes) && !has(dn, &["person", "account", "rfc822localpart"])
        })
        .cloned()
        .collect();
    let streams: BTreeSet<String> = catalog["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["tap_stream_id"].as_str().unwrap())
        .filter(|id| id.contains('='))
        .map(normalize_dn)
        .collect();
    assert_eq!(streams, expected);
    for class in classes {
        assert!(streams.iter().any(|dn| has(dn, &[class])), "no {class} was there to be found");
    }
}

const CONTAINERS: [&str; 5] = ["organizationalUnit", "organization", "domain", "locality", "country"];

/// Of one class that holds others and of one that does not: 389 DS and files take it.
const MIXED: &str = "dn: cn=mixed,ou=people,dc=example,dc=test\nobjectClass: person\nobjectClass: locality\ncn: mixed\nsn: mixed\n\n\
    dn: cn=etc,dc=example,dc=test\nobjectClass: nsContainer\ncn: etc\n\n\
    dn: cn=held,cn=etc,dc=example,dc=test\nobjectClass: device\ncn: held\n";

#[test]
fn containers_of_openldap_are_of_every_class_that_holds_others() {
    let server = slapd();
    let there = server.dump_attributes(&["objectClass"]);
    let base = &there[SUFFIX]["objectclass"];
    assert!(base.contains(b"dcObject".as_slice()) && base.contains(b"organization".as_slice()));
    containers_are(&discover(&tap_config(&server)), &there, SUFFIX, &CONTAINERS);
    let catalog = discover(&tap_config(&server));
    assert_eq!(stream(&catalog, &format!("l=Lyon,c=FR,{SUFFIX}"))["stream"], "lyon");
    let letter = format!("cn=letter,cn=mailbox,dc=lab,{SUFFIX}");
    let output = Run::tap(&tap_config(&server)).run().succeeds();
    assert_eq!(records(&output)[&letter].0, "lab", "below a mailbox");
}

#[test]
fn containers_of_ds389_are_of_every_class_that_holds_others() {
    let server = Ds389::start(&Ds389Options::default().seed(tree_ldif()).seed(MIXED));
    let there = server.dump_attributes(&["objectClass"]);
    let classes = [&CONTAINERS[..], &["nsContainer"]].concat();
    containers_are(&discover(&tap_config(&server)), &there, SUFFIX, &classes);
    let output = Run::tap(&tap_config(&server)).run().succeeds();
    assert_eq!(records(&output)[&format!("cn=mixed,ou=people,{SUFFIX}")].0, "example_people");
    assert_eq!(records(&output)[&format!("cn=held,cn=etc,{SUFFIX}")].0, "etc");
}

#[test]
fn containers_of_a_file_are_of_every_class_that_holds_others() {
    let dir = scratch();
    let file = dir.path().join("tree.ldif");
    let root =
        format!("dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: x\n\n");
    let printers = format!("\ndn: cn=Printers,{SUFFIX}\nobjectClass: container\ncn: Printers\n");
    std::fs::write(&file, root + &tree_ldif() + "\n" + MIXED + &printers).unwrap();
    let config = json!({"server_url": format!("ldif:{}", file.display()), "base_dn": SUFFIX});
    let classes = [&CONTAINERS[..], &["nsContainer", "container"]].concat();
    containers_are(&discover(&config), &parse_file(&file), SUFFIX, &classes);
}

#[test]
fn containers_of_active_directory_are_units_containers_and_domains() {
    let server = samba();
    let classes = ["organizationalUnit", "container", "builtinDomain", "domain"];
    let there = server.dump_attributes(&["objectClass"]);
    containers_are(&discover(&tap_config(&server)), &there, server.suffix(), &classes);
}

/// The entries below the suffix that pass a filter.
fn passing(server: &Server, bind_dn: &str, password: &str, filter: &str) -> BTreeSet<String> {
    let mut client = Client::bind(&server.ldap_uri(), bind_dn, password);
    let entries = client.search(server.suffix(), filter, &["1.1"]).unwrap();
    entries.iter().map(|entry| normalize_dn(&entry.dn)).collect()
}

/// What the tap relies on where it asks a server which entries have others below them.
#[test]
fn servers_know_which_entries_have_others_below_them() {
    let slapd = slapd();
    let ds389 = ds389();
    let filters = [
        (&*slapd as &Server, "(hasSubordinates=TRUE)"),
        (&*ds389, "(&(numSubordinates=*)(numSubordinates>=1))"),
    ];
    for (server, filter) in filters {
        let there = server.dump_attributes(&["1.1"]);
        let above: BTreeSet<String> =
            there.keys().map(|dn| parent(dn)).filter(|dn| there.contains_key(dn)).collect();
        assert!(above.len() > 5, "{above:?}");
        assert_eq!(passing(server, &server.admin_dn(), server.admin_password(), filter), above);
    }
}

#[test]
fn nothing_is_lost_where_the_server_does_not_let_one_see_what_has_entries_below() {
    let ldif =
        nested(20, ["device"; 2], &format!("ou=outer,{SUFFIX}"), &format!("ou=inner,ou=outer,{SUFFIX}"));
    let server = Ds389::start(&Ds389Options::default().seed(ldif));
    server.ldapmodify(format!(
        "dn: {SUFFIX}\nchangetype: modify\nreplace: aci\naci: (targetattr != \"numSubordinates || hasSubordinates\")\
         (version 3.0; acl \"read\"; allow (read,search,compare) userdn=\"ldap:///all\";)\n"
    ));
    let (dn, password) = (server.reader_dn(), ldap_tests::ds389::READER_PASSWORD);
    let seen = Client::bind(&server.ldap_uri(), &dn, password).tree(SUFFIX, &["hasSubordinates"]);
    assert!(seen.len() > 80 && seen.values().all(BTreeMap::is_empty), "{seen:?}");
    let reader = with(&tap_config(&server), &json!({"bind_dn": dn, "bind_password": password}));
    let output = Run::tap(&reader).run().succeeds();
    let emitted: BTreeSet<String> = records(&output).into_keys().collect();
    assert_eq!(emitted, server.dump_attributes(&["1.1"]).into_keys().collect());
}
