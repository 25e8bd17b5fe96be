//! What a row does, and when it is an error.

use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::{RFC, by_filter, gone, place, row, run, schema, set, slapd, state, values};
use crate::support::{apply, assert_untouched, done, of_file, unit, with};

#[test]
fn rows_before_the_groups_and_people_of_the_run_wait_for_them() {
    let slapd = slapd(2, 1);
    let place = place(&slapd, RFC);
    let rules = json!({"m": by_filter(),
        "people": {"dn_template": format!("uid={{id}},ou=people,{}", place.base), "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": ["uid", "cn", "sn", "employeeNumber"]}},
        "groups": {"dn_template": format!("cn={{id}},ou=groups,{}", place.base), "object_classes": ["groupOfNames"],
            "attribute_mapping": {"id": "cn"}, "values": {"member": format!("uid=keeper,ou=people,{}", place.base)},
            "policies": {"member": "create_only"}}});
    let of = |stream: &str| {
        json!({"type": "SCHEMA", "stream": stream, "key_properties": ["id"],
            "schema": {"properties": {"id": {"type": "string"}}}})
    };
    let record = |stream: &str, id: &str| json!({"type": "RECORD", "stream": stream, "record": {"id": id}});
    let rows = [
        row("new", "p0"),
        row("new", "late"),
        row("g0", "late"),
        of("groups"),
        record("groups", "new"),
        of("people"),
        record("people", "late"),
    ];
    let config = place.config(&rules);
    let output = done(run(&config, &rows)).stream_counts("m", &[("added", 3)]);
    output.stderr.does_not_report(&json!({"level": "warning"}));
    let person = |name: &str| place.person(name);
    assert_eq!(place.members("new"), set(&[person("keeper"), person("p0"), person("late")]));
    assert_eq!(place.members("g0"), set(&[person("keeper"), person("late")]));
    let marks = slapd.change_marks();
    done(run(&config, &rows)).stream_counts("m", &[("unchanged", 3)]);
    assert_untouched(&slapd, &marks);
}

#[test]
fn a_group_or_member_that_never_comes_is_an_error_of_its_row() {
    let slapd = slapd(3, 1);
    let place = place(&slapd, RFC);
    let dir = scratch();
    let file = dir.path().join("r.jsonl");
    let skipping = json!({"on_error": "skip", "reject_file": file});
    let by_template = json!({"membership": {"group": format!("cn={{group}},ou=groups,{}", place.base),
        "member": format!("uid={{user}},ou=people,{}", place.base)}});
    for rule in [by_filter(), by_template] {
        let rows =
            [row("g0", "ghost"), row("none", "p0"), row("g0", "p1"), gone("none", "p1"), gone("g0", "p2")];
        let config = with(&place.config(&json!({"m": rule})), &skipping);
        let output = run(&config, &rows).exits(4).counts(&[("rejected", 2)]);
        let records: Vec<Value> =
            output.stderr.about(&json!({"stream": "m", "level": "warning"})).into_iter().cloned().collect();
        assert!(
            records.iter().any(|r| r["line"] == 2) && records.iter().any(|r| r["line"] == 3),
            "{records:?}"
        );
        assert_eq!(place.members("g0"), set(&[place.person("keeper"), place.person("p1")]));
        let text = std::fs::read_to_string(&file).unwrap();
        let rejected: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut rejected: Vec<&Value> =
            rejected.iter().filter(|r| r["type"] == "REJECT").map(|r| &r["record"]).collect();
        rejected.sort_by_key(ToString::to_string);
        assert_eq!(rejected, [&rows[0]["record"], &rows[1]["record"]]);
        std::fs::remove_file(&file).unwrap();
        // Without `skip` the run ends at it.
        run(&place.config(&json!({"m": by_filter()})), &[row("g0", "ghost")])
            .exits(1)
            .reports(&json!({"line": 2, "stream": "m"}));
    }
    // Two people are not one.
    slapd.ldapadd(format!("dn: uid=twin,ou=people,{}\nobjectClass: inetOrgPerson\nuid: twin\ncn: x\nsn: x\nemployeeNumber: p0\n", place.base));
    run(&place.config(&json!({"m": by_filter()})), &[row("g0", "p0")]).exits(1).reports(&json!({"line": 2}));
}

/// The source's own DN is written as it is, as in a mirror.
#[test]
fn a_dn_of_the_source_that_names_nobody_is_written_with_a_warning() {
    let slapd = slapd(1, 1);
    let place = place(&slapd, RFC);
    let config = place.config(&json!({"m": {"membership": {"group": "{group}", "member": "{user}"}}}));
    let ghost = place.person("ghost");
    let rows = [row(&place.group("g0"), &ghost)];
    done(run(&config, &rows))
        .counts(&[("added", 1)])
        .reports(&json!({"stream": "m", "dn": place.group("g0")}));
    assert_eq!(place.members("g0"), set(&[place.person("keeper"), ghost.clone()]));
    done(run(&config, &rows)).counts(&[("unchanged", 1)]);
    done(run(&config, &[gone(&place.group("g0"), &ghost)])).counts(&[("deleted", 1)]);
    assert_eq!(place.members("g0"), set(&[place.person("keeper")]));
}

/// A group that a record names by its DN is one of the rule's groups, or the row is an error: no version would take the member away again.
#[test]
fn a_row_leaves_the_scope_of_its_rule_in_no_way() {
    let slapd = slapd(2, 2);
    let place = place(&slapd, RFC);
    slapd.ldapadd(
        unit(&format!("ou=service,{}", place.base))
            + &format!(
                "dn: cn=root,ou=service,{0}\nobjectClass: groupOfNames\ncn: root\nmember: {0}\n\n\
                 dn: cn=other,ou=groups,{0}\nobjectClass: organizationalRole\ncn: other\n\n",
                place.base
            ),
    );
    let rule = |group: &str| {
        json!({"m": {"membership": {"group": group, "member": "{user}", "attribute": "{attribute}"},
            "scope_base": format!("ou=groups,{}", place.base), "object_classes": ["groupOfNames"],
            "scope_filter": "(&(objectClass=groupOfNames)(!(cn=g1))(!(cn=admins)))"}})
    };
    let any = json!({"type": "string"});
    let schema = json!({"type": "SCHEMA", "stream": "m", "key_properties": ["group", "user"],
        "schema": {"properties": {"group": any, "user": any, "attribute": any, "cn": any, "ou": any}}});
    let record = |group: &str, attribute: &str, user: &str| {
        let (name, parent) = group.split_once(',').unwrap();
        let parts = json!({"cn": name.trim_start_matches("cn="), "ou": parent.split_once(',').unwrap().0.trim_start_matches("ou=")});
        let row = json!({"group": group, "attribute": attribute, "user": user});
        json!({"type": "RECORD", "stream": "m", "record": with(&row, &parts)})
    };
    let person = place.person("p0");
    let base = &place.base;
    let marks = slapd.change_marks();
    for rule in [rule("{group}"), rule(&format!("cn={{cn}},ou={{ou}},{base}"))] {
        let config = place.config(&rule);
        for (group, attribute, user) in [
            (format!("cn=g1,ou=groups,{base}"), "member", &*person),
            (format!("cn=other,ou=groups,{base}"), "roleOccupant", &person),
            (format!("cn=root,ou=service,{base}"), "member", &person),
            (format!("cn=made,ou=service,{base}"), "member", &person),
            (format!("cn=admins,ou=groups,{base}"), "member", &person),
            (format!("cn=g0,ou=groups,{base}"), "cn", "evil"),
            (format!("cn=g0,ou=groups,{base}"), "description", "evil"),
        ] {
            let output =
                Run::target(&config).messages(&[schema.clone(), record(&group, attribute, user)]).run();
            output.exits(1).reports(&json!({"line": 2, "stream": "m"}));
            assert_untouched(&slapd, &marks);
        }
    }
    let config = place.config(&rule("{group}"));
    let rows = ["g0", "made"].map(|name| record(&format!("cn={name},ou=groups,{base}"), "member", &person));
    let messages = [vec![schema], rows.to_vec()].concat();
    Run::target(&config).messages(&messages).run().succeeds().counts(&[("added", 2)]);
    assert_eq!(place.members("made"), set(&[person]));
}

#[test]
fn plain_values_and_values_under_options() {
    let slapd = slapd(2, 1);
    let place = place(&slapd, RFC);
    slapd.ldapadd(format!(
        "dn: {}\nobjectClass: posixGroup\ncn: posix\ngidNumber: 7\nmemberUid: old\n\n",
        place.group("posix")
    ));
    let g0 = place.group("g0");
    slapd.ldapmodify(format!(
        "dn: {g0}\nchangetype: modify\nadd: member;lang-en\nmember;lang-en: {}\n\n",
        place.person("p1")
    ));
    let rule = json!({"membership": {"group": "(cn={group})", "member": "{user}", "attribute": "memberUid"}});
    let config = place.config(&json!({"m": rule}));
    let rows = [row("posix", "a"), row("posix", "Nobody"), gone("posix", "old"), row("posix", "a")];
    done(run(&config, &rows)).counts(&[("added", 2), ("deleted", 1), ("unchanged", 1)]);
    assert_eq!(values(&slapd, &place.group("posix"), "memberUid"), set(&["a".into(), "Nobody".into()]));
    // What is there under an option is another attribute description.
    let config = place.config(&json!({"m": by_filter()}));
    done(run(&config, &[gone("g0", "p1"), row("g0", "p0")])).counts(&[("added", 1), ("unchanged", 1)]);
    let tree = slapd.dump_below(&g0, &["member"]);
    let entry = tree.values().next().unwrap();
    assert_eq!(entry["member;lang-en"].len(), 1, "{entry:?}");
    assert_eq!(entry["member"].len(), 2, "{entry:?}");
}

#[test]
fn a_group_that_would_be_empty() {
    let slapd = slapd(2, 3);
    let place = place(&slapd, RFC);
    let keeper = place.person("keeper");
    let config =
        |empty: Value| place.config(&json!({"m": with(&by_filter(), &json!({"empty_group": empty}))}));
    let marks = slapd.change_marks();
    run(&config(Value::Null), &[gone("g0", "keeper")]).exits(1).reports(&json!({"line": 2}));
    assert_untouched(&slapd, &marks);
    done(run(&config(json!("keep_last")), &[gone("g0", "keeper")]))
        .counts(&[("deleted", 0), ("unchanged", 1)]);
    assert_untouched(&slapd, &marks);
    let nobody = "cn=nobody,dc=example,dc=test";
    done(run(&config(json!(nobody)), &[gone("g0", "keeper")])).counts(&[("deleted", 1)]);
    assert_eq!(place.members("g0"), set(&[nobody.into()]));
    done(run(&config(json!(nobody)), &[gone("g0", "keeper")])).counts(&[("unchanged", 1)]);
    assert_eq!(place.members("g0"), set(&[nobody.into()]));
    // The placeholder goes with the next member.
    done(run(&config(json!(nobody)), &[row("g0", "p0")])).counts(&[("added", 1)]);
    assert_eq!(place.members("g0"), set(&[place.person("p0")]));
    done(run(&config(json!("delete")), &[gone("g1", "keeper")])).counts(&[("deleted", 1)]);
    assert!(!slapd.dump().contains_key(&ldap_tests::ldif::normalize_dn(&place.group("g1"))));
    // One goes as another comes.
    done(run(&config(Value::Null), &[gone("g2", "keeper"), row("g2", "p1")]))
        .counts(&[("added", 1), ("deleted", 1)]);
    assert_eq!(place.members("g2"), set(&[place.person("p1")]));
    assert_ne!(place.members("g2"), set(&[keeper]));
}

#[test]
fn a_rule_with_classes_adds_the_group_with_its_first_members() {
    let slapd = slapd(3, 0);
    let place = place(&slapd, RFC);
    let rule = json!({"membership": {"group": format!("cn={{group}},ou=groups,{}", place.base), "member": "(employeeNumber={user})"},
        "object_classes": ["groupOfNames"]});
    let config = place.config(&json!({"m": rule}));
    let rows = [row("new", "p0"), row("new", "p1"), gone("new", "p2"), gone("other", "p0")];
    done(run(&config, &rows)).counts(&[("added", 2), ("unchanged", 2)]);
    assert_eq!(place.members("new"), set(&[place.person("p0"), place.person("p1")]));
    let marks = slapd.change_marks();
    done(run(&config, &rows)).counts(&[("unchanged", 4)]);
    assert_untouched(&slapd, &marks);
}

#[test]
fn a_value_that_is_refused_is_the_error_of_its_row_alone() {
    let slapd = slapd(9, 1);
    let place = place(&slapd, RFC);
    let dir = scratch();
    let rule = json!({"membership": {"group": "(cn={group})", "member": "{user}"}});
    let config = with(
        &place.config(&json!({"m": rule})),
        &json!({"on_error": "skip", "reject_file": dir.path().join("r.jsonl")}),
    );
    let mut rows: Vec<Value> = (0..9).map(|n| row("g0", &place.person(&format!("p{n}")))).collect();
    rows.insert(4, row("g0", "noSuchAttributeAtAll=1,dc=example,dc=test"));
    let output = run(&config, &rows).exits(4).counts(&[("added", 9), ("rejected", 1)]);
    output.reports(&json!({"line": 6, "stream": "m"}));
    assert_eq!(place.members("g0").len(), 10);
}

#[test]
fn operations_protection_and_rights() {
    const READER: &str = "uid=reader,ou=people,dc=example,dc=test";
    let hidden = format!(
        "access to attrs=member by dn.exact=\"{READER}\" =w by * break\naccess to * by dn.exact=\"{READER}\" manage by * break"
    );
    let slapd = Slapd::start(SlapdOptions { access: hidden, ..SlapdOptions::with_users() });
    let place = place(&slapd, RFC);
    slapd.ldapadd(place.seed(3, 2));
    let rows = [row("g0", "p0"), gone("g0", "keeper")];
    let config = |more: Value| place.config(&json!({"m": with(&by_filter(), &more)}));
    let marks = slapd.change_marks();
    done(run(&config(json!({"operations": {"update": false}})), &rows)).counts(&[("ignored", 2)]);
    // Whoever cannot see the members does not know what to add.
    let blind = json!({"bind_dn": READER, "bind_password": "reader-pw"});
    let output = run(&with(&config(json!({})), &blind), &rows).exits(1);
    output.reports(&json!({"setting": "bind_dn", "attribute": "member", "dn": place.group("g0")}));
    let protect = json!({"protect": {"dns": [place.group("g0")]}});
    run(&with(&config(json!({})), &protect), &rows).exits(1).reports(&json!({"setting": "protect.dns"}));
    run(&with(&config(json!({})), &json!({"write_base": format!("ou=people,{}", place.base)})), &rows)
        .exits(1)
        .reports(&json!({"setting": "write_base"}));
    assert_untouched(&slapd, &marks);
    done(run(&config(json!({"operations": {"delete": false}})), &rows))
        .counts(&[("added", 1), ("ignored", 1)]);
    done(run(&config(json!({"on_delete": "ignore"})), &rows)).counts(&[("unchanged", 1), ("ignored", 1)]);
    assert_eq!(place.members("g0"), set(&[place.person("keeper"), place.person("p0")]));
}

#[test]
fn plan_limits_held_plan_and_undo() {
    let slapd = slapd(4, 2);
    let place = place(&slapd, RFC);
    let rows = [row("g0", "p0"), row("g0", "p1"), gone("g0", "keeper"), row("g1", "p2")];
    let messages: Vec<Value> = [schema()].into_iter().chain(rows.iter().cloned()).chain([state()]).collect();
    let config = place.config(&json!({"m": by_filter()}));
    let marks = slapd.change_marks();
    // One modification for each group.
    let plan = Run::target(&config).messages(&messages).plan("json").run().succeeds();
    let changes: Vec<Value> = plan.lines().into_iter().filter(|line| line["operation"] == "modify").collect();
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert_eq!(
        changes[0]["changes"],
        json!([
        {"operation": "add", "attribute": "member", "values": [place.person("p0"), place.person("p1")]},
        {"operation": "delete", "attribute": "member", "values": [place.person("keeper")]}])
    );
    let page = Run::target(&config).messages(&messages).plan("html").run().succeeds();
    assert!(page.stdout_text().contains("uid=p1"));
    // A member that is taken away is a deletion.
    for (limits, setting) in [
        (json!({"max_deletes": 0}), "max_deletes"),
        (json!({"limits": {"m": {"delete": 0}}}), "limits.m.delete"),
        (json!({"limits": {"m": {"delete": "40%"}}}), "limits.m.delete"),
        (json!({"limits": {"m": {"modify": 1}}}), "limits.m.modify"),
    ] {
        run(&with(&config, &limits), &rows).exits(1).reports(&json!({"setting": setting}));
        assert_untouched(&slapd, &marks);
    }
    let dir = scratch();
    let (held, undo) = (dir.path().join("plan.ldif"), dir.path().join("undo.ldif"));
    let config = with(&config, &json!({"max_deletes": 0, "plan_file": held, "undo_file": undo}));
    run(&config, &rows).exits(5);
    assert_untouched(&slapd, &marks);
    let before = slapd.dump();
    apply(&config, &held, &[]).succeeds();
    assert_eq!(place.members("g0"), set(&[place.person("p0"), place.person("p1")]));
    assert_eq!(place.members("g1"), set(&[place.person("keeper"), place.person("p2")]));
    of_file("undo", &config, &undo, &[]).succeeds();
    ldap_tests::ldif::assert_same("before", &before, "undone", &slapd.dump());
    let allowed = with(&config, &json!({"max_deletes": 1, "plan_file": null}));
    done(run(&allowed, &rows)).counts(&[("added", 3), ("deleted", 1)]);
    of_file("undo", &config, &undo, &[]).succeeds();
    ldap_tests::ldif::assert_same("before", &before, "undone again", &slapd.dump());
}

/// The member is deleted by another stream of the run: on a server without referential integrity its value would stay.
#[test]
fn a_leaver_is_taken_out_of_groups_though_its_entry_goes_in_the_same_run() {
    let slapd = slapd(2, 1);
    let place = place(&slapd, RFC);
    done(run(&place.config(&json!({"m": by_filter()})), &[row("g0", "p0"), row("g0", "p1")]));
    let rules = json!({"m": by_filter(), "people": {"dn_template": format!("uid={{id}},ou=people,{}", place.base),
        "match": "(employeeNumber={id})", "object_classes": ["inetOrgPerson"], "attribute_mapping": {"id": "uid"}}});
    let text = json!({"type": ["null", "string"]});
    let rows = [
        json!({"type": "SCHEMA", "stream": "people", "key_properties": ["id"],
            "schema": {"properties": {"id": text, "_sdc_deleted_at": text}}}),
        json!({"type": "RECORD", "stream": "people", "record": {"id": "p0", "_sdc_deleted_at": "2026-11-30T00:00:00Z"}}),
        gone("g0", "p0"),
    ];
    done(run(&place.config(&rules), &rows))
        .stream_counts("m", &[("deleted", 1)])
        .stream_counts("people", &[("deleted", 1)]);
    assert_eq!(place.members("g0"), set(&[place.person("keeper"), place.person("p1")]));
    // Nobody is found any more, which is said.
    done(run(&place.config(&rules), &[gone("g0", "p0")]))
        .counts(&[("unchanged", 1)])
        .reports(&json!({"line": 2, "stream": "m"}));
}

/// A search that the server refuses ends the run, with the row that it was for.
#[test]
fn a_search_that_fails_names_its_row() {
    const READER: &str = "uid=reader,ou=people,dc=example,dc=test";
    let slapd = Slapd::start(SlapdOptions {
        access: format!("access to * by dn.exact=\"{READER}\" manage by * break"),
        database_conf: format!("limits dn.exact=\"{READER}\" size.soft=1 size.hard=1\n"),
        ..SlapdOptions::with_users()
    });
    let place = place(&slapd, RFC);
    slapd.ldapadd(place.seed(3, 2));
    let both =
        json!({"membership": {"group": "(|(cn={group})(cn=g1))", "member": "(employeeNumber={user})"}});
    let config =
        with(&place.config(&json!({"m": both})), &json!({"bind_dn": READER, "bind_password": "reader-pw"}));
    run(&config, &[row("g0", "p0")])
        .exits(1)
        .reports(&json!({"line": 2, "stream": "m", "record": "group=g0, user=p0"}));
}

#[test]
fn settings_that_do_not_fit() {
    let slapd = slapd(1, 1);
    let place = place(&slapd, RFC);
    let of = |membership: Value, more: Value| {
        place.config(&json!({"m": with(&json!({"membership": membership}), &more)}))
    };
    let both = json!({"group": "(cn={group})", "member": "(uid={user})"});
    for (config, setting) in [
        (of(both.clone(), json!({"dn_template": "cn={group},dc=x"})), "mapping_rules.m.dn_template"),
        (
            of(json!({"group": "(cn={group})", "member": "(uid={usr})"}), json!({})),
            "mapping_rules.m.membership.member",
        ),
        (
            of(json!({"group": "(cm={group})", "member": "(uid={user})"}), json!({})),
            "mapping_rules.m.membership.group",
        ),
        (
            of(
                json!({"group": "(cn={group})", "member": "(uid={user})", "attribute": "memberUid"}),
                json!({}),
            ),
            "mapping_rules.m.membership.member",
        ),
        (
            of(json!({"group": "(cn={group})", "member": "x-{user}"}), json!({})),
            "mapping_rules.m.membership.member",
        ),
        (
            of(json!({"group": "(cn={group})", "member": "{user}", "attribute": "userPassword"}), json!({})),
            "mapping_rules.m.membership.attribute",
        ),
    ] {
        run(&config, &[row("g0", "p0")]).exits(2).reports(&json!({"setting": setting}));
    }
}
