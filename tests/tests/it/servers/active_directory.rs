//! Active Directory alone: members, types, and attributes computed for one object at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ldap_tests::ldif::{Tree, normalize_dn, parse_file};
use ldap_tests::run::{Run, pipe};
use ldap_tests::server::scratch;
use serde_json::{Value, json};

use super::{STAFF, records, samba};
use crate::support::{discover, is_array_of, is_scalar, metadata, stream, tap_config, with};

#[test]
fn a_group_of_1600_members_is_read_whole_from_active_directory() {
    // More than Windows gives at once. Samba gives all of them, and takes half a minute to be given 5,000; what Windows
    // does with so many is in active_directory_limits.rs.
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

/// A domain controller refuses DirSync of them, and gives them as octets to base searches.
#[test]
fn what_active_directory_works_out_for_one_object_at_a_time_is_read_by_log_based_too() {
    const NAMES: [&str; 3] = ["tokenGroups", "tokenGroupsNoGCAcceptable", "tokenGroupsGlobalAndUniversal"];
    let samba = samba();
    let users = json!({"name": "users", "base_dn": format!("CN=Users,{}", samba.suffix()),
        "filter": "(sAMAccountName=Administrator)", "attributes": [NAMES[0], NAMES[1], NAMES[2], "description"],
        "replication_method": "LOG_BASED"});
    let config = with(&tap_config(&samba), &json!({"schemas": [users]}));
    let first = Run::tap(&config).run().succeeds();
    let record = first.records(Some("users"))[0];
    for name in NAMES {
        let groups = record[name].as_array().unwrap_or_else(|| panic!("{name}: {record}"));
        assert!(groups.iter().any(|sid| sid.as_str().unwrap().starts_with("S-1-5-")), "{name}: {record}");
    }
    let state = first.of_type("STATE").last().unwrap()["value"].clone();
    let dn = format!("CN=Administrator,CN=Users,{}", samba.suffix());
    samba.ldapmodify(format!("dn: {dn}\nchangetype: modify\nreplace: description\ndescription: changed\n"));
    let second = Run::tap(&config).file("--state", &state).run().succeeds();
    let record = second.records(Some("users"))[0];
    assert_eq!(record["description"].to_string().trim_matches(['[', ']']), "\"changed\"");
    let third = second.of_type("STATE").last().unwrap()["value"].clone();
    Run::tap(&config).file("--state", &third).run().succeeds();
}
