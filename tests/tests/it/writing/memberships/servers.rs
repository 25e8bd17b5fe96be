//! What is special on a server: overlays and plugins that write themselves, primary groups, ranges.

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::fake::Fake;
use ldap_tests::fake::active_directory::{ActiveDirectory, SUFFIX, object};
use ldap_tests::run::Run;
use ldap_tests::server::{Server, scratch};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::{AD, RFC, by_filter, gone, place, row, run, samba, schema, set, state, values};
use crate::support::{assert_untouched, done, with};

/// The server itself notes the groups of a member, and renames and deletes members in groups.
fn with_member_of(server: &Server, second: impl Fn()) {
    let place = place(server, RFC);
    server.ldapadd(place.seed(4, 2));
    let rules = json!({"m": by_filter(), "people": {"dn_template": format!("uid={{login}},ou=people,{}", place.base),
        "match": "(employeeNumber={id})", "object_classes": ["inetOrgPerson"], "attribute_mapping": {"login": "uid"}}});
    let config = place.config(&rules);
    done(run(&config, &[row("g0", "p0"), row("g0", "p1"), row("g1", "p1")])).counts(&[("added", 3)]);
    second();
    assert_eq!(values(server, &place.person("p1"), "memberOf"), set(&[place.group("g0"), place.group("g1")]));
    // p0 is renamed and p1 leaves, after their rows.
    let text = json!({"type": ["null", "string"]});
    let person = |id: &str, login: &str, gone: Value| json!({"type": "RECORD", "stream": "people", "record": {"id": id, "login": login, "_sdc_deleted_at": gone}});
    let rows = [
        row("g0", "p0"),
        row("g1", "p0"),
        gone("g0", "p1"),
        json!({"type": "SCHEMA", "stream": "people", "key_properties": ["id"],
            "schema": {"properties": {"id": text, "login": text, "_sdc_deleted_at": text}}}),
        person("p0", "renamed", Value::Null),
        person("p1", "p1", json!("2026-11-30T00:00:00Z")),
    ];
    done(run(&config, &rows)).stream_counts("people", &[("renamed", 1), ("deleted", 1)]);
    second();
    let renamed = place.person("renamed");
    assert_eq!(place.members("g0"), set(&[place.person("keeper"), renamed.clone()]));
    assert_eq!(place.members("g1"), set(&[place.person("keeper"), renamed.clone()]));
    assert_eq!(values(server, &renamed, "memberOf"), set(&[place.group("g0"), place.group("g1")]));
    let marks = server.change_marks();
    done(run(&config, &rows[..2])).counts(&[("unchanged", 2)]);
    assert_untouched(server, &marks);
}

#[test]
fn member_of_and_refint_on_slapd() {
    let slapd = Slapd::start(SlapdOptions { memberof: true, ..SlapdOptions::default() });
    with_member_of(&slapd, || {});
}

#[test]
fn member_of_and_referential_integrity_on_389() {
    let server = Ds389::start(&Ds389Options { memberof: true, ..Ds389Options::default() });
    // The plug-in for referential integrity works behind the answer.
    with_member_of(&server, || std::thread::sleep(std::time::Duration::from_secs(2)));
}

#[test]
fn a_primary_group_of_active_directory_is_no_value_of_the_group() {
    let samba = samba(3, 1);
    let place = place(&samba, AD);
    let users = format!("CN=Domain Users,CN=Users,{}", samba.suffix());
    let dir = scratch();
    let by_dn = json!({"membership": {"group": "{group}", "member": "{user}", "attribute": "{kind}"}});
    let skipping = json!({"on_error": "skip", "reject_file": dir.path().join("r.jsonl")});
    let config = with(&place.config(&json!({"m": by_dn})), &skipping);
    let of = |mut row: Value, kind: &str| {
        row["record"]["kind"] = json!(kind);
        row
    };
    let p0 = place.person("p0");
    let marks = samba.change_marks();
    // As the tap emits it, and as `member`: it is there already.
    let rows = [of(row(&users, &p0), "primaryGroupID"), of(row(&users, &p0), "member")];
    done(run(&config, &rows)).counts(&[("unchanged", 2)]);
    // It cannot be taken away, nor be given.
    let rows = [
        of(gone(&users, &p0), "member"),
        of(gone(&users, &p0), "primaryGroupID"),
        of(row(&place.group("g0"), &p0), "primaryGroupID"),
        of(gone(&place.group("g0"), &place.person("p1")), "primaryGroupID"),
    ];
    let output = run(&config, &rows).exits(4).counts(&[("rejected", 3), ("unchanged", 1)]);
    for line in [2, 3, 4] {
        output.stderr.reports(&json!({"line": line, "stream": "m"}));
    }
    assert_untouched(&samba, &marks);
    // A version without them says that they stay.
    let version = with(
        &place.config(&json!({"m": {"membership": {"group": "{group}", "member": "{user}"}}})),
        &json!({"process_activate_version": true}),
    );
    let mut first = row(&users, &p0);
    first["version"] = json!(7);
    let activate = json!({"type": "ACTIVATE_VERSION", "stream": "m", "version": 7});
    let output = done(run(&version, &[first, activate])).counts(&[("deleted", 0)]);
    let warned = output.stderr.about(&json!({"stream": "m", "level": "warning"}));
    assert!(warned.iter().any(|w| w["members"].as_u64() > Some(2)), "{warned:?}");
    assert_untouched(&samba, &marks);
}

/// Windows returns 1,500 of them, and then more: a value behind these is known to be there.
#[test]
fn three_rows_of_a_group_of_5000_on_active_directory() {
    let member = |n: usize| format!("CN=c{n},OU=Contacts,{SUFFIX}");
    let members = (0..5_000).map(|n| member(n).into_bytes()).collect();
    let dn = format!("CN=Everyone,OU=Groups,{SUFFIX}");
    let unit = |id: u32, name: &str| {
        object(&format!("OU={name},{SUFFIX}"), "organizationalUnit", id, &[("ou", vec![name.into()])])
    };
    let group = object(&dn, "group", 3, &[("cn", vec![b"Everyone".to_vec()]), ("member", members)]);
    let mut entries = vec![unit(1, "Groups"), unit(2, "Contacts"), group];
    for n in 4_998..5_002 {
        let id = u32::try_from(n).unwrap();
        entries.push(object(&member(n), "contact", id, &[("cn", vec![format!("c{n}").into_bytes()])]));
    }
    let server = Fake::start(ActiveDirectory::new(entries));
    let config = json!({"server_url": server.uri(), "bind_dn": "CN=etl,CN=Users,DC=ad,DC=example,DC=test",
        "bind_password": "secret", "mapping_rules": {"m": {"membership": {"group": "{group}", "member": "{user}"}}}});
    let rows = [
        row(&dn, &member(5_001)),
        row(&dn, &member(4_999)),
        gone(&dn, &member(4_998)),
        gone(&dn, &member(5_000)),
    ];
    let messages: Vec<Value> = [schema()].into_iter().chain(rows).chain([state()]).collect();
    let plan = Run::target(&config).messages(&messages).plan("json").run().succeeds();
    let changes: Vec<Value> = plan.lines().into_iter().filter(|line| line["operation"] == "modify").collect();
    let expected = json!([{"operation": "add", "attribute": "member", "values": [member(5_001)]},
        {"operation": "delete", "attribute": "member", "values": [member(4_998)]}]);
    assert_eq!(changes.iter().map(|change| &change["changes"]).collect::<Vec<_>>(), [&expected]);
}

/// In parts, for the server takes requests up to 2 MiB; nobody is lost in between.
#[test]
fn many_members_on_389() {
    let server = Ds389::start(&Ds389Options::default());
    let place = place(&server, RFC);
    server.ldapadd(place.seed(0, 1));
    let long = "x".repeat(300);
    let name = |n: usize| format!("uid=n{n}{long},ou=people,{}", place.base);
    let config = place.config(&json!({"m": {"membership": {"group": "{group}", "member": "{user}"}}}));
    let rows: Vec<Value> = (0..8_000).map(|n| row(&place.group("g0"), &name(n))).collect();
    done(run(&config, &rows)).counts(&[("added", 8_000)]);
    assert_eq!(place.members("g0").len(), 8_001);
    let group = place.group("g0");
    done(run(&config, &[gone(&group, &name(7_999)), gone(&group, &name(3))])).counts(&[("deleted", 2)]);
    assert_eq!(place.members("g0").len(), 7_999);
}
