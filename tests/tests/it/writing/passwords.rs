//! The rule key `password`: each mode is verified by a bind.

use ldap_tests::bind::{binds, change_own_password};
use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::{Output, Run, read_text};
use ldap_tests::samba::Samba;
use ldap_tests::server::{Server, scratch};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{assert_untouched, no_panic, target_config, unit, with};

const USERS: &str = "ou=users,dc=example,dc=test";
/// An administrator who is no root DN: policies and access control count for him.
const DEPUTY: &str = "uid=replica,ou=people,dc=example,dc=test";

fn dn(id: &str) -> String {
    format!("uid={id},{USERS}")
}

fn rule(password: &Value) -> Value {
    json!({
        "dn_template": format!("uid={{uid}},{USERS}"),
        "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": "uid", "name": ["cn", "sn"], "title": "title"},
        "password": password,
    })
}

fn config(server: &Server, password: &Value) -> Value {
    with(&target_config(server), &json!({"mapping_rules": {"users": rule(password)}}))
}

fn mode(mode: &str, policy: &str) -> Value {
    json!({"from": "pw", "mode": mode, "policy": policy})
}

fn schema() -> Value {
    let texts = json!({"type": ["string", "array", "null"], "items": {"type": "string"}});
    json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"type": "object", "properties": {
        "id": texts, "name": texts, "title": texts, "pw": texts}}})
}

fn record(id: &str, more: &Value) -> Value {
    let mut record = json!({"id": id, "name": "Name"});
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"type": "RECORD", "stream": "users", "record": record})
}

#[track_caller]
fn run(config: &Value, records: &[Value]) -> Output {
    let output = attempt(config, records).succeeds();
    no_panic(&output);
    output
}

fn attempt(config: &Value, records: &[Value]) -> Output {
    let messages: Vec<Value> = std::iter::once(schema()).chain(records.iter().cloned()).collect();
    Run::target(config).messages(&messages).run()
}

fn slapd() -> Slapd {
    Slapd::start(SlapdOptions {
        global_conf: "moduleload argon2".into(),
        access: format!("access to * by dn.exact=\"{DEPUTY}\" write by * break"),
        database_conf: "overlay ppolicy\nppolicy_default cn=policy,dc=example,dc=test".into(),
        ..SlapdOptions::with_users().seed(unit(USERS)).seed(
            "dn: cn=policy,dc=example,dc=test\nobjectClass: device\nobjectClass: pwdPolicy\ncn: policy\n\
             pwdAttribute: userPassword\npwdMinLength: 8\npwdCheckQuality: 1\npwdInHistory: 0\n",
        )
    })
}

fn stored(server: &Server, id: &str) -> Vec<String> {
    let dump = server.dump_below(&dn(id), &["userPassword"]);
    let attributes = dump.values().next().unwrap_or_else(|| panic!("{id} is not there"));
    let values = attributes.get("userpassword").into_iter().flatten();
    values.map(|v| String::from_utf8(v.clone()).unwrap()).collect()
}

#[test]
fn a_password_hashed_here_is_the_one_to_log_in_with() {
    let slapd = slapd();
    for (name, scheme) in [("hash:ssha512", "{SSHA512}"), ("hash:argon2id", "{ARGON2}$argon2id$v=19$")] {
        let id = name.replace(':', "-");
        let (first, second) = (format!("first-{id}"), format!("second-ä-{id}"));
        let user = dn(&id);
        let with_password = |pw: &str| [record(&id, &json!({"pw": pw}))];
        let create = config(&slapd, &mode(name, "create_only"));
        run(&create, &with_password(&first));
        assert!(stored(&slapd, &id)[0].starts_with(scheme), "{:?}", stored(&slapd, &id));
        assert!(binds(&slapd, &user, &first) && !binds(&slapd, &user, &second), "{name}");

        // create_only: what is there stays, and is not even read.
        let before = slapd.change_marks();
        run(&create, &with_password(&second));
        assert_untouched(&slapd, &before);

        // force: the same is not written again; another one is.
        let force = config(&slapd, &mode(name, "force"));
        run(&force, &with_password(&first)).counts(&[
            ("modified", 0),
            ("renamed", 0),
            ("deleted", 0),
            ("unchanged", 1),
        ]);
        assert_untouched(&slapd, &before);
        run(&force, &with_password(&second)).counts(&[("modified", 1)]);
        assert_eq!(stored(&slapd, &id).len(), 1);
        assert!(binds(&slapd, &user, &second) && !binds(&slapd, &user, &first), "{name}");

        // Nothing is no change, under any policy.
        let before = slapd.change_marks();
        for nothing in [json!({}), json!({"pw": null}), json!({"pw": ""}), json!({"pw": []})] {
            run(&force, &[record(&id, &nothing)]);
        }
        assert_untouched(&slapd, &before);
    }
    // Nor is an entry added with an empty one.
    run(&config(&slapd, &mode("hash:ssha512", "force")), &[record("none", &json!({"pw": ""}))]);
    assert_eq!(stored(&slapd, "none"), [""; 0]);
}

#[test]
fn values_hashed_already_are_written_as_they_are() {
    let slapd = slapd();
    // slappasswd -s secret-of-old
    let hashed = "{SSHA}MEp+yq32twHoASjFt0sRjyPWWo84MaZS";
    let force = config(&slapd, &mode("as_is", "force"));
    run(&force, &[record("a", &json!({"pw": [hashed]}))]);
    assert_eq!(stored(&slapd, "a"), [hashed]);
    assert!(binds(&slapd, &dn("a"), "secret"));
    let before = slapd.change_marks();
    run(&force, &[record("a", &json!({"pw": hashed}))]);
    assert_untouched(&slapd, &before);

    // As tap-ldap brings them.
    let mut binary = schema();
    binary["schema"]["properties"]["pw"] =
        json!({"type": ["array", "null"], "items": {"type": "string", "contentEncoding": "base64"}});
    let encoded = record("b", &json!({"pw": ["e1NTSEF9TUVwK3lxMzJ0d0hvQVNqRnQwc1JqeVBXV284NE1hWlM="]}));
    Run::target(&force).messages(&[binary, encoded]).run().succeeds();
    assert_eq!(stored(&slapd, "b"), [hashed]);

    let output = attempt(&force, &[record("c", &json!({"pw": "in-the-clear"}))])
        .exits(1)
        .reports(&json!({"record": "id=c", "line": 2}));
    assert!(!output.stderr.contains("in-the-clear"), "{}", output.stderr);
    assert!(!slapd.dump().contains_key(&dn("c")));
}

#[test]
fn the_server_hashes_what_password_modify_brings() {
    let slapd = slapd();
    let create = config(&slapd, &mode("exop", "create_only"));
    let user = dn("a");
    run(&create, &[record("a", &json!({"pw": "first-password"}))]).counts(&[("added", 1)]);
    assert!(stored(&slapd, "a")[0].starts_with("{SSHA}"), "the server's own scheme");
    assert!(binds(&slapd, &user, "first-password"));

    change_own_password(&slapd, &user, "first-password", "my-own-password");
    let before = slapd.change_marks();
    run(&create, &[record("a", &json!({"pw": "first-password"}))]);
    assert_untouched(&slapd, &before);
    assert!(binds(&slapd, &user, "my-own-password"), "an hourly run does not set it back");

    let force = config(&slapd, &mode("exop", "force"));
    run(&force, &[record("a", &json!({"pw": "first-password", "title": "Dr."}))]).counts(&[("modified", 1)]);
    assert!(binds(&slapd, &user, "first-password"));
    let before = slapd.change_marks();
    run(&force, &[record("a", &json!({"pw": "first-password", "title": "Dr."}))]).counts(&[("unchanged", 1)]);
    assert_untouched(&slapd, &before);

    // What is switched off stays off.
    let mut off = force.clone();
    off["mapping_rules"]["users"]["operations"] = json!({"update": false});
    run(&off, &[record("a", &json!({"pw": "third-password"}))]).counts(&[("ignored", 1)]);
    assert_untouched(&slapd, &before);
}

#[test]
fn an_entry_whose_password_was_refused_gets_it_with_the_next_run() {
    let slapd = slapd();
    let deputy = |c: &Value| with(c, &json!({"bind_dn": DEPUTY, "bind_password": "replica-pw"}));
    let create = deputy(&config(&slapd, &mode("exop", "create_only")));
    let output = attempt(&create, &[record("a", &json!({"pw": "short"}))]).exits(1);
    output.reports(&json!({"code": 19, "line": 2, "dn": dn("a")}));
    assert_eq!(stored(&slapd, "a"), [""; 0], "the entry is there");

    // A change of something else in the same run does not hide that it never had one.
    run(&create, &[record("a", &json!({"pw": "long-enough", "title": "Dr."}))]).counts(&[("modified", 1)]);
    assert!(binds(&slapd, &dn("a"), "long-enough"));

    // Who lost the password on purpose is not given it again. Timestamps tell it, to the second.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    slapd.ldapmodify(format!("dn: {}\nchangetype: modify\ndelete: userPassword\n", dn("a")));
    let before = slapd.change_marks();
    run(&create, &[record("a", &json!({"pw": "long-enough", "title": "Dr."}))]);
    assert_untouched(&slapd, &before);
    // With `keep` they are.
    let keep = deputy(&config(&slapd, &mode("exop", "keep")));
    run(&keep, &[record("a", &json!({"pw": "long-enough", "title": "Dr."}))]).counts(&[("modified", 1)]);
    assert!(binds(&slapd, &dn("a"), "long-enough"));
    run(&keep, &[record("a", &json!({"pw": "other-password", "title": "Dr."}))]).counts(&[("unchanged", 1)]);

    // With `skip` it is a rejected record, the next one is taken, and a retry does the rest.
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let skip = with(&create, &json!({"on_error": "skip", "reject_file": file}));
    let records = [record("b", &json!({"pw": "tiny"})), record("c", &json!({"pw": "long-enough"}))];
    let output = attempt(&skip, &records).exits(4).counts(&[("added", 1)]).counts(&[("rejected", 1)]);
    assert!(binds(&slapd, &dn("c"), "long-enough"));
    let rejected = read_text(&file);
    assert!(rejected.contains("\"masked\":[\"pw\"]") && !rejected.contains("tiny"), "{rejected}");
    assert!(!output.stderr.contains("tiny"), "{}", output.stderr);
    let corrected = rejected.replace("\"***\"", "\"long-enough-now\"");
    Run::target(&create).arg("--retry-rejects").stdin(corrected).run().succeeds().counts(&[("modified", 1)]);
    assert!(binds(&slapd, &dn("b"), "long-enough-now"));
}

#[test]
fn keep_sets_what_is_not_there_and_does_not_guess() {
    for name in ["hash:ssha512", "hash:argon2id", "exop"] {
        let slapd = slapd();
        let entry = |id: &str, more: &str| {
            format!("dn: {}\nobjectClass: inetOrgPerson\nuid: {id}\ncn: Name\nsn: Name\n{more}\n", dn(id))
        };
        slapd.ldapadd(entry("with", "userPassword: their-own-one\n") + &entry("without", "title: x\n"));
        let keep = config(&slapd, &mode(name, "keep"));
        let records = ["with", "without"].map(|id| record(id, &json!({"pw": "from-the-record"})));
        run(&keep, &records).counts(&[("modified", 1), ("renamed", 0), ("deleted", 0), ("unchanged", 1)]);
        assert!(binds(&slapd, &dn("with"), "their-own-one"));
        assert!(binds(&slapd, &dn("without"), "from-the-record"), "{name}");
        let before = slapd.change_marks();
        run(&keep, &records).counts(&[("unchanged", 2)]);
        assert_untouched(&slapd, &before);
    }
    // Who may write passwords and not see them gets no second one added, and is told.
    let slapd = Slapd::start(SlapdOptions {
        access: format!(
            "access to attrs=userPassword by dn.exact=\"{DEPUTY}\" =w by anonymous auth by * none\n\
             access to * by dn.exact=\"{DEPUTY}\" write by * break"
        ),
        ..SlapdOptions::with_users().seed(unit(USERS))
    });
    let deputy = |c: &Value| with(c, &json!({"bind_dn": DEPUTY, "bind_password": "replica-pw"}));
    let create = deputy(&config(&slapd, &mode("hash:ssha512", "create_only")));
    run(&create, &[record("a", &json!({"pw": "from-the-record"}))]);
    assert!(binds(&slapd, &dn("a"), "from-the-record"));
    let keep = deputy(&config(&slapd, &mode("hash:ssha512", "keep")));
    let before = slapd.change_marks();
    attempt(&keep, &[record("a", &json!({"pw": "another-one"}))])
        .exits(1)
        .reports(&json!({"code": 50, "line": 2, "dn": dn("a")}));
    assert_untouched(&slapd, &before);
    // `force` sets what cannot be compared each time.
    let force = deputy(&config(&slapd, &mode("hash:ssha512", "force")));
    run(&force, &[record("a", &json!({"pw": "another-one"}))]).counts(&[("modified", 1)]);
    assert_eq!(stored(&slapd, "a").len(), 1);
    assert!(binds(&slapd, &dn("a"), "another-one"));
}

#[test]
fn ds389_takes_password_modify_and_hashes_of_ours() {
    let server = Ds389::start(&Ds389Options::default().seed(unit(USERS)));
    let force = config(&server, &mode("exop", "force"));
    // It takes none without TLS, loopback or not.
    let output = attempt(&force, &[record("a", &json!({"pw": "first-password"}))]).exits(2);
    output.reports_setting("mapping_rules.users.password.mode");
    let tls = json!({"server_url": server.ldaps_uri(), "tls_ca_file": server.certificates().ca});
    let force = with(&force, &tls);
    run(&force, &[record("a", &json!({"pw": "first-password"}))]).counts(&[("added", 1)]);
    assert!(binds(&server, &dn("a"), "first-password"));
    let before = server.change_marks();
    run(&force, &[record("a", &json!({"pw": "first-password"}))]).counts(&[("unchanged", 1)]);
    assert_untouched(&server, &before);
    run(&force, &[record("a", &json!({"pw": "second-password"}))]).counts(&[("modified", 1)]);
    assert!(binds(&server, &dn("a"), "second-password"));

    let hash = config(&server, &mode("hash:ssha512", "force"));
    run(&hash, &[record("b", &json!({"pw": "first-password"}))]);
    assert!(stored(&server, "b")[0].starts_with("{SSHA512}"));
    assert!(binds(&server, &dn("b"), "first-password") && !binds(&server, &dn("b"), "second-password"));
    let argon = config(&server, &mode("hash:argon2id", "force"));
    attempt(&argon, &[]).exits(2).reports_setting("mapping_rules.users.password.mode").says("{ARGON2}");
}

#[test]
fn a_file_takes_hashes_and_no_password_modify() {
    let dir = scratch();
    let file = dir.path().join("out.ldif");
    let of = |password: &Value| json!({"server_url": format!("ldif:{}", file.display()), "mapping_rules": {"users": rule(password)}});
    let records = [record("a", &json!({"pw": "hunter2hunter2"}))];
    for (name, scheme) in [("hash:ssha512", "{SSHA512}"), ("hash:argon2id", "{ARGON2}$argon2id$")] {
        let _ = std::fs::remove_file(&file);
        run(&of(&mode(name, "force")), &records);
        let first = read_text(&file);
        let tree = ldap_tests::ldif::parse_file(&file);
        let value = tree[&dn("a")]["userpassword"].iter().next().unwrap();
        assert!(String::from_utf8_lossy(value).starts_with(scheme), "{first}");
        run(&of(&mode(name, "force")), &records).counts(&[("unchanged", 1)]);
        assert_eq!(read_text(&file), first);
    }
    run(&of(&mode("as_is", "force")), &[record("a", &json!({"pw": "{CRYPT}x"}))]);
    assert!(read_text(&file).contains("{CRYPT}x") || read_text(&file).contains("e0NSWVBUfXg="));
    for name in ["exop", "unicode_pwd"] {
        let output = attempt(&of(&mode(name, "force")), &records).exits(2);
        output.reports_setting("mapping_rules.users.password.mode").says("hash:ssha512");
    }
}

#[test]
fn what_a_server_or_a_connection_is_not_fit_for_is_2_before_anything_is_sent() {
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(USERS)));
    let records = [record("a", &json!({"pw": "hunter2hunter2"}))];
    let setting = "mapping_rules.users.password";
    let exposed = |name: &str, url: Value| {
        with(&config(&slapd, &mode(name, "force")), &json!({"server_url": url, "connect_timeout_seconds": 1}))
    };
    // An address that nobody has (RFC 5737): a connection would be code 3.
    for url in [json!("ldap://192.0.2.1"), json!(["ldaps://192.0.2.1", "ldap://192.0.2.2:389"])] {
        attempt(&exposed("exop", url), &records).exits(2).reports_setting(&format!("{setting}.mode"));
    }
    let output = attempt(&exposed("unicode_pwd", json!("ldap://127.0.0.1:1")), &records).exits(2);
    output.reports_setting(&format!("{setting}.mode"));
    // What is hashed here is not in the clear.
    attempt(&exposed("hash:ssha512", json!("ldap://192.0.2.1")), &records).exits(3);

    let before = slapd.change_marks();
    let tls = json!({"server_url": slapd.ldaps_uri(), "tls_ca_file": slapd.certificates().ca});
    let output = attempt(&with(&config(&slapd, &mode("unicode_pwd", "force")), &tls), &records).exits(2);
    output.reports_setting(&format!("{setting}.mode")).says("exop");
    let unix = json!({"server_url": slapd.ldapi_uri()});
    let output = attempt(&with(&config(&slapd, &mode("unicode_pwd", "force")), &unix), &records).exits(2);
    output.reports_setting(&format!("{setting}.mode"));

    // Faults of the rule, and what two parts of it would both write.
    for (change, word) in [
        (json!({"password": {"from": "pw"}}), "mode"),
        (json!({"password": mode("md5", "force")}), "md5"),
        (json!({"attribute_mapping": {"id": ["uid", "userPassword"], "name": ["cn", "sn"]}}), "userPassword"),
        (json!({"values": {"userPassword": "{SSHA}{id}"}}), "userPassword"),
    ] {
        let mut config = config(&slapd, &mode("exop", "force"));
        config["mapping_rules"]["users"] = with(&config["mapping_rules"]["users"], &change);
        let output = attempt(&config, &records).exits(2);
        output.says(setting).says(word);
    }
    assert_untouched(&slapd, &before);

    // `--test` tells it, too.
    let unfit = with(&config(&slapd, &mode("unicode_pwd", "force")), &tls);
    let output = Run::target(&unfit).arg("--test").run().exits(2);
    assert_eq!(output.json()["status"], "unhealthy");
    assert!(output.json()["error"].as_str().unwrap().contains(setting), "{}", output.json());
}

#[test]
fn no_password_is_seen_anywhere() {
    let slapd = slapd();
    let dir = scratch();
    let secret = "S3cret-of-a-rec0rd";
    let forms = [
        secret.to_owned(),
        "UzNjcmV0LW9mLWEtcmVjMHJk".to_owned(),
        secret.chars().flat_map(|c| [c, '\0']).collect(),
    ];
    let hidden = |what: &str, text: &str, modes: &str| {
        for form in &forms {
            assert!(!text.contains(form.as_str()), "{what}, {modes}:\n{text}");
        }
        // Nor what it is hashed to, which is new in each run.
        assert!(!text.contains("{SSHA512}") && !text.contains("{ARGON2}"), "{what}, {modes}:\n{text}");
        assert!(!text.contains("e1NTSEE1MTJ9") && !text.contains("e0FSR09OMn"), "{what}, {modes}:\n{text}");
    };
    slapd.ldapadd(format!(
        "dn: {}\nobjectClass: inetOrgPerson\nuid: old\ncn: Name\nsn: Name\nuserPassword: {{CRYPT}}theirs\n",
        dn("old")
    ));
    let messages = [
        schema(),
        record("new", &json!({"pw": secret})),
        record("old", &json!({"pw": secret})),
        // Refused by the directory, and by its SCHEMA.
        record("bad", &json!({"pw": secret, "name": ""})),
        record("worse", &json!({"pw": {"is": secret}})),
    ];
    for name in ["exop", "hash:ssha512", "hash:argon2id"] {
        let undo = dir.path().join("undo.ldif");
        let rejects = dir.path().join("rejects.jsonl");
        for path in [&undo, &rejects] {
            let _ = std::fs::remove_file(path);
        }
        let more = json!({"undo_file": undo, "on_error": "skip", "reject_file": rejects});
        let config = with(&config(&slapd, &mode(name, "force")), &more);
        for format in ["ldif", "diff", "json"] {
            let args = ["--dry-run", "--plan-format", format, "--log-level", "trace"];
            let run = args.iter().fold(Run::target(&config), |run, arg| run.arg(*arg));
            let output = run.messages(&messages).run().exits(4);
            hidden("the plan", &output.stdout_text(), &format!("{name} {format}"));
            hidden("the log of a plan", &output.stderr, name);
            // Of what would be refused nothing is planned; a list has the one that was there, too.
            let shown = if format == "diff" && name != "exop" { 3 } else { 2 };
            assert_eq!(
                output.stdout_text().matches("(not shown)").count(),
                shown,
                "{}",
                output.stdout_text()
            );
            assert!(!undo.exists(), "a plan takes nothing back");
        }
        let before = slapd.dump();
        for (level, format) in [("trace", "text"), ("trace", "json")] {
            let args = ["--log-level", level, "--log-format", format];
            let run = args.iter().fold(Run::target(&config), |run, arg| run.arg(*arg));
            let output = run.messages(&messages).run().exits(4);
            hidden("the log", &output.stderr, name);
            hidden("stdout", &output.stdout_text(), name);
        }
        hidden("the reject file", &read_text(&rejects), name);
        assert!(read_text(&rejects).contains("\"masked\":[\"pw\"]"), "{}", read_text(&rejects));
        for id in ["new", "old"] {
            assert!(binds(&slapd, &dn(id), secret), "{name}: it was written all the same");
        }
        // The undo file of the first of the two: what was readable comes back.
        hidden("the undo file", &read_text(&undo), name);
        slapd.ldapmodify(read_text(&undo));
        assert_eq!(slapd.dump(), before, "{name}");
        // So that the next mode begins anew.
        assert_eq!(stored(&slapd, "old"), ["{CRYPT}theirs"]);
    }
}

#[test]
fn active_directory_takes_unicode_pwd_over_tls() {
    let samba = Samba::start("");
    let suffix = ldap_tests::samba::SUFFIX;
    let tls = json!({"server_url": samba.ldaps_uri(), "tls_ca_file": samba.certificates().ca});
    let config = |name: &str, policy: &str, accounts: &Value| {
        let rule = json!({
            "dn_template": format!("CN={{id}},CN=Users,{suffix}"),
            "object_classes": ["user"],
            "attribute_mapping": {"id": "sAMAccountName", "title": "title"},
            "password": mode(name, policy),
            "accounts": accounts,
        });
        with(
            &target_config(&samba),
            &with(&tls, &json!({"mapping_rules": {"users": with(&rule, &json!({}))}})),
        )
    };
    let user = format!("CN=anna,CN=Users,{suffix}");
    let create = config("unicode_pwd", "create_only", &json!({"enabled": true}));
    run(&create, &[record("anna", &json!({"pw": "F1rst-Pässword"}))]).counts(&[("added", 1)]);
    assert!(binds(&samba, &user, "F1rst-Pässword"));
    run(&create, &[record("anna", &json!({"pw": "Sec0nd-Password"}))]).counts(&[("unchanged", 1)]);
    assert!(binds(&samba, &user, "F1rst-Pässword"));
    let force = config("unicode_pwd", "force", &json!({"enabled": true}));
    run(&force, &[record("anna", &json!({"pw": "Sec0nd-Password"}))]).counts(&[("modified", 1)]);
    assert!(binds(&samba, &user, "Sec0nd-Password") && !binds(&samba, &user, "nothing"));
    // Against the domain's policy: the record's own fault, and the server's words.
    let output = attempt(&force, &[record("anna", &json!({"pw": "wee"}))]).exits(1).reports_line(2);
    assert!(!output.stderr.contains("wee"), "{}", output.stderr);
    assert!(binds(&samba, &user, "Sec0nd-Password"));

    let setting = "mapping_rules.users.password.mode";
    attempt(&config("exop", "force", &json!({"enabled": true})), &[])
        .exits(2)
        .reports_setting(setting)
        .says("unicode_pwd");
    let hashed = config("hash:ssha512", "force", &json!({"enabled": true}));
    attempt(&hashed, &[]).exits(2).reports_setting(setting).says("unicode_pwd");
    // Active Directory refuses it without TLS, loopback or not.
    let bare = with(&force, &json!({"server_url": samba.ldap_uri(), "tls_ca_file": null}));
    attempt(&bare, &[]).exits(2).reports_setting(setting);
}
