//! A root DSE that the bound user may not read: what kind a server is, is known by its schema, else no password is set.

use ldap_tests::bind::bind_code;
use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{assert_untouched, unit};

const USERS: &str = "ou=users,dc=example,dc=test";
const READER: &str = "uid=reader,ou=people,dc=example,dc=test";
const LOCKED: &str = "000001010000Z";

/// With ppolicy, an account that is disabled and one that is not. `hidden`: what uid=reader may not read, who writes everything.
fn slapd(hidden: &[&str]) -> Slapd {
    let person = |id: &str, more: &str| {
        format!(
            "dn: uid={id},{USERS}\nobjectClass: inetOrgPerson\nuid: {id}\ncn: {id}\nsn: {id}\nuserPassword: old\n{more}\n"
        )
    };
    let policy = "dn: cn=policy,dc=example,dc=test\nobjectClass: device\nobjectClass: pwdPolicy\ncn: policy\n\
         pwdAttribute: userPassword\npwdLockout: TRUE\n\n";
    let hidden = hidden
        .iter()
        .map(|dn| format!("access to dn.base=\"{dn}\" by dn.exact=\"{READER}\" none by * read\n"));
    Slapd::start(SlapdOptions {
        access: format!("access to * by dn.exact=\"{READER}\" manage by * break"),
        database_conf: "overlay ppolicy\nppolicy_default cn=policy,dc=example,dc=test".into(),
        // Without a last rule, all else is hidden, too.
        global_conf: hidden.chain(["access to * by * read\n".to_owned()]).collect(),
        ..SlapdOptions::with_users()
            .seed(
                unit(USERS)
                    + &person("off", &format!("pwdAccountLockedTime: {LOCKED}\n"))
                    + &person("on", ""),
            )
            .seed(policy)
    })
}

fn run(slapd: &Slapd, more: &Value, record: &Value) -> Output {
    let any = json!({});
    let mut rule = json!({
        "dn_template": format!("uid={{id}},{USERS}"), "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": "uid", "name": ["cn", "sn"]},
    });
    rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let config = json!({"server_url": slapd.ldap_uri(), "bind_dn": READER, "bind_password": "reader-pw",
        "mapping_rules": {"users": rule}});
    let schema = json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"type": "object",
        "properties": {"id": {"type": "string"}, "name": any, "on": any, "pw": any,
            "hash": {"type": "string", "contentEncoding": "base64"}}}});
    let record = json!({"type": "RECORD", "stream": "users", "record": record});
    Run::target(&config).messages(&[schema, record]).run()
}

/// `mode`: that of the rule's password.
fn password(mode: &str) -> Value {
    json!({"password": {"from": "pw", "mode": mode, "policy": "force"}})
}

#[test]
fn slapd_a_password_enables_no_disabled_account() {
    for (hidden, mode) in [(vec![""], "exop"), (vec![""], "hash:ssha512"), (vec!["cn=Subschema"], "exop")] {
        let slapd = slapd(&hidden);
        let dn = format!("uid=off,{USERS}");
        run(&slapd, &password(mode), &json!({"id": "off", "name": "off", "pw": "new-password"})).succeeds();
        assert_eq!(bind_code(&slapd, &dn, "new-password"), 49, "{hidden:?} {mode}");
        let dump = slapd.dump_below(&dn, &["pwdAccountLockedTime"]);
        assert!(
            dump.values().next().unwrap()["pwdaccountlockedtime"].contains(LOCKED.as_bytes()),
            "{hidden:?} {mode}"
        );
        // An account that is not disabled gets its password.
        run(&slapd, &password(mode), &json!({"id": "on", "name": "on", "pw": "new-password"})).succeeds();
        assert_eq!(bind_code(&slapd, &format!("uid=on,{USERS}"), "new-password"), 0, "{hidden:?} {mode}");
        let enabled = json!({"accounts": {"enabled": "on"}});
        run(&slapd, &enabled, &json!({"id": "on", "name": "on", "on": false})).succeeds();
        assert_eq!(bind_code(&slapd, &format!("uid=on,{USERS}"), "new-password"), 49, "{hidden:?}");
    }
}

#[test]
fn slapd_where_the_kind_is_not_known_no_password_is_set() {
    let slapd = slapd(&["", "cn=Subschema"]);
    let before = slapd.change_marks();
    let record = json!({"id": "off", "name": "off", "pw": "new-password", "hash": "bmV3"});
    let setting = |part: &str| json!({"setting": format!("mapping_rules.users.{part}")});
    run(&slapd, &password("exop"), &record).exits(2).reports(&setting("password"));
    let mapped = json!({"attribute_mapping": {"id": "uid", "name": ["cn", "sn"], "hash": "userPassword"}});
    run(&slapd, &mapped, &record).exits(2).reports(&setting("attribute_mapping"));
    assert_untouched(&slapd, &before);
    // What does not depend on it is written.
    run(&slapd, &json!({}), &json!({"id": "off", "name": "Other"})).succeeds().counts(&[("modified", 1)]);
}
