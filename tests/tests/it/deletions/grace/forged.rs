//! A marker that somebody else has written is believed only as far as the entry and the rule bear it out.

use super::*;
use ldap_tests::samba::{SUFFIX, Samba};
use ldap_tests::slapd::scratch;

fn forged(time: &str, stream: &str, dn: &str) -> String {
    let set = json!({"employeeType": {"was": ["admin"], "to": []}, "title": {"was": ["Boss"], "to": ["Clerk", "Ch\u{e8}f"]},
        "l": {"was": ["Forged"], "to": ["Berne"]}, "userPassword": {"was": ["forged"], "to": []}});
    format!("ldap-target:1 deleted={time} {}", json!({"dn": dn, "stream": stream, "set": set}))
        .replace('\u{e8}', "\\u00e8")
}

/// What a person may plant in an entry in use, by the person's name.
fn planted() -> Vec<(&'static str, Vec<String>)> {
    let dn = |uid: &str| format!("uid={uid},{PEOPLE}");
    vec![
        ("old", vec![forged("20010101000000Z", "people", &dn("old"))]),
        ("future", vec![forged("21010101000000Z", "people", &dn("future"))]),
        ("other", vec![forged("20010101000000Z", "others", &dn("other"))]),
        ("elsewhere", vec![forged("20010101000000Z", "people", &format!("uid=admin,{BASE}"))]),
        ("version", vec!["ldap-target:9 x".into()]),
        ("two", vec![forged("20010101000000Z", "people", &dn("two")), "ldap-target:1 x".into()]),
    ]
}

fn seed() -> String {
    let all = planted().into_iter().enumerate().map(|(n, (uid, markers))| {
        let lines = markers.iter().map(|value| format!("{MARKER}: {value}\n"));
        let lines: Vec<String> = std::iter::once(format!("{MARKER}: a note\n")).chain(lines).collect();
        person(&n.to_string(), uid, PEOPLE).replace(&lines[0], &lines.concat())
    });
    all.collect()
}

fn without_markers(mut tree: Tree) -> Tree {
    for values in tree.values_mut().flat_map(BTreeMap::values_mut) {
        values.retain(|value| !value.starts_with(b"ldap-target:"));
    }
    tree
}

fn each(record: fn(&str, &str) -> Value) -> Vec<Value> {
    planted().iter().enumerate().map(|(n, (uid, _))| record(&n.to_string(), uid)).collect()
}

/// All leave, and come back: `config` sets aside below `gone`, or where they are.
fn plays(server: &Server, config: &Value, gone: &str) {
    let start = chrono::Utc::now() - chrono::TimeDelta::seconds(1);
    let before = server.dump();
    // In use: told, and nothing of it is written.
    let output = done(run(config, &each(joins))).counts(&[("unchanged", planted().len() as u64)]);
    for (uid, _) in planted() {
        output
            .stderr
            .reports(&json!({"dn": format!("uid={uid},{PEOPLE}"), "attribute": MARKER, "level": "warning"}));
    }
    done(run(config, &[])).counts(&[("deleted", 0)]);
    assert_eq!(server.dump(), before);
    // All leave now, whatever their markers say.
    done(run(config, &each(leaves))).counts(&[("deleted", 0)]);
    let tree = server.dump();
    for (uid, _) in planted() {
        let dn = format!("uid={uid},{gone}");
        let value = marker(&tree, &dn).0.unwrap();
        assert!((start..=chrono::Utc::now()).contains(&time_of(&value)), "{value}");
        let (_, back) = value.split_once(" {").unwrap();
        let back: Value = serde_json::from_str(&format!("{{{back}")).unwrap();
        assert_eq!((&back["stream"], &back["dn"]), (&json!("people"), &json!(format!("uid={uid},{PEOPLE}"))));
        assert_eq!(back["set"]["title"]["to"], json!(["left"]));
    }
    done(run(config, &[])).counts(&[("deleted", 0)]);
    done(run(config, &each(joins)));
    let mut after = server.dump();
    after.retain(|dn, _| before.contains_key(dn));
    assert_eq!(after, without_markers(before));
    // And at last for good.
    done(run(config, &each(leaves)));
    age(server, MARKER, &server.dump(), 30);
    done(run(config, &[])).counts(&[("deleted", planted().len() as u64)]);
}

#[test]
fn a_marker_of_an_entry_in_use_is_told_and_replaced() {
    let slapd = start(&seed());
    plays(&slapd, &config(&slapd, &json!({})), GONE);
}

#[test]
fn without_a_place_the_values_of_set_bear_a_marker_out() {
    let slapd = start(&seed());
    let kept = json!({"set": {"title": "left", "l": null}, "then": on_delete()["then"]});
    plays(&slapd, &config(&slapd, &json!({"on_delete": kept})), PEOPLE);
}

#[test]
fn without_values_the_place_bears_a_marker_out() {
    let slapd = start(&seed());
    let moved = json!({"move_to": GONE, "then": on_delete()["then"]});
    let config = config(&slapd, &json!({"on_delete": moved}));
    let before = slapd.dump();
    done(run(&config, &each(leaves))).counts(&[("deleted", 0), ("moved", planted().len() as u64)]);
    done(run(&config, &[])).counts(&[("deleted", 0)]);
    done(run(&config, &each(joins)));
    let mut after = slapd.dump();
    after.retain(|dn, _| before.contains_key(dn));
    assert_eq!(after, without_markers(before));
}

#[test]
fn only_what_the_rule_sets_comes_back_and_what_is_not_borne_out_stays() {
    let names = ["ada", "bob", "cy"];
    let seed: String = names.iter().map(|uid| person(uid, uid, PEOPLE)).collect();
    let slapd = start(&seed);
    let config = config(&slapd, &json!({}));
    for uid in names {
        left(&config, uid, uid);
    }
    let change = |uid: &str, change: &dyn Fn(&str) -> String| {
        let dn = format!("uid={uid},{GONE}");
        let new = change(&marker(&slapd.dump(), &dn).0.unwrap());
        write_marker(&slapd, &dn, "replace", &new);
    };
    change("ada", &|value| {
        value.replacen("\"set\":{", "\"set\":{\"employeeType\":{\"was\":[\"admin\"],\"to\":[]},", 1)
    });
    change("bob", &|value| value.replacen(PEOPLE, BASE, 1));
    let output = done(run(&config, &[joins("ada", "ada")])).counts(&[("renamed", 1)]);
    let ada = format!("uid=ada,{PEOPLE}");
    output.stderr.reports(&json!({"dn": ada, "attribute": "employeeType", "level": "warning"}));
    let tree = slapd.dump();
    assert!(!tree[&ada].contains_key("employeetype"));
    assert_eq!(tree[&ada]["l"], BTreeSet::from([b"Berne".to_vec()]));
    // From another place; and an account that somebody uses again.
    slapd.ldapmodify(format!("dn: uid=cy,{GONE}\nchangetype: modify\nreplace: title\ntitle: back\n-\n\n"));
    age(&slapd, MARKER, &slapd.dump(), 40);
    let before = slapd.dump();
    let output = done(run(&config, &[])).counts(&[("deleted", 0)]);
    for uid in ["bob", "cy"] {
        output.stderr.reports(&json!({"dn": format!("uid={uid},{GONE}"), "level": "warning"}));
    }
    no_panic(&run(&config, &[joins("bob", "bob")]).exits(1));
    assert_eq!(slapd.dump(), before);
}

#[test]
fn after_a_change_of_the_rule_people_still_come_back() {
    let slapd = start(&person("1", "ada", PEOPLE));
    let before = slapd.dump();
    left(&config(&slapd, &json!({})), "1", "ada");
    let other = json!({"set": {"employeeType": "left", "title": "left"}, "move_to": GONE, "then": on_delete()["then"]});
    let config = config(&slapd, &json!({"on_delete": other}));
    age(&slapd, MARKER, &slapd.dump(), 40);
    let output = done(run(&config, &[])).counts(&[("deleted", 0)]);
    output.stderr.reports(&json!({"dn": format!("uid=ada,{GONE}"), "level": "warning"}));
    let output = done(run(&config, &[joins("1", "ada")])).counts(&[("renamed", 1)]);
    let ada = format!("uid=ada,{PEOPLE}");
    output.stderr.reports(&json!({"dn": ada, "attribute": "l", "level": "warning"}));
    let (mut before, after) = (before, slapd.dump());
    // The rule no longer says that it has set it.
    before.get_mut(&ada).unwrap().remove("l");
    assert_eq!(after[&ada], before[&ada]);
}

#[test]
fn the_rule_of_another_stream_is_asked_about_its_own_marker() {
    let slapd = start(&person("1", "ada", PEOPLE));
    let one = config(&slapd, &json!({}));
    left(&one, "1", "ada");
    age(&slapd, MARKER, &slapd.dump(), 40);
    let rule = one["mapping_rules"]["people"].clone();
    let staff = |records: Vec<Value>| {
        let all = [vec![schema()], records, vec![state()]].concat();
        all.into_iter()
            .map(|mut message| {
                if message.get("stream").is_some() {
                    message["stream"] = json!("staff");
                }
                message
            })
            .collect::<Vec<_>>()
    };
    // A stream without a rule of its own: told, and an error of the record.
    let renamed = with(&target_config(&slapd), &json!({"mapping_rules": {"staff": rule}}));
    let before = slapd.dump();
    let output = done(Run::target(&renamed).messages(&staff(vec![])).run()).counts(&[("deleted", 0)]);
    output.stderr.reports(&json!({"dn": format!("uid=ada,{GONE}"), "level": "warning"}));
    no_panic(&Run::target(&renamed).messages(&staff(vec![joins("1", "ada")])).run().exits(1));
    assert_eq!(slapd.dump(), before);
    // Its own stream deletes it; another one brings it back.
    let staff_base = format!("ou=staff,{BASE}");
    let elsewhere = json!({"scope_base": staff_base, "dn_template": format!("uid={{uid}},{staff_base}")});
    let rules = json!({"staff": with(&rule, &elsewhere), "people": rule});
    let both = with(&target_config(&slapd), &json!({"mapping_rules": rules}));
    done(Run::target(&both).messages(&staff(vec![])).run()).counts(&[("deleted", 0)]);
    assert_eq!(slapd.dump(), before);
    done(Run::target(&both).messages(&staff(vec![joins("1", "ada")])).run()).counts(&[("renamed", 1)]);
    let (tree, dn) = (slapd.dump(), format!("uid=ada,{staff_base}"));
    assert_eq!(marker(&tree, &dn), (None, vec!["a note".to_owned()]));
    assert_eq!(tree[&dn]["l"], BTreeSet::from([b"Berne".to_vec()]));
}

#[test]
fn who_is_not_found_by_match_does_not_get_the_entry_of_who_has_left() {
    let slapd = start(&person("1", "ada", PEOPLE));
    let kept = json!({"set": {"title": "left"}, "then": on_delete()["then"]});
    let config = config(&slapd, &json!({"on_delete": kept}));
    done(run(&config, &[leaves("1", "ada")]));
    slapd.ldapmodify(format!("dn: uid=ada,{PEOPLE}\nchangetype: modify\ndelete: employeeNumber\n-\n\n"));
    let before = slapd.dump();
    no_panic(&run(&config, &[joins("2", "ada")]).exits(1));
    assert_eq!(slapd.dump(), before);
}

#[test]
fn a_file_and_a_dry_run_believe_no_more() {
    let folder = scratch();
    let file = folder.path().join("d.ldif");
    let text = format!("dn: {BASE}\nobjectClass: domain\ndc: example\n\n{}{}", unit(PEOPLE), seed());
    std::fs::write(&file, text).unwrap();
    let config =
        json!({"mapping_rules": {"people": rule()}, "server_url": format!("ldif:{}", file.display())});
    let dry = Run::target(&config).arg("--dry-run").messages(&input(&each(leaves))).run().succeeds();
    let plan = dry.stdout_text();
    assert_eq!(plan.matches("changetype: delete").count(), 0, "{plan}");
    assert_eq!(plan.matches("newsuperior: ou=gone").count(), planted().len(), "{plan}");
    let dry = Run::target(&config).arg("--dry-run").messages(&input(&each(joins))).run().succeeds();
    assert_eq!(dry.stdout_text().matches("changetype:").count(), 0);
    done(run(&config, &each(leaves))).counts(&[("moved", planted().len() as u64), ("deleted", 0)]);
    let read = || ldap_tests::ldif::parse(&std::fs::read(&file).unwrap());
    for (uid, _) in planted() {
        let value = marker(&read(), &format!("uid={uid},{GONE}")).0.unwrap();
        assert!(chrono::Utc::now() - time_of(&value) < chrono::TimeDelta::minutes(5), "{value}");
    }
    done(run(&config, &[])).counts(&[("deleted", 0)]);
}

#[test]
fn on_active_directory_an_enabled_account_is_in_use_whatever_its_marker_says() {
    let (people, gone) = (format!("OU=people,{SUFFIX}"), format!("OU=gone,{SUFFIX}"));
    let samba = Samba::start(&unit(&people));
    let rule = json!({
        "dn_template": format!("cn={{uid}},{people}"), "object_classes": ["user"],
        "attribute_mapping": {"id": "employeeNumber", "uid": "cn", "name": "sn"},
        "match": "(employeeNumber={id})", "scope_base": people,
        "on_delete": {"set": {"userAccountControl": 514, "title": "left"}, "move_to": gone,
            "then": {"delete_after_days": 30, "marker": "info"}},
    });
    let config = with(&target_config(&samba), &json!({"mapping_rules": {"people": rule}}));
    done(run(&config, &[joins("1", "ada")]));
    let there = format!("cn=ada,{people}");
    let set = json!({"userAccountControl": {"was": ["512"], "to": ["546"]}, "department": {"was": ["forged"], "to": []}});
    let forged = format!(
        "ldap-target:1 deleted=20010101000000Z {}",
        json!({"dn": there, "stream": "people", "set": set})
    );
    samba.ldapmodify(format!("dn: {there}\nchangetype: modify\nreplace: info\ninfo: {forged}\n-\n\n"));
    done(run(&config, &[joins("1", "ada")])).counts(&[("unchanged", 1)]);
    done(run(&config, &[leaves("1", "ada")])).counts(&[("moved", 1), ("deleted", 0)]);
    done(run(&config, &[])).counts(&[("deleted", 0)]);
    let number = |tree: &Tree| by_number(tree)["1"].to_lowercase();
    assert!(number(&samba.dump()).ends_with(&gone.to_lowercase()));
    done(run(&config, &[joins("1", "ada")])).counts(&[("renamed", 1)]);
    let tree = samba.dump();
    assert_eq!(number(&tree), there.to_lowercase());
    let entry = tree.iter().find(|(dn, _)| dn.eq_ignore_ascii_case(&there)).unwrap().1;
    assert!(!entry.contains_key("department") && !entry.contains_key("info") && !entry.contains_key("title"));
    done(run(&config, &[leaves("1", "ada")]));
    assert_eq!(age(&samba, "info", &samba.dump(), 30), 1);
    done(run(&config, &[])).counts(&[("deleted", 1)]);
}
