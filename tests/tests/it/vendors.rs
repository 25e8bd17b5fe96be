//! The same on every kind of directory: OpenLDAP, 389 Directory Server, Active Directory (Samba), and an LDIF file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::ldif::{Tree, assert_same, normalize_dn, parent, parse_file};
use ldap_tests::run::{Output, Run, pipe};
use ldap_tests::samba::Samba;
use ldap_tests::server::{Server, fixture, scratch, tool};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::golden::assert_golden;
use crate::support::{
    assert_records_fit, discover, is_array_of, is_scalar, metadata, normalized, people, stream, tap_config,
    target_config, with,
};

const SUFFIX: &str = "dc=example,dc=test";
const STAFF: &str = "OU=Staff,DC=ad,DC=example,DC=test";

fn tree_ldif() -> String {
    std::fs::read_to_string(fixture("tree.ldif")).unwrap()
}

/// The same tree in a file, and the tap's configuration for it.
fn tree_file(dir: &TempDir) -> (PathBuf, Value) {
    let file = dir.path().join("tree.ldif");
    let root = format!("dn: {SUFFIX}\nobjectClass: top\nobjectClass: domain\ndc: example\n\n");
    std::fs::write(&file, root + &tree_ldif()).unwrap();
    let url = format!("ldif:{}", file.display());
    (file, json!({"server_url": url, "base_dn": SUFFIX, "discovery_sample_size": 0}))
}

fn slapd() -> Slapd {
    Slapd::start(SlapdOptions::default().seed(tree_ldif()))
}

fn ds389() -> Ds389 {
    Ds389::start(&Ds389Options::default().seed(tree_ldif()))
}

fn samba() -> Samba {
    Samba::start(&std::fs::read_to_string(fixture("active-directory.ldif")).unwrap())
}

/// Entries by their normalised DN; one that comes twice is a panic.
#[track_caller]
fn records(output: &Output) -> BTreeMap<String, (String, Value)> {
    let mut all = BTreeMap::new();
    for message in output.of_type("RECORD") {
        let record = message["record"].clone();
        let dn = normalize_dn(record["dn"].as_str().unwrap());
        let stream = message["stream"].as_str().unwrap().to_owned();
        if let Some((other, _)) = all.insert(dn.clone(), (stream.clone(), record)) {
            panic!("{dn} is in {other} and in {stream}");
        }
    }
    all
}

/// A full read by container: every entry that ldapsearch sees once and no other, each in the stream of its nearest
/// container, each fitting its SCHEMA.
#[track_caller]
fn reads_everything_once(server: &Server, key: &str) -> Output {
    let config = tap_config(server);
    let output = Run::tap(&config).run().succeeds();
    let emitted = records(&output);
    let there = server.dump_attributes(&["1.1"]);
    assert!(there.len() > 10, "{}", there.len());
    let lost: Vec<&String> = there.keys().filter(|dn| !emitted.contains_key(*dn)).collect();
    let invented: Vec<&String> = emitted.keys().filter(|dn| !there.contains_key(*dn)).collect();
    assert!(lost.is_empty() && invented.is_empty(), "lost {lost:?}, invented {invented:?}");
    assert_eq!(assert_records_fit(&output), there.len());

    let catalog = discover(&config);
    let streams: BTreeMap<&str, String> = catalog["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["stream"].as_str().unwrap(), normalize_dn_or_name(s["tap_stream_id"].as_str().unwrap())))
        .collect();
    let containers: BTreeSet<&String> = streams.values().filter(|id| id.contains('=')).collect();
    for (dn, (stream, record)) in &emitted {
        let home = if containers.contains(dn) {
            "organizational_units".to_owned()
        } else {
            std::iter::successors(Some(parent(dn)), |d| Some(parent(d)))
                .find(|d| containers.contains(d))
                .unwrap()
        };
        assert_eq!(streams[stream.as_str()], home, "{dn}");
        assert!(record[key].is_string(), "{dn} has no {key}");
    }
    for message in output.of_type("SCHEMA") {
        assert_eq!(message["key_properties"], json!([key]), "{}", message["stream"]);
    }
    for stream in streams.keys() {
        let complete = output.of_type("ACTIVATE_VERSION").iter().any(|m| m["stream"] == *stream);
        let is_empty = output.records(Some(stream)).is_empty();
        assert!(
            complete != is_empty,
            "{stream}: ACTIVATE_VERSION {complete}, empty {is_empty}:\n{}",
            output.stderr
        );
    }
    // The same through small pages.
    let paged = Run::tap(&with(&config, &json!({"page_size": 3}))).run().succeeds();
    assert_eq!(records(&paged).len(), there.len());
    output
}

fn normalize_dn_or_name(id: &str) -> String {
    if id.contains('=') { normalize_dn(id) } else { id.to_owned() }
}

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

#[test]
fn a_group_of_1600_members_is_read_whole_from_active_directory() {
    // More than Windows gives at once. Samba gives all of them, and takes half a minute to be given 5,000; what Windows
    // does with so many is in limits.rs.
    const COUNT: usize = 1_600;
    let server = samba();
    let mut ldif = String::new();
    for i in 0..COUNT {
        write!(ldif, "dn: CN=c{i},{STAFF}\nobjectClass: contact\n\n").unwrap();
    }
    write!(ldif, "dn: CN=Everyone,OU=Groups,{STAFF}\nobjectClass: group\nsAMAccountName: Everyone5000\n")
        .unwrap();
    for i in 0..COUNT {
        writeln!(ldif, "member: CN=c{i},{STAFF}").unwrap();
    }
    server.ldbadd(&ldif);
    let config = with(&tap_config(&server), &json!({"base_dn": STAFF}));
    let output = Run::tap(&config).run().succeeds();
    let all: BTreeSet<String> = (0..COUNT).map(|i| normalize_dn(&format!("CN=c{i},{STAFF}"))).collect();
    let everyone = &records(&output)[&normalize_dn(&format!("CN=Everyone,OU=Groups,{STAFF}"))].1;
    let members = everyone["member"].as_array().unwrap();
    assert_eq!(members.len(), COUNT);
    assert!(members.iter().map(|m| normalize_dn(m.as_str().unwrap())).collect::<BTreeSet<_>>() == all);
}

#[test]
fn members_by_primary_group_are_rows_on_active_directory() {
    let server = samba();
    let config = with(&tap_config(&server), &json!({"membership_streams": true}));
    let output = Run::tap(&config).run().succeeds();
    // A user's primary group is in no `member`: 513 is Domain Users ([MS-DTYP] 2.4.2.4).
    let there = server.dump_attributes(&["primaryGroupID", "objectGUID", "member", "objectClass"]);
    let guid = |dn: &str| guid_text(there[dn]["objectguid"].first().unwrap());
    let primary: BTreeMap<String, String> = there
        .iter()
        .filter(|(_, e)| e.get("primarygroupid").is_some_and(|v| v.contains(b"513".as_slice())))
        .map(|(dn, _)| (dn.clone(), guid(dn)))
        .collect();
    assert!(primary.contains_key(&normalize_dn(&format!("CN=Ada Lovelace,{STAFF}"))), "{primary:?}");
    let group = normalize_dn(&format!("CN=Domain Users,CN=Users,{}", server.suffix()));
    let rows: Vec<&Value> = output
        .of_type("RECORD")
        .into_iter()
        .filter(|m| m["stream"].as_str().unwrap().ends_with("_members"))
        .map(|m| &m["record"])
        .collect();
    let found: Vec<(String, String)> = rows
        .iter()
        .filter(|r| r["attribute"] == "primaryGroupID" && r["group_key"] == guid(&group).as_str())
        .map(|r| {
            assert_eq!(normalize_dn(r["group_dn"].as_str().unwrap()), group);
            assert_eq!(r["member"], r["member_dn"]);
            let key = r["member_key"].as_str().unwrap().to_owned();
            (normalize_dn(r["member_dn"].as_str().unwrap()), key)
        })
        .collect();
    assert_eq!(found.len(), primary.len(), "{found:?}");
    assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), primary);
    // And the others, by `member`: all of them, each with the key of an entry that is there.
    let by_member: Vec<&&Value> = rows.iter().filter(|r| r["attribute"] == "member").collect();
    assert_eq!(
        by_member.len(),
        there.values().filter_map(|e| e.get("member")).map(BTreeSet::len).sum::<usize>()
    );
    for row in by_member {
        assert_eq!(row["member_key"], guid(&normalize_dn(row["member"].as_str().unwrap())).as_str(), "{row}");
    }
    // Every entry with a primary group is a member of it, once.
    let with_primary = there.values().filter(|e| e.contains_key("primarygroupid")).count();
    assert_eq!(rows.iter().filter(|r| r["attribute"] == "primaryGroupID").count(), with_primary);
}

/// The most entries that a read by container may be sent, had it to be told each entry once: a container comes in its own
/// stream, beside its siblings, and as the base of its own search; an entry with others below it a second time as the
/// base of theirs.
fn at_most(there: &ldap_tests::ldif::Tree, containers: usize) -> usize {
    let above: BTreeSet<String> = there.keys().map(|dn| parent(dn)).collect();
    there.keys().filter(|dn| above.contains(*dn)).count() + there.len() + 2 * containers
}

/// LDIF of `count` devices and one below each, in a container with another one nested in it, twice over.
fn nested(count: usize, [class, below]: [&str; 2], outer: &str, inner: &str) -> String {
    let mut text = String::new();
    let name = |dn: &str| dn.split(',').next().unwrap().split_once('=').unwrap().1.to_owned();
    for unit in [outer, inner] {
        write!(text, "dn: {unit}\nobjectClass: organizationalUnit\nou: {}\n\n", name(unit)).unwrap();
        for i in 0..count {
            let dn = format!("cn=d{i},{unit}");
            write!(text, "dn: {dn}\nobjectClass: {class}\ncn: d{i}\n\n").unwrap();
            write!(text, "dn: cn=e,{dn}\nobjectClass: {below}\ncn: e\n\n").unwrap();
        }
    }
    text
}

#[test]
fn openldap_sends_each_entry_once() {
    let seed =
        nested(100, ["device"; 2], &format!("ou=outer,{SUFFIX}"), &format!("ou=inner,ou=outer,{SUFFIX}"));
    let server = Slapd::start(SlapdOptions::default().seed(tree_ldif()).seed(seed));
    let config = tap_config(&server);
    let catalog = discover(&config);
    // What slapd itself counts (slapd-monitor(5)).
    let sent = || -> usize {
        let base = "cn=Entries,cn=Statistics,cn=Monitor";
        let counter = server.dump_below(base, &["monitorCounter"]);
        let value = counter.values().next().unwrap()["monitorcounter"].first().unwrap().clone();
        String::from_utf8(value).unwrap().parse().unwrap()
    };
    let before = sent();
    let output = Run::tap(&config).file("--catalog", &catalog).run().succeeds();
    let sent = sent() - before;
    let there = server.dump_attributes(&["1.1"]);
    assert_eq!(records(&output).len(), there.len());
    let containers = output.records(Some("organizational_units")).len();
    // Root DSE, subschema, the base for its id, the counter itself; and the containers, to know them.
    let more = 10 + containers;
    // Before that, each once by its name alone, to know where it belongs.
    let most = at_most(&there, containers) + there.len() + more;
    assert!(sent <= most, "{sent} entries for {} records; {most} would do", there.len());
}

/// The entries below the suffix that pass a filter.
fn passing(server: &Server, bind_dn: &str, password: &str, filter: &str) -> BTreeSet<String> {
    let output = std::process::Command::new(tool("ldapsearch"))
        .args(["-x", "-LLL", "-o", "ldif-wrap=no", "-H", &server.ldap_uri(), "-D", bind_dn, "-w", password])
        .args(["-b", server.suffix(), filter, "1.1"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|l| l.strip_prefix("dn: ")).map(normalize_dn).collect()
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
    let seen = ldap_tests::ldif::dump(&server.ldap_uri(), &dn, password, SUFFIX, &["hasSubordinates"]);
    assert!(seen.len() > 80 && seen.values().all(BTreeMap::is_empty), "{seen:?}");
    let reader = with(&tap_config(&server), &json!({"bind_dn": dn, "bind_password": password}));
    let output = Run::tap(&reader).run().succeeds();
    let emitted: BTreeSet<String> = records(&output).into_keys().collect();
    assert_eq!(emitted, server.dump_attributes(&["1.1"]).into_keys().collect());
}

#[test]
fn active_directory_sends_each_entry_once() {
    let server = samba();
    let outer = format!("OU=Outer,{STAFF}");
    let classes = ["computer", "serviceConnectionPoint"];
    server.ldapadd(nested(30, classes, &outer, &format!("OU=Inner,{outer}")));
    let config = tap_config(&server);
    let catalog = discover(&config);
    let output =
        Run::tap(&config).file("--catalog", &catalog).arg("--log-level").arg("debug").run().succeeds();
    let received: usize = output
        .stderr
        .lines()
        .filter_map(|l| l.strip_suffix(" entries were received")?.rsplit(' ').next()?.parse::<usize>().ok())
        .sum();
    let there = server.dump_attributes(&["1.1"]);
    assert_eq!(records(&output).len(), there.len());
    let most = at_most(&there, output.records(Some("organizational_units")).len());
    assert!(
        received >= there.len() && received <= most,
        "{received} entries for {}; {most} would do",
        there.len()
    );
}

#[test]
fn openldap_is_read_whole_by_container() {
    let slapd = slapd();
    let output = reads_everything_once(&slapd, "entryUUID");
    let home = |dn: &str| records(&output)[&format!("{dn},{SUFFIX}")].0.clone();
    assert_eq!(home("cn=notebook,uid=grace,ou=people"), home("uid=ada,ou=people"), "below a person");
}

#[test]
fn ds389_is_read_whole_by_container() {
    let server = ds389();
    let output = reads_everything_once(&server, "nsUniqueId");
    let catalog = discover(&tap_config(&server));
    let people = stream(&catalog, &format!("ou=people,{SUFFIX}"));
    let names = people["schema"]["properties"].as_object().unwrap();
    for name in ["nsUniqueId", "entryusn", "modifyTimestamp", "createTimestamp"] {
        assert!(names.contains_key(name), "{name} among {:?}", names.keys());
    }
    is_scalar(&names["entryusn"], "integer");
    assert_eq!(names["modifyTimestamp"]["format"], "date-time");
    assert_eq!(metadata(people, &["properties", "nsUniqueId"])["inclusion"], "automatic");
    let ada = &records(&output)[&format!("uid=ada,ou=people,{SUFFIX}")].1;
    assert_eq!(ada["description;lang-de"], json!(["Erste Programmiererin"]));
    assert_eq!(ada["jpegPhoto"], json!(["/9j/4AAQSkZJRgABAQ=="]));
    assert_eq!(ada["mail"].as_array().unwrap().len(), 2);

    // Its default naming context is cn=changelog, which nobody means.
    let without_base = with(&tap_config(&server), &json!({"base_dn": null}));
    let default = discover(&without_base);
    assert!(default == catalog, "the base is the one naming context that holds data");
}

#[test]
fn active_directory_is_read_whole_by_container() {
    let server = samba();
    let output = reads_everything_once(&server, "objectGUID");
    let catalog = discover(&tap_config(&server));
    for id in [
        "DC=ad,DC=example,DC=test",
        "CN=Users,DC=ad,DC=example,DC=test",
        "CN=Builtin,DC=ad,DC=example,DC=test",
        "OU=Domain Controllers,DC=ad,DC=example,DC=test",
        STAFF,
        &format!("CN=Printers,{STAFF}"),
    ] {
        stream(&catalog, id);
    }
    let service = &records(&output)[&normalize_dn(&format!("CN=Service,CN=PC1,OU=Engineering,{STAFF}"))];
    assert_eq!(service.0, "engineering", "below a computer, in the stream of the container above");
    let default = discover(&with(&tap_config(&server), &json!({"base_dn": null})));
    assert!(default == catalog, "the default naming context is the base");
}

#[test]
fn active_directory_types_are_what_they_mean() {
    let server = samba();
    let output = Run::tap(&tap_config(&server)).run().succeeds();
    let records = records(&output);
    let bytes =
        server.dump_attributes(&["objectGUID", "objectSid", "whenChanged", "uSNChanged", "pwdLastSet"]);
    let mut sids = 0;
    for (dn, (_, record)) in &records {
        let raw = &bytes[dn];
        let one = |name: &str| raw.get(name).and_then(|v| v.first());
        assert_eq!(record["objectGUID"], guid_text(one("objectguid").unwrap()), "{dn}");
        if let Some(sid) = one("objectsid") {
            assert_eq!(record["objectSid"], sid_text(sid), "{dn}");
            sids += 1;
        }
        let changed = std::str::from_utf8(one("whenchanged").unwrap()).unwrap();
        assert_eq!(changed.get(14..), Some(".0Z"), "{changed}");
        assert_eq!(record["whenChanged"], rfc3339(changed), "{dn}");
        let usn = std::str::from_utf8(one("usnchanged").unwrap()).unwrap();
        assert_eq!(record["uSNChanged"].to_string(), usn, "{dn}");
        if let Some(b"0" | b"9223372036854775807") = one("pwdlastset").map(Vec::as_slice) {
            assert_eq!(record["pwdLastSet"], Value::Null, "{dn}");
        }
    }
    assert!(sids > 20, "{sids}");

    let record = |dn: &str| &records[&normalize_dn(&format!("{dn},{STAFF}"))].1;
    let ada = record("CN=Ada Lovelace");
    assert_eq!(ada["accountExpires"], "2020-12-03T08:00:00Z");
    assert_eq!(ada["msDS-cloudExtensionAttribute1"], "a hyphen in the name");
    assert_eq!(ada["jpegPhoto"], json!(["/9j/4AAQSkZJRgABAQ=="]));
    let grace = record("CN=Grace Hopper,OU=Engineering");
    assert_eq!(grace["accountExpires"], Value::Null, "2^63-1 is never");
    assert_eq!(grace["uidNumber"], 10001);
    assert_eq!(
        grace["manager"].as_str().map(normalize_dn),
        Some(normalize_dn(&format!("CN=Ada Lovelace,{STAFF}")))
    );
    let sid = ada["objectSid"].as_str().unwrap();
    assert!(sid.starts_with("S-1-5-21-"), "{sid}");

    let catalog = discover(&tap_config(&server));
    let properties = &stream(&catalog, STAFF)["schema"]["properties"];
    for name in ["accountExpires", "pwdLastSet", "lastLogonTimestamp", "whenChanged", "whenCreated"] {
        is_scalar(&properties[name], "string");
        assert_eq!(properties[name]["format"], "date-time", "{name}");
    }
    assert_eq!(properties["objectGUID"]["format"], "uuid");
    is_scalar(&properties["objectSid"], "string");
    is_scalar(&properties["uSNChanged"], "integer");
    is_scalar(&properties["userAccountControl"], "integer");
    is_scalar(&properties["sAMAccountName"], "string");
    is_scalar(&properties["givenName"], "string");
    is_array_of(&properties["objectClass"], "string");
    is_array_of(&properties["memberOf"], "string");
    is_scalar(&properties["msDS-cloudExtensionAttribute1"], "string");
    // DIT content rules or not: an attribute of a class is never missing, and there is no property without a syntax.
    for (name, _) in properties.as_object().unwrap() {
        if name != "dn" {
            assert!(
                metadata(stream(&catalog, STAFF), &["properties", name])["ldap.syntax"].is_string(),
                "{name}"
            );
        }
    }
}

/// [MS-DTYP] 2.3.4: three little-endian groups, then octets as they are.
pub(crate) fn guid_text(octets: &[u8]) -> String {
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    assert_eq!(octets.len(), 16);
    let mut text = String::new();
    for (n, at) in order.into_iter().enumerate() {
        if [4, 6, 8, 10].contains(&n) {
            text.push('-');
        }
        write!(text, "{:02x}", octets[at]).unwrap();
    }
    text
}

/// [MS-DTYP] 2.4.2.
fn sid_text(octets: &[u8]) -> String {
    let authority = octets[2..8].iter().fold(0_u64, |n, o| n * 256 + u64::from(*o));
    let mut text = format!("S-{}-{authority}", octets[0]);
    for part in octets[8..].chunks(4) {
        write!(text, "-{}", part.iter().rev().fold(0_u64, |n, o| n * 256 + u64::from(*o))).unwrap();
    }
    assert_eq!(octets.len(), 8 + 4 * usize::from(octets[1]));
    text
}

fn rfc3339(generalized: &str) -> String {
    let part = |from: usize, to: usize| generalized.get(from..to).unwrap();
    format!(
        "{}-{}-{}T{}:{}:{}{}",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12),
        part(12, 14),
        generalized.get(14..).unwrap()
    )
}

/// The seed's configuration (SPEC, appendix A) with the names that each kind of directory has.
#[track_caller]
fn the_seeds_streams(
    all: &Value,
    there: &ldap_tests::ldif::Tree,
    users: &str,
    groups: &str,
    group_class: &str,
) {
    let config = with(
        all,
        &json!({
            "schemas": [
                {"name": "users", "base_dn": users, "filter": "(objectClass=person)",
                 "attributes": ["uid", "cn", "sn", "mail", "departmentNumber"]},
                {"name": "groups", "base_dn": groups, "filter": format!("(objectClass={group_class})"),
                 "attributes": ["cn", "member", "description"]},
            ],
            "single_valued": ["uid", "cn", "sn", "mail", "departmentNumber"],
        }),
    );
    let catalog = discover(&config);
    assert_eq!(catalog["streams"].as_array().unwrap().len(), 2);
    for name in ["uid", "cn", "sn", "mail", "departmentNumber"] {
        is_scalar(&stream(&catalog, "users")["schema"]["properties"][name], "string");
    }
    is_array_of(&stream(&catalog, "groups")["schema"]["properties"]["member"], "string");
    let output = Run::tap(&config).run().succeeds();
    assert_records_fit(&output);
    let people = output.records(Some("users"));
    let ada = people.iter().find(|r| r["cn"] == "Ada Lovelace").unwrap_or_else(|| panic!("{people:?}"));
    assert_eq!((&ada["sn"], &ada["departmentNumber"]), (&json!("Lovelace"), &json!("7")));
    assert!(["ada@example.test", "countess@example.test"].contains(&ada["mail"].as_str().unwrap()));
    let makers = output.records(Some("groups"));
    assert_eq!(makers.len(), 1, "{makers:?}");
    assert_eq!(makers[0]["cn"], json!(makers[0]["cn"].as_str().unwrap()));
    assert_eq!(makers[0]["member"].as_array().unwrap().len(), 2);
    for member in makers[0]["member"].as_array().unwrap() {
        assert!(there.contains_key(&normalize_dn(member.as_str().unwrap())), "{member}");
    }
}

#[test]
fn the_seeds_configuration_runs_on_openldap() {
    let server = slapd();
    the_seeds_streams(
        &tap_config(&server),
        &server.dump_attributes(&["1.1"]),
        &format!("ou=people,{SUFFIX}"),
        &format!("ou=groups,{SUFFIX}"),
        "groupOfNames",
    );
}

#[test]
fn the_seeds_configuration_runs_on_ds389() {
    let server = ds389();
    the_seeds_streams(
        &tap_config(&server),
        &server.dump_attributes(&["1.1"]),
        &format!("ou=people,{SUFFIX}"),
        &format!("ou=groups,{SUFFIX}"),
        "groupOfNames",
    );
}

#[test]
fn the_seeds_configuration_runs_on_active_directory() {
    let server = samba();
    let there = server.dump_attributes(&["1.1"]);
    the_seeds_streams(&tap_config(&server), &there, STAFF, &format!("OU=Groups,{STAFF}"), "group");
}

#[test]
fn the_seeds_configuration_runs_on_a_file() {
    let dir = scratch();
    let (file, config) = tree_file(&dir);
    the_seeds_streams(
        &config,
        &parse_file(&file),
        &format!("ou=people,{SUFFIX}"),
        &format!("ou=groups,{SUFFIX}"),
        "groupOfNames",
    );
}

#[test]
fn limits_of_ds389_are_read_through_pages_and_never_cut_short() {
    const COUNT: usize = 620;
    let server = Ds389::start(
        &Ds389Options::default()
            .seed(format!("dn: ou=people,{SUFFIX}\nobjectClass: organizationalUnit\nou: people\n"))
            .seed(people(COUNT, &format!("ou=people,{SUFFIX}"))),
    );
    let reader = with(
        &tap_config(&server),
        &json!({"bind_dn": server.reader_dn(), "bind_password": ldap_tests::ds389::READER_PASSWORD}),
    );
    let output = Run::tap(&with(&reader, &json!({"page_size": 100}))).run().succeeds();
    assert_eq!(output.records(Some("people")).len(), COUNT);
    let output = Run::tap(&reader).run().succeeds();
    assert_eq!(output.records(Some("people")).len(), COUNT);

    let short =
        Run::tap(&with(&reader, &json!({"page_size": 0, "discovery_sample_size": 10}))).run().exits(1);
    assert!(short.stderr.contains("sizeLimitExceeded (4)"), "{}", short.stderr);
    assert!(short.of_type("ACTIVATE_VERSION").iter().all(|m| m["stream"] != "people"));
}

#[test]
fn ds389_is_mirrored_into_a_file() {
    let server = ds389();
    let dir = scratch();
    let file = dir.path().join("mirror.ldif");
    let (tap, target) =
        pipe(&tap_config(&server), &json!({"server_url": format!("ldif:{}", file.display())}));
    assert_eq!((tap.code, target.code), (0, 0), "{}\n{}", tap.stderr, target.stderr);
    let copy = parse_file(&file);
    assert_same("389 DS", &normalized(&server.dump()), "the file", &normalized(&copy));
}

#[test]
fn openldap_is_mirrored_into_ds389() {
    let source = slapd();
    let copy = Ds389::start(&Ds389Options::default());
    let (tap, target) = pipe(&tap_config(&source), &target_config(&copy));
    assert_eq!((tap.code, target.code), (0, 0), "{}\n{}", tap.stderr, target.stderr);
    let mut there = copy.dump();
    assert!(there.remove(&format!("uid=reader,{SUFFIX}")).is_some(), "what was there before stays");
    let root = there.get_mut(SUFFIX).unwrap();
    root.remove("aci");
    assert!(
        root.get_mut("objectclass").unwrap().remove(b"top".as_slice()),
        "389 DS adds superclasses by itself"
    );
    assert_same("OpenLDAP", &normalized(&source.dump()), "389 DS", &normalized(&there));

    let marks = copy.change_marks();
    let (_, again) = pipe(&tap_config(&source), &target_config(&copy));
    assert_eq!(again.code, 0, "{}", again.stderr);
    crate::support::assert_untouched(&copy, &marks);
}

#[test]
fn the_catalog_of_openldap_is_as_expected() {
    assert_golden("openldap", &discover(&tap_config(&slapd())));
}

#[test]
fn the_catalog_of_ds389_is_as_expected() {
    assert_golden("389ds", &discover(&tap_config(&ds389())));
}

#[test]
fn the_catalog_of_active_directory_is_as_expected() {
    let server = samba();
    assert_golden("active-directory", &discover(&with(&tap_config(&server), &json!({"base_dn": STAFF}))));
}

#[test]
fn the_catalog_of_a_file_is_as_expected() {
    let dir = scratch();
    let (file, config) = tree_file(&dir);
    assert_golden("ldif", &discover(&config));
    let output = Run::tap(&config).run().succeeds();
    assert_eq!(assert_records_fit(&output), parse_file(&file).len());
    let emitted: BTreeSet<String> = records(&output).into_keys().collect();
    assert_eq!(emitted, parse_file(&file).into_keys().collect::<BTreeSet<_>>());
}

/// An export is typed by what the source says, and has what the source gives: also identifiers, which no server takes back.
#[test]
fn an_export_of_active_directory_has_every_value_that_it_gives() {
    let samba = samba();
    let dir = scratch();
    let suffix = samba.suffix();
    for (n, base) in [
        suffix.to_owned(),
        format!("CN=Configuration,{suffix}"),
        format!("CN=Schema,CN=Configuration,{suffix}"),
    ]
    .iter()
    .enumerate()
    {
        let path = dir.path().join(format!("{n}.ldif"));
        let config = with(&tap_config(&samba), &json!({"base_dn": base}));
        let (tap, target) = pipe(&config, &json!({"server_url": format!("ldif:{}", path.display())}));
        tap.succeeds();
        target.succeeds();
        let (there, written) = (samba.dump_below(base, &["*"]), parse_file(&path));
        let names = |tree: &Tree| tree.keys().cloned().collect::<BTreeSet<_>>();
        // What lies above is made.
        let lacking: Vec<String> = names(&there).difference(&names(&written)).cloned().collect();
        assert!(lacking.is_empty(), "{base}: {lacking:?}");
        let mut lacking: BTreeMap<&str, usize> = BTreeMap::new();
        for (dn, attributes) in &there {
            for (name, values) in attributes {
                // Times that are none are null.
                let is_no_time = values.iter().all(|v| v == b"0" || v == b"9223372036854775807");
                if !is_no_time && written[dn].get(name) != Some(values) {
                    *lacking.entry(name).or_default() += 1;
                }
            }
        }
        assert_eq!(lacking, BTreeMap::new(), "{base}");
        assert!(there.values().all(|attributes| attributes.contains_key("objectguid")));
    }
}

/// Active Directory gives these to base searches only.
#[test]
fn what_active_directory_works_out_for_one_object_at_a_time_is_read_so() {
    let samba = samba();
    let stream = |attributes: Value| {
        let users = json!({"name": "users", "base_dn": format!("CN=Users,{}", samba.suffix()),
            "filter": "(sAMAccountName=Administrator)", "attributes": attributes});
        with(&tap_config(&samba), &json!({"schemas": [users]}))
    };
    let output = Run::tap(&stream(json!(["cn", "tokenGroups"]))).run().succeeds();
    let record = output.records(Some("users"))[0];
    let groups = record["tokenGroups"].as_array().unwrap();
    // Domain Admins ([MS-DTYP] 2.4.2.4).
    assert!(groups.iter().any(|sid| sid.as_str().unwrap().ends_with("-512")), "{record}");
    assert_eq!(record["cn"], "Administrator");
    let alone = Run::tap(&stream(json!(["tokenGroups"]))).run().succeeds();
    assert_eq!(alone.records(Some("users"))[0]["tokenGroups"].as_array().unwrap().len(), groups.len());
    // Containers, which are read otherwise, and everything at once.
    let all = with(
        &tap_config(&samba),
        &json!({"select_by_default": "allowed", "base_dn": format!("CN=Users,{}", samba.suffix())}),
    );
    let output = Run::tap(&all).run().succeeds();
    let records = output.records(None);
    let administrator = records.iter().find(|r| r["sAMAccountName"] == "Administrator").unwrap();
    assert_eq!(administrator["tokenGroups"].as_array().unwrap().len(), groups.len());
}
