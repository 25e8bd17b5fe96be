//! Only values that differ by the schema's rules are written, also if another client writes at the same time.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::fake::active_directory::{ActiveDirectory, SUFFIX as DOMAIN, object};
use ldap_tests::fake::{Fake, Operation, Request};
use ldap_tests::relay::Relay;
use ldap_tests::run::{Output, Run};
use ldap_tests::samba::{SUFFIX, Samba};
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{assert_untouched, done, no_panic, target_config, unit, with};

const PEOPLE: &str = "ou=people,dc=example,dc=test";

fn schema() -> Value {
    let texts = json!({"type": ["null", "array", "string"], "items": {"type": "string"}});
    let properties = json!({"dn": texts, "objectClass": texts, "cn": texts, "sn": texts, "uid": texts, "mail": texts, "url": texts,
        "member": texts, "description": texts, "telephoneNumber": texts, "title": texts, "testExact": texts,
        "testPointer": texts, "testWhen": texts, "testUuid": texts, "postalAddress": texts, "labeledURI": texts,
        "testCount": {"type": ["integer", "null"]}, "testFlag": {"type": ["boolean", "null"]}, "_sdc_deleted_at": texts});
    json!({"type": "SCHEMA", "stream": "s", "key_properties": ["dn"],
        "schema": {"type": "object", "properties": properties}})
}

fn messages(record: &Value) -> Vec<Value> {
    let record = json!({"type": "RECORD", "stream": "s", "record": record});
    vec![schema(), record, json!({"type": "STATE", "value": {"n": 1}})]
}

/// The steps of a plan of one modification: operation, attribute and values.
fn steps(output: &Output) -> Vec<(String, String, BTreeSet<String>)> {
    let lines = output.lines();
    let [plan] = lines.as_slice() else { panic!("not one change: {lines:?}") };
    let step = |s: &Value| {
        let values = s["values"].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect();
        (s["operation"].as_str().unwrap().to_owned(), s["attribute"].as_str().unwrap().to_owned(), values)
    };
    plan["changes"].as_array().unwrap().iter().map(step).collect()
}

fn plan(config: &Value, record: &Value) -> Output {
    let run = Run::target(config).messages(&messages(record)).plan("json");
    run.run().succeeds()
}

fn set(values: &[String]) -> BTreeSet<String> {
    values.iter().cloned().collect()
}

#[test]
fn three_of_fifty_thousand_members_are_three_values() {
    let group = "cn=all,dc=example,dc=test";
    let member = |n: usize| format!("uid=p{n},{PEOPLE}");
    let mut ldif = format!("dn: {group}\nobjectClass: groupOfNames\ncn: all\n");
    for n in 0..50_000 {
        writeln!(ldif, "member: {}", member(n)).unwrap();
    }
    ldif.push('\n');
    let mut options =
        SlapdOptions { accesslog: true, ..SlapdOptions::default() }.seed(unit(PEOPLE)).seed(ldif);
    for n in 50_000..50_002 {
        options = options.seed(format!("dn: {}\nobjectClass: account\nuid: p{n}\n", member(n)));
    }
    // slapd keeps them in order then, as it should where there are so many (slapd.conf(5)).
    options.global_conf = "sortvals member\n".into();
    let slapd = Slapd::start(options);
    // Spelled as somebody else would.
    let wanted: Vec<String> =
        (1..50_002).map(|n| member(n).replace("uid=", "UID=").replace(',', ", ")).collect();
    let record = json!({"dn": group, "objectClass": ["groupOfNames"], "cn": ["all"], "member": wanted});
    let config = target_config(&slapd);
    done(Run::target(&config).messages(&messages(&record)).run()).counts(&[("modified", 1)]);
    let log = slapd.dump_below("cn=accesslog", &["reqType", "reqMod"]);
    let of_the_server = ["entrycsn", "modifiersname", "modifytimestamp"];
    let sent: Vec<String> = log
        .values()
        .flat_map(|entry| entry.get("reqmod").into_iter().flatten())
        .map(|value| String::from_utf8(value.clone()).unwrap().to_lowercase())
        .filter(|value| !of_the_server.iter().any(|own| value.starts_with(own)))
        .collect();
    assert_eq!(sent.len(), 3, "{sent:?}");
    assert!(sent.iter().any(|v| v.starts_with("member:- uid=p0,")), "{sent:?}");
    assert_eq!(sent.iter().filter(|v| v.starts_with("member:+ uid=p5000")).count(), 2, "{sent:?}");
    let before = slapd.change_marks();
    done(Run::target(&config).messages(&messages(&record)).run()).counts(&[("unchanged", 1)]);
    assert_untouched(&slapd, &before);
}

#[test]
fn a_list_that_active_directory_gives_in_ranges_is_three_values_too() {
    let group = format!("CN=all,{DOMAIN}");
    let member = |n: usize| format!("CN=p{n},{DOMAIN}");
    let members: Vec<Vec<u8>> = (0..3_200).map(|n| member(n).into_bytes()).collect();
    let person = |n: u32| object(&format!("CN=p{n},{DOMAIN}"), "user", n, &[]);
    let entries = vec![
        object(&group, "group", 1, &[("cn", vec![b"all".to_vec()]), ("member", members)]),
        person(3_200),
        person(3_201),
    ];
    let fake = Fake::start(ActiveDirectory::new(entries));
    let config = json!({"server_url": fake.uri(), "bind_dn": "cn=x", "bind_password": "x"});
    let wanted: Vec<String> = (1..3_202).map(member).collect();
    for (policy, removes) in [("force", true), ("merge", false)] {
        let config = with(&config, &json!({"mapping_rules": {"s": {"policies": {"member": policy}}}}));
        let steps = steps(&plan(&config, &json!({"dn": group, "member": wanted})));
        let added = ("add".to_owned(), "member".to_owned(), set(&[member(3_200), member(3_201)]));
        let deleted = ("delete".to_owned(), "member".to_owned(), set(&[member(0)]));
        let expected = if removes { vec![deleted, added] } else { vec![added] };
        assert_eq!(steps, expected, "{policy}");
    }
    assert_eq!(
        plan(&config, &json!({"dn": group, "member": (0..3_200).map(member).collect::<Vec<_>>()}))
            .lines()
            .len(),
        0
    );
}

#[test]
fn what_is_the_same_by_the_attributes_rule_is_not_written_and_what_is_not_is() {
    let dn = format!("cn=x,{PEOPLE}");
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(PEOPLE)).seed(format!(
        "dn: {dn}\nobjectClass: inetOrgPerson\nobjectClass: testThing\ncn: x\nsn: Van  Dyke\nmail: A@Example.test\n\
         telephoneNumber: +1 555-0100\ntestExact: Case\ntestPointer: cn=A B,dc=example,dc=test\n\
         testWhen: 20200101000000Z\ntestUuid: 6ba7b810-9dad-11d1-80b4-00c04fd430c8\ntestCount: 7\ntestFlag: TRUE\n\
         postalAddress: 1 Main St.$Town\nlabeledURI: http://x/A\ndescription: one\ndescription: two\n"
    )));
    let config = target_config(&slapd);
    let record = |name: &str, value: &Value| {
        let mut record = json!({"dn": dn});
        record[name] = value.clone();
        record
    };
    let before = slapd.change_marks();
    for (name, value) in [
        ("sn", json!("VAN DYKE ")),
        ("mail", json!(["a@EXAMPLE.TEST"])),
        ("telephoneNumber", json!("+1 5550100")),
        ("testPointer", json!("CN = a  b , dc=Example,  DC=test")),
        ("testPointer", json!("2.5.4.3=A\\20B,dc=example,dc=test")),
        ("testWhen", json!("2020-01-01T01:30:00.000+01:30")),
        ("testUuid", json!("6BA7B810-9DAD-11D1-80B4-00C04FD430C8")),
        ("testCount", json!(7)),
        ("testFlag", json!(true)),
        ("postalAddress", json!("1 MAIN st. $ Town")),
        ("description", json!(["TWO", "One", "one"])),
    ] {
        done(Run::target(&config).messages(&messages(&record(name, &value))).run())
            .counts(&[("unchanged", 1)]);
        assert!(plan(&config, &record(name, &value)).stdout.is_empty(), "{name}");
    }
    assert_untouched(&slapd, &before);
    for (name, value) in
        [("testExact", "case"), ("labeledURI", "http://x/a"), ("telephoneNumber", "+1 555 0101")]
    {
        let before = slapd.change_marks();
        done(Run::target(&config).messages(&messages(&record(name, &json!(value)))).run())
            .counts(&[("modified", 1)]);
        assert!(slapd.change_marks() != before);
        let there = &slapd.dump()[&dn][&name.to_lowercase()];
        assert_eq!(there, &BTreeSet::from([value.as_bytes().to_vec()]), "{name}");
    }
}

/// The number of a modify request's tag (RFC 4511 section 4.6), an add's, a delete's.
const MODIFY: u8 = 6;
const ADD: u8 = 8;
const DELETE: u8 = 10;

/// Runs with somebody else who applies these changes right before the first request with this tag is sent on.
fn race(server: &Server, changes: &str, before: u8, record: &Value) -> (Output, Vec<Request>) {
    let file = server.path("race.ldif");
    std::fs::write(&file, changes).unwrap();
    let (uri, dn, password) = (server.ldap_uri(), server.admin_dn(), server.admin_password());
    let acted = AtomicBool::new(false);
    let relay = Relay::start(server.ldap_port(), move |request| {
        let is_meant = matches!(request.operation, Operation::Other(tag, _) if tag == before);
        if is_meant && !acted.swap(true, Ordering::SeqCst) {
            let mut other = std::process::Command::new(ldap_tests::server::tool("ldapmodify"));
            other.args(["-x", "-H", &uri, "-D", &dn, "-w", password, "-f"]).arg(&file);
            let output = other.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    });
    let config = with(&target_config(server), &json!({"server_url": relay.uri()}));
    let output = Run::target(&config).messages(&messages(record)).run();
    no_panic(&output);
    let meant = |r: &Request| matches!(r.operation, Operation::Other(tag, _) if tag == before);
    (output, relay.requests().into_iter().filter(meant).collect())
}

/// Somebody else changes the entry after it was read: each time it ends as it is wanted, with what nobody wants otherwise
/// left alone.
fn races(server: &Server) {
    let dn = format!("cn=x,{PEOPLE}");
    let entry = format!(
        "dn: {dn}\nobjectClass: inetOrgPerson\ncn: x\nsn: x\nmail: a\nmail: b\nmail: c\nmail: d\ntitle: old\n\n"
    );
    let wanted = json!({"dn": dn, "objectClass": ["inetOrgPerson"], "cn": ["x"], "sn": ["x"],
        "mail": ["a", "b", "c", "e"]});
    let mut gone = wanted.clone();
    gone["_sdc_deleted_at"] = json!("2026-01-01T00:00:00Z");
    let modify = |steps: &str| format!("dn: {dn}\nchangetype: modify\n{steps}\n");
    let mails = |mails: &str| mails.split(' ').map(|m| m.as_bytes().to_vec()).collect::<BTreeSet<_>>();
    for (name, there, changes, before, sent, left, title) in [
        ("nothing", true, String::new(), MODIFY, 1, "a b c e", "old"),
        // The value to be taken away is gone, and another one is there that nobody has seen.
        (
            "a value goes",
            true,
            modify("delete: mail\nmail: d\n-\nadd: mail\nmail: x"),
            MODIFY,
            2,
            "a b c e",
            "old",
        ),
        ("a value comes", true, modify("add: mail\nmail: e"), MODIFY, 2, "a b c e", "old"),
        // It is done: nothing is left to do.
        (
            "all is done",
            true,
            modify("replace: mail\nmail: a\nmail: b\nmail: c\nmail: e"),
            MODIFY,
            1,
            "a b c e",
            "old",
        ),
        // Other attributes are somebody else's.
        ("another attribute", true, modify("replace: title\ntitle: new"), MODIFY, 1, "a b c e", "new"),
        ("it goes", true, format!("dn: {dn}\nchangetype: delete\n"), MODIFY, 1, "a b c e", ""),
        (
            "it comes",
            false,
            format!("dn: {dn}\nchangetype: add\n{}", entry.split_once('\n').unwrap().1),
            ADD,
            1,
            "a b c e",
            "old",
        ),
    ] {
        server.ldapmodify(
            format!("dn: {dn}\nchangetype: delete\n").repeat(usize::from(server.dump().contains_key(&dn))),
        );
        if there {
            server.ldapadd(&entry);
        }
        let (output, requests) = race(server, &changes, before, &wanted);
        done(output);
        assert_eq!(requests.len(), sent, "{name}: {requests:?}");
        let after = server.dump()[&dn].clone();
        assert_eq!(after["mail"], mails(left), "{name}");
        let is = after.get("title").and_then(|t| t.first()).map_or(&b""[..], Vec::as_slice);
        assert_eq!(is, title.as_bytes(), "{name}");
    }
    let (output, _) = race(server, &format!("dn: {dn}\nchangetype: delete\n"), DELETE, &gone);
    done(output).counts(&[("unchanged", 1)]);
}

#[test]
fn an_entry_that_somebody_else_changes_in_between_is_read_again() {
    races(&Slapd::start(SlapdOptions::default().seed(unit(PEOPLE))));
}

#[test]
fn an_entry_that_somebody_else_changes_in_between_is_read_again_on_ds389() {
    races(&Ds389::start(&Ds389Options { seed: vec![unit(PEOPLE)], ..Ds389Options::default() }));
}

/// [MS-ADTS] 3.1.1.3.4.1.8.
const PERMISSIVE_MODIFY: &str = "1.2.840.113556.1.4.1413";

#[test]
fn values_that_went_away_in_between_are_no_error_on_active_directory() {
    let user = |n: u32| format!("CN=u{n},CN=Users,{SUFFIX}");
    let group = format!("CN=team,CN=Users,{SUFFIX}");
    let mut ldif = String::new();
    for n in 0..8 {
        write!(ldif, "dn: {}\nobjectClass: user\nsAMAccountName: u{n}\n\n", user(n)).unwrap();
    }
    write!(ldif, "dn: {group}\nobjectClass: group\nsAMAccountName: team\n").unwrap();
    for n in 0..6 {
        writeln!(ldif, "member: {}\nurl: u{n}", user(n)).unwrap();
    }
    let samba = Samba::start(&ldif);
    let there = |name: &str| samba.dump_below(&group, &[name]).values().next().unwrap()[name].clone();
    // What is to be taken away is gone. Of `member` Samba says so, and the entry is read again; else it is let pass.
    let members: Vec<String> = (1..7).map(user).collect();
    let urls: Vec<String> = (1..7).map(|n| format!("u{n}")).collect();
    for (name, wanted, gone, sent) in [("member", members, user(0), 2), ("url", urls, "u0".into(), 1)] {
        let changes = format!("dn: {group}\nchangetype: modify\ndelete: {name}\n{name}: {gone}\n");
        let mut record = json!({"dn": group, "cn": "team"});
        record[name] = json!(wanted);
        let (output, requests) = race(&samba, &changes, MODIFY, &record);
        done(output);
        assert_eq!(requests.len(), sent, "{name}: {requests:?}");
        assert!(requests[0].control(PERMISSIVE_MODIFY).is_some_and(|c| !c.critical), "{requests:?}");
        assert_eq!(there(name), wanted.iter().map(|m| m.as_bytes().to_vec()).collect());
    }
}
