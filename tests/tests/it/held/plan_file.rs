//! `plan_file` and `on_held`: what a run leaves that is held back.

use std::os::unix::fs::PermissionsExt as _;

use ldap_tests::ldif::assert_same;
use ldap_tests::run::{Run, read_text};
use ldap_tests::server::scratch;
use serde_json::{Value, json};

use super::{USERS, apply, config, held, messages, mixed, schemas, slapd, user};
use crate::support::{assert_untouched, with};

/// The first line of a plan.
fn head(plan: &str) -> Value {
    let line = plan.lines().next().unwrap();
    serde_json::from_str(line.strip_prefix("# target-ldap plan ").unwrap()).unwrap()
}

#[test]
fn a_held_run_leaves_its_plan_tells_a_command_and_writes_nothing() {
    let slapd = slapd();
    let dir = scratch();
    let (plan, told) = (dir.path().join("plan.ldif"), dir.path().join("told.json"));
    let settings = json!({"max_deletes": 1, "limits": {"users": {"rename": "5%"}}, "plan_file": plan,
        "first_run": "apply", "undo_file": dir.path().join("undo.ldif"), "on_held": ["tee", told.to_str().unwrap()]});
    let config = config(&slapd, &settings);
    let before = slapd.change_marks();
    let output = Run::target(&config).messages(&mixed()).run().exits(5);
    assert!(output.stdout.is_empty(), "no STATE, and nothing of the command");
    output.reports(&json!({"level": "error", "setting": "max_deletes"}));
    assert_untouched(&slapd, &before);
    assert_eq!(std::fs::metadata(&plan).unwrap().permissions().mode() & 0o777, 0o600);
    let text = read_text(&plan);
    let head = head(&text);
    assert_eq!((&head["version"], &head["server"]), (&json!(1), &json!(slapd.ldap_uri())));
    assert_eq!(head["streams"]["users"], json!({"add": 3, "modify": 1, "rename": 2, "delete": 2}));
    let is_over = |l: &&Value| l["allowed"].as_u64().is_some_and(|most| l["used"].as_u64() > Some(most));
    let over: Vec<&Value> = head["limits"].as_array().unwrap().iter().filter(is_over).collect();
    assert_eq!(
        (&over[0]["setting"], &over[1]["setting"]),
        (&json!("max_deletes"), &json!("limits.users.rename"))
    );
    assert_eq!((&over[1]["used"], &over[1]["allowed"]), (&json!(2), &json!(1)));
    let told: Value = serde_json::from_str(&read_text(&told)).unwrap();
    assert_eq!(told["plan_file"], json!(plan));
    assert_eq!((&told["run"], &told["changes"]), (&head["run"], &json!(9)));
    let by: Vec<&Value> = told["held_by"].as_array().unwrap().iter().map(|l| &l["setting"]).collect();
    assert_eq!(by, [&json!("max_deletes"), &json!("limits.users.rename")]);
    assert!(told["apply"].as_str().unwrap().starts_with("target-ldap apply "));
    assert!(!dir.path().join("undo.ldif").exists(), "nothing was done");
    // It is the plan of a dry run, change by change, and LDIF for others.
    let shown = Run::target(&config).messages(&mixed()).plan("ldif").run();
    let changes = |text: &str| -> Vec<String> {
        text.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).map(str::to_owned).collect()
    };
    assert_eq!(changes(&text), changes(&shown.exits(1).stdout_text()));
    assert_eq!(read_text(&plan), text, "a dry run does not write it");
}

#[test]
fn what_is_left_is_a_warning_or_nothing_without_a_command_or_a_plan() {
    let slapd = slapd();
    let dir = scratch();
    let (plan, told) = (dir.path().join("plan.ldif"), dir.path().join("told.json"));
    let before = slapd.change_marks();
    let run = |more: &Value| {
        let config = with(&config(&slapd, &json!({"max_deletes": 1})), more);
        Run::target(&config).messages(&mixed()).run()
    };
    run(&json!({})).exits(1);
    // A command alone, by the shell.
    let shell = format!("cat > {}", told.display());
    run(&json!({"on_held": shell})).exits(1).reports(&json!({"level": "error", "setting": "max_deletes"}));
    let summary: Value = serde_json::from_str(&read_text(&told)).unwrap();
    assert_eq!(
        (&summary["held_by"][0]["setting"], &summary["plan_file"]),
        (&json!("max_deletes"), &Value::Null)
    );
    // Its failure is a warning, whatever it is.
    for command in [json!("exit 3"), json!(["/no/such/program"]), json!(["false"]), json!("kill -9 $$")] {
        let output = run(&json!({"plan_file": plan, "on_held": command})).exits(5);
        output.reports(&json!({"level": "warning", "setting": "on_held"}));
        assert!(plan.exists());
        std::fs::remove_file(&plan).unwrap();
    }
    // It need not read what it is told, and is not told the password.
    let command = format!("env > {}; test -z \"$TARGET_LDAP_BIND_PASSWORD\"", told.display());
    let quiet =
        with(&config(&slapd, &json!({"max_deletes": 1})), &json!({"plan_file": plan, "on_held": command}));
    let output =
        Run::target(&quiet).env("TARGET_LDAP_BIND_PASSWORD", "hunter2").messages(&mixed()).run().exits(5);
    output.stderr.does_not_report(&json!({"setting": "on_held"}));
    assert!(!read_text(&told).contains("hunter2"));
    for (bad, setting) in [
        (json!({"on_held": []}), "on_held"),
        (json!({"on_held": " "}), "on_held"),
        (json!({"plan_file": "/nowhere/at/all/plan.ldif"}), "plan_file"),
        (json!({"plan_file": dir.path()}), "plan_file"),
        (json!({"plan_file": plan, "undo_file": plan}), "undo_file"),
    ] {
        run(&bad).exits(2).reports(&json!({"level": "error", "setting": setting}));
    }
    assert_untouched(&slapd, &before);
}

/// Passwords, in each of the ways in which one is set.
#[test]
fn no_secret_is_in_a_plan_and_the_next_run_sets_what_apply_did_not() {
    // The second is `{SSHA}MTIzNDU2Nzg5MDEyMzQ1Njc4OTBzYWx0`.
    const SECRET: &str = "correct-horse";
    const HASH: &str = "e1NTSEF9TVRJek5EVTJOemc1TURFeU16UTFOamM0T1RCellXeDA=";
    let rule = |more: Value| {
        let all = json!({"dn_template": format!("uid={{login}},{USERS}"), "match": "(employeeNumber={id})",
            "object_classes": ["inetOrgPerson"], "defaults": {"cn": "unknown", "sn": "unknown"},
            "attribute_mapping": {"id": "employeeNumber", "login": "uid", "title": "title"}});
        json!({"users": with(&all, &more)})
    };
    let password =
        |mode: &str, policy: &str| json!({"password": {"from": "secret", "mode": mode, "policy": policy}});
    let mapped = |policy: &str| {
        json!({"attribute_mapping": {"id": "employeeNumber", "login": "uid", "title": "title", "secret": "userPassword"},
            "policies": {"userPassword": policy}})
    };
    // Whether apply makes the new entry without its password: only where the next run sets it.
    for (name, rule, is_added) in [
        ("exop", rule(password("exop", "create_only")), true),
        ("hash, create_only", rule(password("hash:ssha512", "create_only")), false),
        ("hash, force", rule(password("hash:ssha512", "force")), true),
        ("hash, keep", rule(password("hash:ssha512", "keep")), true),
        ("mapped, force", rule(mapped("force")), true),
        ("mapped, create_only", rule(mapped("create_only")), false),
    ] {
        let slapd = slapd();
        let dir = scratch();
        let plan = dir.path().join("plan.ldif");
        let more = json!({"mapping_rules": rule, "max_changes": 1, "plan_file": plan, "process_activate_version": null});
        let held = config(&slapd, &more);
        let mut schema = schemas().remove(0);
        schema["schema"]["properties"]["secret"] = json!({"type": ["null", "string"]});
        let secret = if name.starts_with("mapped") {
            schema["schema"]["properties"]["secret"]["contentEncoding"] = json!("base64");
            HASH
        } else {
            SECRET
        };
        let people = [
            user(40, &json!({"secret": secret})),
            user(5, &json!({"secret": secret, "title": "new"})),
            user(6, &json!({"title": "new"})),
        ];
        let input: Vec<Value> = [schema].into_iter().chain(people).collect();
        let output = Run::target(&held).messages(&input).run().exits(5);
        let text = read_text(&plan);
        for hidden in [SECRET, HASH, "{SSHA", "MTIzNDU2Nzg5MDEyMzQ1Njc4OTBzYWx0"] {
            assert!(!text.contains(hidden) && !output.stderr.raw().contains(hidden), "{name}: {text}");
        }
        let output = apply(&held, &plan, &[]);
        assert_eq!(output.code, if is_added { 0 } else { 4 }, "{name}: {}", output.stderr);
        let new = format!("uid=u40,{USERS}");
        output.reports(&json!({"level": "warning", "dn": new}));
        let tree = slapd.dump();
        assert_eq!(tree.contains_key(&new), is_added, "{name}");
        if is_added {
            assert!(!tree[&new].contains_key("userpassword"), "{name}");
        }
        assert_eq!(tree[&format!("uid=u5,{USERS}")]["title"], [b"new".to_vec()].into());
        // An ordinary run.
        let open = with(&held, &json!({"max_changes": null, "plan_file": null}));
        Run::target(&open).messages(&input).run().succeeds();
        assert!(slapd.dump()[&new].contains_key("userpassword"), "{name}: the next run sets it");
        Run::target(&open).messages(&input).run().succeeds().counts(&[("modified", 0), ("added", 0)]);
    }
}

#[test]
fn a_run_within_its_limits_leaves_an_earlier_plan_and_a_held_one_replaces_it() {
    let (_slapd, _dir, plan, config) = held(&json!({"max_changes": 5}));
    let first = read_text(&plan);
    Run::target(&config).messages(&messages([user(12, &json!({"title": "x"}))])).run().succeeds();
    assert_eq!(read_text(&plan), first);
    Run::target(&config).messages(&mixed()).run().exits(5);
    assert_ne!(head(&read_text(&plan))["run"], head(&first)["run"]);
}

/// A file is held, and its plan carried out, as a server.
#[test]
fn a_file_is_held_and_its_plan_carried_out() {
    let dir = scratch();
    let at = |name: &str| dir.path().join(name);
    let seed = format!("dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n{}", super::seed());
    std::fs::write(at("d.ldif"), &seed).unwrap();
    std::fs::write(at("twin.ldif"), &seed).unwrap();
    let slapd = slapd();
    let of = |file: &str, more: &Value| {
        let server = json!({"server_url": format!("ldif:{}", at(file).display()), "bind_dn": null, "bind_password": null});
        with(&with(&config(&slapd, &json!({})), &server), more)
    };
    let held =
        of("d.ldif", &json!({"max_deletes": 1, "plan_file": at("plan.ldif"), "undo_file": at("undo.ldif")}));
    Run::target(&held).messages(&mixed()).run().exits(5);
    assert_eq!(read_text(&at("d.ldif")), seed);
    apply(&held, &at("plan.ldif"), &[]).succeeds().logs(&json!({"made": 9, "already": 0, "left_alone": 0}));
    Run::target(&of("twin.ldif", &json!({}))).messages(&mixed()).run().succeeds();
    let tree = |name: &str| ldap_tests::ldif::parse_file(&at(name));
    assert_same("an ordinary run", &tree("twin.ldif"), "apply", &tree("d.ldif"));
    apply(&held, &at("plan.ldif"), &[]).succeeds().logs(&json!({"made": 0, "already": 9, "left_alone": 0}));
}

/// The page of a held plan says why, by whom, and how it is carried out.
#[test]
fn the_page_of_a_held_plan_has_the_limits_who_is_held_back_and_the_command() {
    let slapd = slapd();
    let dir = scratch();
    let plan = dir.path().join("plan.ldif");
    let more = json!({"max_deletes": 5, "limits": {"users": {"rename": 1}}, "plan_file": plan, "first_run": "apply"});
    let config = config(&slapd, &more);
    let is_told = |page: &str| {
        let items: Vec<&str> = page.split("<li").filter(|item| item.contains("data-limit=")).collect();
        let of = |setting: &str| {
            let named = format!("data-limit=\"{setting}\"");
            *items.iter().find(|item| item.contains(&named)).unwrap_or_else(|| panic!("{setting}: {items:?}"))
        };
        assert!(of("limits.users.rename").contains("over") && of("limits.users.rename").contains("users"));
        assert!(!of("max_deletes").contains("\"over\""));
        assert!(page.contains(&format!("target-ldap apply {}", plan.display())), "the command");
    };
    let before = Run::target(&config).messages(&mixed()).plan("html").run();
    is_told(&before.exits(1).stdout_text());
    Run::target(&config).messages(&mixed()).run().exits(5);
    let page = apply(&config, &plan, &["--dry-run", "--plan-format", "html"]).succeeds().stdout_text();
    is_told(&page);
    assert!(page.contains("The run was held back"));
    // The numbers are those of the plan.
    for (word, number) in [("deleted", 2), ("renamed", 2), ("modified", 2), ("added", 3)] {
        let cell = page.split("<td").filter(|cell| cell.contains(&format!("data-count-of=\"{word}\"")));
        let sum: u64 = cell
            .filter_map(|cell| cell.split('>').nth(1)?.split('<').next()?.trim().parse::<u64>().ok())
            .max()
            .unwrap_or_default();
        assert_eq!(sum, number, "{word}");
    }
}
