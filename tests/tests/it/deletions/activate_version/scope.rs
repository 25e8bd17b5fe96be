//! `scope_base` and filters: which entries belong to the stream.

use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::{BASE, USERS, activate, config, left, record, run, schema, slapd, state, whole, with_other};
use crate::support::{assert_untouched, done, unit, with};

#[test]
fn without_the_setting_or_without_a_scope_nothing_goes() {
    let slapd = slapd();
    let before = slapd.change_marks();
    done(run(&config(&slapd, &json!({"scope_base": null})), &whole(&["a"]))).says("scope_base");
    done(run(&config(&slapd, &json!({"on_delete": "ignore"})), &whole(&["a"])));
    let off = with(&config(&slapd, &json!({})), &json!({"process_activate_version": null}));
    done(run(&off, &whole(&["a"]))).reports_setting("mapping_rules.users").says("process_activate_version");
    let nowhere = config(&slapd, &json!({"scope_base": format!("ou=nowhere,{BASE}")}));
    done(run(&nowhere, &whole(&["a"])));
    let kept = config(&slapd, &json!({"operations": {"delete": false}}));
    done(run(&kept, &whole(&["a"]))).counts(&[("ignored", 5)]);
    assert_untouched(&slapd, &before);
}

#[test]
fn a_filter_of_ones_own_says_what_is_the_streams() {
    let slapd = slapd();
    let config =
        config(&slapd, &json!({"scope_base": BASE, "scope_filter": "(|(uid=b)(cn=printer)(uid=g))"}));
    done(run(&config, &whole(&["b"])));
    assert_eq!(left(&slapd), "dc=example ou=else ou=in ou=users uid=a uid=b uid=c uid=d uid=e uid=f");
}

#[test]
fn children_go_before_their_parents_and_what_lies_above_somebody_stays() {
    let slapd = slapd();
    let deep = format!("uid=x,uid=f,ou=in,{USERS}");
    slapd.ldapadd(format!("dn: {deep}\nobjectClass: inetOrgPerson\nuid: x\ncn: x\nsn: x\n"));
    let everything = config(&slapd, &json!({"scope_filter": "(objectClass=*)"}));
    let mut unit_of = everything.clone();
    unit_of["mapping_rules"]["users"]["dn_template"] = json!(format!("uid={{uid}},ou=in,{USERS}"));
    done(run(&unit_of, &whole(&["f"])));
    assert_eq!(left(&slapd), "dc=example ou=else ou=in ou=users uid=f uid=g");
    done(run(&everything, &whole(&["a"])));
    assert_eq!(left(&slapd), "dc=example ou=else ou=users uid=a uid=g");
}

#[test]
fn what_is_in_the_scope_of_a_rule_further_down_is_that_streams() {
    let slapd = slapd();
    let mut config =
        config(&slapd, &json!({"scope_base": BASE, "scope_filter": "(objectClass=*)", "on_delete": "tree"}));
    config["mapping_rules"]["inner"] = json!({"scope_base": format!("ou=in,{USERS}")});
    done(run(&config, &whole(&["a"])));
    assert_eq!(left(&slapd), "dc=example ou=in ou=users uid=a uid=f");
    // All that is there lies above that scope, or in it.
    let mut elsewhere = config.clone();
    elsewhere["mapping_rules"]["users"]["dn_template"] = json!(format!("uid={{uid}},ou=new,{BASE}"));
    done(run(&elsewhere, &whole(&["z"])));
    assert_eq!(left(&slapd), "dc=example ou=in ou=new ou=users uid=f uid=z");
}

#[test]
fn entries_of_other_streams_in_the_same_place_stay() {
    let slapd = slapd();
    let config = with_other(&config(&slapd, &json!({})));
    let as_other = |mut message: Value| {
        message["stream"] = json!("other");
        message
    };
    let messages = [
        as_other(schema()),
        as_other(record("b")),
        schema(),
        record("a"),
        activate(),
        as_other(activate()),
        state(),
    ];
    done(run(&config, &messages));
    assert_eq!(left(&slapd), "cn=printer dc=example ou=else ou=in ou=users uid=a uid=b uid=g");
}

#[test]
fn faults_in_a_scope_are_2_and_named() {
    let slapd = slapd();
    for (rule, setting) in [
        (json!({"scope_base": ""}), "mapping_rules.users.scope_base"),
        (json!({"scope_base": "users"}), "mapping_rules.users.scope_base"),
        (json!({"scope_filter": "(uid=*"}), "mapping_rules.users.scope_filter"),
        (json!({"scope_base": null, "scope_filter": "(uid=*)"}), "mapping_rules.users.scope_filter"),
    ] {
        let output = run(&config(&slapd, &rule), &[schema()]).exits(2);
        output.reports_setting(setting);
    }
    let scope = config(&slapd, &json!({}))["mapping_rules"]["users"].clone();
    for (rules, setting) in [
        (json!({"*": scope}), "mapping_rules.*.scope_base"),
        (json!({"a": scope, "users": scope}), "mapping_rules.users.scope_base"),
    ] {
        let rules = with(&config(&slapd, &json!({})), &json!({"mapping_rules": rules}));
        run(&rules, &[schema()]).exits(2).reports_setting(setting);
    }
    run(&with(&config(&slapd, &json!({})), &json!({"process_activate_version": "perhaps"})), &[schema()])
        .exits(2)
        .reports_setting("process_activate_version");
}

#[test]
fn what_has_no_value_of_the_attribute_that_match_compares_is_not_the_streams() {
    let slapd = slapd();
    slapd.ldapadd(format!(
        "dn: uid=left,{USERS}\nobjectClass: inetOrgPerson\nuid: left\ncn: x\nsn: x\nemployeeNumber: 9\n"
    ));
    let config = config(
        &slapd,
        &json!({"match": "(employeeNumber={id})", "attribute_mapping": {"id": "employeeNumber", "name": ["cn", "sn"]},
            "dn_template": format!("uid={{id}},{USERS}")}),
    );
    done(run(&config, &whole(&["z"]))).counts(&[("added", 1), ("deleted", 1)]);
    // The people and the printer, which nobody numbered, stay.
    assert_eq!(
        left(&slapd),
        "cn=printer dc=example ou=else ou=in ou=users uid=a uid=b uid=c uid=d uid=e uid=f uid=g uid=z"
    );
}

#[test]
fn a_scope_into_which_no_record_falls_is_not_emptied() {
    let slapd = slapd();
    let elsewhere = config(&slapd, &json!({"dn_template": format!("uid={{id}},ou=else,{BASE}")}));
    let output = done(run(&elsewhere, &whole(&["z"]))).counts(&[("added", 1), ("deleted", 0)]);
    output.reports(&json!({"stream": "users", "level": "warning"}));
    assert!(left(&slapd).contains("uid=a uid=b uid=c"));
}

#[test]
fn a_share_is_one_of_the_entries_in_the_scopes() {
    let slapd = slapd();
    // Half of the ten entries below ou=users, or more than half of those of the whole directory.
    let limited = with(&config(&slapd, &json!({})), &json!({"max_deletes": "45%"}));
    run(&limited, &whole(&["a"])).exits(1).reports_setting("max_deletes");
    let wide = with(&limited, &json!({"default_base_dn": BASE}));
    let output = run(&wide, &whole(&["a"])).exits(0).counts(&[("deleted", 5)]);
    output.logs(&json!({"setting": "max_deletes", "used": 5}));
}

/// Of an entry whose attribute the bound user may not search it is not known whether it is in the scope: it stays, and the run says so.
#[test]
fn a_leaver_whose_attribute_is_hidden_stays_with_a_warning() {
    let hidden = format!("uid=c,{USERS}");
    let reader = "uid=reader,ou=people,dc=example,dc=test";
    let mut seed = unit(USERS);
    for id in ["a", "b", "c"] {
        let person = format!(
            "dn: uid={id},{USERS}\nobjectClass: inetOrgPerson\nuid: {id}\ncn: {id}\nsn: {id}\nemployeeType: feed\n\n"
        );
        seed.push_str(&person);
    }
    let access = format!(
        "access to dn.exact=\"{hidden}\" attrs=employeeType by dn.exact=\"{reader}\" =w by * break\n\
         access to * by dn.exact=\"{reader}\" manage by * break"
    );
    let slapd = Slapd::start(SlapdOptions { access, ..SlapdOptions::with_users().seed(seed) });
    let bind = json!({"bind_dn": reader, "bind_password": "reader-pw"});
    for (filter, is_hidden) in [
        ("(employeeType=feed)", true),
        ("(!(employeeType=local))", true),
        ("(&(uid=a)(employeeType=feed))", false),
    ] {
        let config = with(&config(&slapd, &json!({"scope_filter": filter})), &bind);
        let fields =
            json!({"setting": "bind_dn", "stream": "users", "attribute": "employeeType", "dn": hidden});
        let dry = Run::target(&config).arg("--dry-run").messages(&whole(&["a"])).run().succeeds();
        assert_eq!(!dry.stderr.about(&fields).is_empty(), is_hidden, "{filter}");
        let output = done(run(&config, &whole(&["a"])));
        assert_eq!(!output.stderr.about(&fields).is_empty(), is_hidden, "{filter}");
    }
    assert_eq!(left(&slapd).matches("uid=").count(), 2 + 4, "a and c, and those of with_users");
}
