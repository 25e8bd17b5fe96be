//! The rule key `accounts`: a disabled account cannot log in, and nothing else of it changes.

use ldap_tests::bind::{bind_code, binds};
use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::{Output, Run};
use ldap_tests::samba::{SUFFIX, Samba};
use ldap_tests::server::{Server, scratch};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{assert_untouched, no_panic, target_config, unit, with};

const USERS: &str = "ou=users,dc=example,dc=test";

fn schema() -> Value {
    let any = json!({});
    json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"type": "object", "properties": {
        "id": {"type": "string"}, "name": {"type": "string"}, "active": any, "new": any, "pw": any}}})
}

fn record(id: &str, more: &Value) -> Value {
    let mut record = json!({"id": id, "name": "Name"});
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"type": "RECORD", "stream": "users", "record": record})
}

#[track_caller]
fn run(config: &Value, record: Value) -> Output {
    let output = Run::target(config).messages(&[schema(), record]).run().succeeds();
    no_panic(&output);
    output
}

fn secured(server: &Server, rule: &Value) -> Value {
    let tls = json!({"server_url": server.ldaps_uri(), "tls_ca_file": server.certificates().ca,
                     "mapping_rules": {"users": rule}});
    with(&target_config(server), &tls)
}

fn value(server: &Server, dn: &str, attribute: &str) -> Option<String> {
    let tree = server.dump_below(dn, &[attribute]);
    let values = tree.values().next()?.get(&attribute.to_ascii_lowercase())?;
    assert_eq!(values.len(), 1);
    values.iter().next().map(|v| String::from_utf8(v.clone()).unwrap())
}

fn samba_config(samba: &Samba, accounts: &Value, policy: &str) -> Value {
    let rule = json!({
        "dn_template": format!("CN={{id}},CN=Users,{SUFFIX}"),
        "object_classes": ["user"],
        "attribute_mapping": {"id": "sAMAccountName"},
        "password": {"from": "pw", "mode": "unicode_pwd", "policy": policy},
        "accounts": accounts,
    });
    secured(samba, &rule)
}

/// The tap cannot bind as this user, and says why.
#[track_caller]
fn refused(samba: &Samba, dn: &str, password: &str, says: &[&str]) {
    let user = json!({"bind_dn": dn, "bind_password": password, "mapping_rules": null});
    let mut output = Run::tap(&with(&secured(samba, &json!({})), &user)).arg("--discover").run().exits(3);
    output = output.reports_code(49);
    for words in says {
        output = output.says(words);
    }
    assert!(!output.stderr.contains(password), "{}", output.stderr);
}

#[test]
fn active_directory_accounts_are_switched_by_one_bit() {
    let samba = Samba::start("");
    let config = samba_config(&samba, &json!({"enabled": "active"}), "create_only");
    let dn = |id: &str| format!("CN={id},CN=Users,{SUFFIX}");
    let control = |id: &str| value(&samba, &dn(id), "userAccountControl").unwrap();
    let pw = "Passw0rd-1";
    run(&config, record("on", &json!({"pw": pw, "active": true}))).counts(&[("added", 1)]);
    run(&config, record("off", &json!({"pw": pw, "active": "FALSE"}))).counts(&[("added", 1)]);
    assert_eq!((control("on").as_str(), control("off").as_str()), ("512", "514"));
    assert!(binds(&samba, &dn("on"), pw) && !binds(&samba, &dn("off"), pw));
    // Who binds is told why not.
    refused(&samba, &dn("off"), pw, &["data 533", "the account is disabled"]);
    refused(&samba, &dn("on"), "Not-The-One", &["data 52e", "the password is wrong"]);

    // DONT_EXPIRE_PASSWORD (0x10000) and SMARTCARD-like bits of others stay.
    samba.ldapmodify(format!(
        "dn: {}\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: {}\n",
        dn("on"),
        0x200 | 0x1_0000
    ));
    run(&config, record("on", &json!({"pw": pw, "active": false}))).counts(&[("modified", 1)]);
    assert_eq!(control("on"), (0x202 | 0x1_0000).to_string());
    assert!(!binds(&samba, &dn("on"), pw));
    let before = samba.change_marks();
    for same in [json!({"pw": pw, "active": 0}), json!({"pw": pw, "active": null}), json!({"pw": pw})] {
        run(&config, record("on", &same)).counts(&[("unchanged", 1)]);
    }
    assert_untouched(&samba, &before);
    run(&config, record("on", &json!({"pw": pw, "active": true}))).counts(&[("modified", 1)]);
    assert_eq!(control("on"), (0x200 | 0x1_0000).to_string());
    assert!(binds(&samba, &dn("on"), pw));

    // One that came without a password, disabled, is enabled when it has one: in one change.
    let force = samba_config(&samba, &json!({"enabled": "active"}), "force");
    run(&force, record("late", &json!({"active": false}))).counts(&[("added", 1)]);
    run(&force, record("late", &json!({"active": true, "pw": pw}))).counts(&[("modified", 1)]);
    assert_eq!(control("late"), "512");
    assert!(binds(&samba, &dn("late"), pw));

    let output = Run::target(&config).messages(&[schema(), record("x", &json!({"active": "perhaps"}))]).run();
    output.exits(1).reports(&json!({"record": "id=x", "line": 2})).says("accounts.enabled");
}

#[test]
fn a_password_that_was_set_has_to_be_changed_and_one_that_was_changed_does_not() {
    let samba = Samba::start("");
    let accounts = json!({"enabled": true, "must_change_password": "new"});
    let create = samba_config(&samba, &accounts, "create_only");
    let dn = |id: &str| format!("CN={id},CN=Users,{SUFFIX}");
    let last_set = |id: &str| value(&samba, &dn(id), "pwdLastSet").unwrap();
    let pw = "Passw0rd-1";
    run(&create, record("a", &json!({"pw": pw, "new": true})));
    run(&create, record("b", &json!({"pw": pw, "new": false})));
    assert_eq!(last_set("a"), "0");
    assert_ne!(last_set("b"), "0");
    assert!(!binds(&samba, &dn("a"), pw), "not before it is changed");
    refused(&samba, &dn("a"), pw, &["data 773", "the password must be changed"]);
    assert!(binds(&samba, &dn("b"), pw));
    // It was changed: an hourly run does not ask for that again.
    let changed = "pwdLastSet: -1\n";
    samba.ldapmodify(format!("dn: {}\nchangetype: modify\nreplace: pwdLastSet\n{changed}", dn("a")));
    let before = samba.change_marks();
    run(&create, record("a", &json!({"pw": pw, "new": true}))).counts(&[("unchanged", 1)]);
    assert_untouched(&samba, &before);
    assert!(binds(&samba, &dn("a"), pw));
    // But when this run sets it.
    let force = samba_config(&samba, &accounts, "force");
    run(&force, record("a", &json!({"pw": "Passw0rd-2", "new": true}))).counts(&[("modified", 1)]);
    assert_eq!(last_set("a"), "0");
}

fn person_config(server: &Server, accounts: &Value) -> Value {
    let rule = json!({
        "dn_template": format!("uid={{id}},{USERS}"),
        "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": "uid", "name": ["cn", "sn"]},
        "password": {"from": "pw", "mode": "exop"},
        "accounts": accounts,
    });
    secured(server, &rule)
}

/// `locked`: the result codes of a bind.
fn lock_and_unlock(server: &Server, attribute: &str, locked: i32) {
    let config = person_config(server, &json!({"enabled": "active"}));
    let dn = |id: &str| format!("uid={id},{USERS}");
    let pw = "first-password";
    run(&config, record("on", &json!({"pw": pw, "active": true}))).counts(&[("added", 1)]);
    run(&config, record("off", &json!({"pw": pw, "active": false}))).counts(&[("added", 1)]);
    assert_eq!(bind_code(server, &dn("on"), pw), 0);
    assert_eq!(bind_code(server, &dn("off"), pw), locked);
    for (active, code) in [(true, 0), (false, locked)] {
        let change = || record("off", &json!({"pw": pw, "active": active}));
        // A plan did not show that an account is unlocked: the copy of the entry lacked the operational attribute.
        let plan = Run::target(&config).messages(&[schema(), change()]).arg("--dry-run").run().succeeds();
        assert!(plan.counts(&[("modified", 1)]).stdout_text().contains(attribute));
        run(&config, change()).counts(&[("modified", 1)]);
        assert_eq!(bind_code(server, &dn("off"), pw), code);
        assert_eq!(value(server, &dn("off"), attribute).is_none(), active);
        let before = value(server, &dn("off"), "modifyTimestamp");
        run(&config, change()).counts(&[("unchanged", 1)]);
        assert_eq!(value(server, &dn("off"), "modifyTimestamp"), before);
    }
}

#[test]
fn ds389_accounts_are_locked_by_ns_account_lock() {
    let server = Ds389::start(&Ds389Options::default().seed(unit(USERS)));
    lock_and_unlock(&server, "nsAccountLock", 53);
    let config = person_config(&server, &json!({"must_change_password": true}));
    Run::target(&config).run().exits(2).reports_setting("mapping_rules.users.accounts.must_change_password");
}

#[test]
fn openldap_accounts_are_locked_by_its_password_policy() {
    let server = Slapd::start(SlapdOptions {
        database_conf: "overlay ppolicy\nppolicy_default cn=policy,dc=example,dc=test".into(),
        ..SlapdOptions::default().seed(unit(USERS)).seed(
            "dn: cn=policy,dc=example,dc=test\nobjectClass: device\nobjectClass: pwdPolicy\ncn: policy\n\
             pwdAttribute: userPassword\npwdLockout: TRUE\n",
        )
    });
    lock_and_unlock(&server, "pwdAccountLockedTime", 49);

    // The overlay unlocks whose password is set: it is locked again.
    for (mode, pw) in [("exop", "second-password"), ("hash:ssha512", "third-password")] {
        let mut force = person_config(&server, &json!({"enabled": "active"}));
        force["mapping_rules"]["users"]["password"] = json!({"from": "pw", "mode": mode, "policy": "force"});
        run(&force, record("off", &json!({"pw": pw, "active": false}))).counts(&[("modified", 1)]);
        let dn = format!("uid=off,{USERS}");
        assert_eq!(bind_code(&server, &dn, pw), 49);
        assert_eq!(value(&server, &dn, "pwdAccountLockedTime").as_deref(), Some("000001010000Z"));
        run(&force, record("off", &json!({"pw": pw, "active": false}))).counts(&[("unchanged", 1)]);
        run(&force, record("off", &json!({"pw": pw, "active": true}))).counts(&[("modified", 1)]);
        assert_eq!(bind_code(&server, &dn, pw), 0);
        run(&force, record("off", &json!({"pw": pw, "active": false}))).counts(&[("modified", 1)]);
    }
}

/// slapo-ppolicy(5): a lock "only takes effect when the pwdLockout password policy attribute is set to TRUE".
#[test]
fn a_lock_that_openldap_ignores_is_a_warning() {
    let policy = |lockout: &str| {
        format!(
            "dn: cn=policy,dc=example,dc=test\nobjectClass: device\nobjectClass: pwdPolicy\ncn: policy\n\
             pwdAttribute: userPassword\n{lockout}"
        )
    };
    let dn = format!("uid=off,{USERS}");
    for (default, lockout, ignored) in [
        ("ppolicy_default cn=policy,dc=example,dc=test", "pwdLockout: TRUE\n", false),
        ("ppolicy_default cn=policy,dc=example,dc=test", "pwdLockout: FALSE\n", true),
        ("", "pwdLockout: TRUE\n", true),
    ] {
        let server = Slapd::start(SlapdOptions {
            database_conf: format!("overlay ppolicy\n{default}"),
            ..SlapdOptions::default().seed(unit(USERS)).seed(policy(lockout))
        });
        let config = person_config(&server, &json!({"enabled": "active"}));
        let output = run(&config, record("off", &json!({"pw": "first-password", "active": false})));
        assert_eq!(bind_code(&server, &dn, "first-password") == 0, ignored, "{default} {lockout}");
        let told = output.stderr.about(&json!({"level": "warning", "dn": dn}));
        assert_eq!(!told.is_empty(), ignored, "{told:?}");
        // Not again where nothing is done.
        let again = run(&config, record("off", &json!({"pw": "first-password", "active": false})));
        assert!(again.stderr.about(&json!({"level": "warning", "dn": dn})).is_empty());
    }
}

#[test]
fn a_password_does_not_enable_a_disabled_account_whose_state_no_rule_has() {
    let server = Slapd::start(SlapdOptions {
        database_conf: "overlay ppolicy\nppolicy_default cn=policy,dc=example,dc=test".into(),
        ..SlapdOptions::default().seed(unit(USERS)).seed(
            "dn: cn=policy,dc=example,dc=test\nobjectClass: device\nobjectClass: pwdPolicy\ncn: policy\n\
             pwdAttribute: userPassword\npwdLockout: TRUE\n",
        )
    });
    let dn = format!("uid=off,{USERS}");
    let locked = || value(&server, &dn, "pwdAccountLockedTime");
    let accounts = json!({"enabled": "active"});
    run(&person_config(&server, &accounts), record("off", &json!({"pw": "first-password", "active": false})));
    assert_eq!(locked().as_deref(), Some("000001010000Z"));
    for (number, mode) in ["exop", "hash:ssha512"].into_iter().enumerate() {
        let mut force = person_config(&server, &accounts);
        let rule = force["mapping_rules"]["users"].as_object_mut().unwrap();
        rule.insert("password".into(), json!({"from": "pw", "mode": mode, "policy": "force"}));
        // With the key, and a record that says nothing of the account.
        let pw = format!("{number}-password-with");
        run(&force, record("off", &json!({"pw": pw}))).counts(&[("modified", 1)]);
        assert_eq!((locked().as_deref(), bind_code(&server, &dn, &pw)), (Some("000001010000Z"), 49));
        force["mapping_rules"]["users"].as_object_mut().unwrap().remove("accounts");
        let pw = format!("{number}-password-without");
        run(&force, record("off", &json!({"pw": pw}))).counts(&[("modified", 1)]);
        assert_eq!((locked().as_deref(), bind_code(&server, &dn, &pw)), (Some("000001010000Z"), 49));
        run(&force, record("off", &json!({"pw": pw}))).counts(&[("unchanged", 1)]);
    }
}

#[test]
fn where_accounts_have_no_lock_it_is_2() {
    let dir = scratch();
    let url = format!("ldif:{}", dir.path().join("out.ldif").display());
    let rule =
        json!({"dn_template": "uid={id},dc=x", "object_classes": ["account"], "accounts": {"enabled": true}});
    let config = |rule: &Value| json!({"server_url": url, "mapping_rules": {"users": rule}});
    let setting = "mapping_rules.users.accounts";
    Run::target(&config(&rule)).run().exits(2).reports_setting("mapping_rules.users.accounts.enabled");
    for accounts in [json!({}), json!(true), json!({"enabled": []}), json!({"disabled": true})] {
        Run::target(&config(&with(&rule, &json!({"accounts": accounts})))).run().exits(2).says(setting);
    }
    // Two parts of a rule must not write the same attribute.
    let samba = Samba::start("");
    let mut both = samba_config(&samba, &json!({"enabled": true}), "create_only");
    both["mapping_rules"]["users"]["defaults"] = json!({"userAccountControl": 512});
    Run::target(&both).messages(&[schema()]).run().exits(2).says(setting).says("userAccountControl");
}

/// 546 is what Active Directory makes of an account that comes without `userAccountControl`.
#[test]
fn an_enabled_account_of_active_directory_needs_a_password() {
    let samba = Samba::start("");
    let config = samba_config(&samba, &json!({"enabled": "active"}), "create_only");
    let force = samba_config(&samba, &json!({"enabled": "active"}), "force");
    let dn = |id: &str| format!("CN={id},CN=Users,{SUFFIX}");
    let control = |id: &str| value(&samba, &dn(id), "userAccountControl").unwrap();
    let warns = |id: &str| json!({"level": "warning", "dn": dn(id)});
    for id in ["bare", "late"] {
        run(&config, record(id, &json!({}))).counts(&[("added", 1)]);
        assert_eq!(control(id), "546");
    }
    run(&config, record("bare", &json!({"active": true}))).counts(&[("modified", 1)]).logs(&warns("bare"));
    assert_eq!(control("bare"), "512", "a password is needed from now on");
    let output = run(&force, record("late", &json!({"active": true, "pw": "Passw0rd-1"})));
    output.stderr.does_not_report(&warns("late"));
    assert_eq!(control("late"), "512");
    run(&config, record("new", &json!({"active": true}))).counts(&[("added", 1)]).logs(&warns("new"));
    let output = run(&config, record("bare", &json!({"active": true}))).counts(&[("unchanged", 1)]);
    output.stderr.does_not_report(&warns("bare"));
}

/// An account is enabled from its first day to its last one, whatever the record says about the rest of time.
#[test]
fn an_account_is_enabled_between_two_days() {
    let samba = Samba::start("");
    let enabled =
        json!({"enabled": {"from": "{job.from}", "until": "until", "days_before": 3, "if": "active"}});
    let config = samba_config(&samba, &enabled, "create_only");
    let any = json!({});
    let schema = json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"type": "object", "properties": {
        "id": any, "pw": any, "job": any, "until": any, "active": any}}});
    let load = |today: &str, more: &Value| {
        let config = with(&config, &json!({"today": today}));
        let mut record = json!({"id": "p", "pw": "Passw0rd-1", "active": true});
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let record = json!({"type": "RECORD", "stream": "users", "record": record});
        Run::target(&config).messages(&[schema.clone(), record]).run()
    };
    let is_on = || value(&samba, &format!("CN=p,CN=Users,{SUFFIX}"), "userAccountControl").unwrap() == "512";
    let period = json!({"job": {"from": "2026-03-10"}, "until": "2026-06-30T12:00:00Z"});
    for (today, on) in [
        ("2026-03-06", false),
        ("2026-03-07", true),
        ("2026-03-10", true),
        ("2026-06-30", true),
        ("2026-07-01", false),
    ] {
        load(today, &period).succeeds();
        assert_eq!(is_on(), on, "{today}");
    }
    let open = json!({"job": {"from": "2026-03-10"}, "until": null});
    load("2030-01-01", &open).succeeds();
    assert!(is_on(), "without a last day");
    load("2030-01-01", &json!({"job": {"from": "2026-03-10"}, "until": null, "active": false})).succeeds();
    assert!(!is_on(), "the condition does not hold");
    load("2030-01-01", &json!({"job": {"from": "2026-03-10"}})).succeeds();
    assert!(!is_on(), "a record that does not say the last day changes nothing");
    for wrong in
        [json!({"job": {"from": null}, "until": null}), json!({"job": {"from": "soon"}, "until": null})]
    {
        load("2030-01-01", &wrong).exits(1);
    }
    assert!(!is_on());
}
