//! `target-ldap apply`: a plan is carried out as it is, once, and can be taken back.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use ldap_tests::ldif::assert_same;
use ldap_tests::run::{Program, Run, read_text};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{TEAMS, USERS, apply, config, gone, held, messages, mixed, planned, schemas, seed, slapd, user};
use crate::support::{assert_untouched, unit, with};

fn undo(config: &Value, file: &Path) -> ldap_tests::run::Output {
    Run::bare(Program::Target).arg("undo").arg(file.to_str().unwrap()).file("--config", config).run()
}

#[test]
fn apply_does_what_the_run_would_have_done_and_is_undone_like_one() {
    let (slapd, twin) = (slapd(), slapd());
    let dir = scratch();
    let (plan, back) = (dir.path().join("plan.ldif"), dir.path().join("undo.ldif"));
    let config = config(&slapd, &json!({"max_deletes": 1, "plan_file": plan, "undo_file": back}));
    let before = slapd.dump();
    Run::target(&config).messages(&mixed()).run().exits(5);
    let marks = slapd.change_marks();
    let shown = apply(&config, &plan, &["--dry-run", "--plan-format", "ldif"]).succeeds();
    assert_eq!(shown.stdout_text().matches("\nchangetype: ").count(), 9, "{}", shown.stdout_text());
    assert_untouched(&slapd, &marks);
    // The limit that held the run back does not hold its plan.
    let output = apply(&config, &plan, &[]).succeeds();
    assert!(output.stdout.is_empty(), "no STATE");
    output.logs(&json!({"made": 9, "already": 0, "left_alone": 0}));
    let open = super::config(&twin, &json!({}));
    Run::target(&open).messages(&mixed()).run().succeeds();
    assert_same("an ordinary run", &twin.dump(), "apply", &slapd.dump());
    // What is done already counts as done, and is not done again.
    let marks = slapd.change_marks();
    apply(&config, &plan, &[]).succeeds().logs(&json!({"made": 0, "already": 9, "left_alone": 0}));
    assert_untouched(&slapd, &marks);
    // The next run has its STATE, and nothing else to do.
    let output = Run::target(&config).messages(&mixed()).run().succeeds();
    let output = output.counts(&[("added", 0), ("modified", 0), ("renamed", 0), ("deleted", 0)]);
    assert_eq!(output.lines(), [json!({"n": 1})]);
    let free = with(&config, &json!({"max_deletes": null}));
    undo(&free, &back).succeeds();
    assert_same("before", &before, "undone", &slapd.dump());
}

/// The source was repaired meanwhile: the people whom the plan deletes are in it.
#[test]
fn a_plan_that_a_later_run_has_overtaken_is_refused() {
    let (slapd, _dir, plan, config) = held(&json!({"max_deletes": 1, "first_run": "apply"}));
    let everybody = (0..20).map(|n| user(n, &json!({})));
    let copy = plan.with_file_name("decided.ldif");
    std::fs::copy(&plan, &copy).unwrap();
    Run::target(&config).messages(&messages(everybody)).run().succeeds();
    let marks = slapd.change_marks();
    for file in [&plan, &copy] {
        apply(&config, file, &[]).exits(2).reports_setting("PLAN");
        apply(&config, file, &["--dry-run"])
            .succeeds()
            .stderr
            .has(&json!({"level": "warning", "setting": "PLAN"}));
    }
    assert_untouched(&slapd, &marks);
    apply(&config, &copy, &["--outdated"]).succeeds();
}

/// A schedule that is held back stays so: who is in the copied plan may be back in the source.
#[test]
fn a_plan_is_overtaken_by_a_later_run_that_is_held_back() {
    let (slapd, dir, plan, config) = planned(&json!({"max_deletes": 0, "first_run": "apply"}));
    let run = |records: Vec<Value>| Run::target(&config).messages(&messages(records)).run();
    run(vec![gone(6)]).exits(5);
    let copy = dir.path().join("approved.ldif");
    std::fs::copy(&plan, &copy).unwrap();
    apply(&config, &copy, &["--dry-run"]).succeeds();
    run(vec![user(6, &json!({})), gone(7)]).exits(5);
    let marks = slapd.change_marks();
    apply(&config, &copy, &[]).exits(2).reports_setting("PLAN");
    apply(&config, &copy, &["--dry-run"])
        .succeeds()
        .stderr
        .has(&json!({"level": "warning", "setting": "PLAN"}));
    assert_untouched(&slapd, &marks);
    apply(&config, &plan, &[]).succeeds();
    assert!(!slapd.dump().contains_key(&format!("uid=u7,{USERS}")));
    // Once it was applied, the other one is overtaken by that.
    apply(&config, &copy, &[]).exits(2);
    assert!(slapd.dump().contains_key(&format!("uid=u6,{USERS}")));
}

#[test]
fn a_plan_that_was_cut_or_edited_or_is_of_another_place_is_refused() {
    let (slapd, dir, plan, config) = held(&json!({"max_deletes": 1}));
    let text = read_text(&plan);
    let marks = slapd.change_marks();
    let refused = |config: &Value, text: &str| {
        std::fs::write(&plan, text).unwrap();
        for flags in [&[][..], &["--dry-run"]] {
            let output = apply(config, &plan, flags).exits(2).reports_setting("PLAN");
            assert!(output.stdout.is_empty());
        }
    };
    // Cut at each line, and within one.
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for kept in [0, 1, 2, lines.len() / 2, lines.len() - 1] {
        refused(&config, &lines[..kept].concat());
    }
    refused(&config, text.get(..text.len() / 3).unwrap());
    refused(&config, text.get(..text.len() - 5).unwrap());
    for (from, to) in [
        ("title: new", "title: raised"),
        (&format!("uid=u6,{USERS}"), &format!("uid=u8,{USERS}")),
        ("changetype: delete", "changetype: modify"),
        ("\"version\":1", "\"version\":2"),
        ("\"server\":\"", "\"server\":\"x"),
        ("\"delete\":2", "\"delete\":1"),
        ("# end 9 ", "# end 8 "),
        ("# end 9 ", "# end 7 "),
    ] {
        assert!(text.contains(from), "{from}");
        refused(&config, &text.replace(from, to));
    }
    // A change that is there twice, one of another plan, and a line of one alone.
    let frame = |text: &str, of: &str| -> String {
        let frames = text.split("# change ").map(|frame| format!("# change {frame}"));
        frames.filter(|frame| frame.contains(of)).last().unwrap()
    };
    let one = frame(&text, "title: new");
    refused(&config, &text.replace(&one, &format!("{one}{one}")));
    Run::target(&config).messages(&mixed()).run().exits(5);
    let other = read_text(&plan);
    refused(&config, &text.replace(&one, &frame(&other, "title: new")));
    refused(&config, &text.replace("title: new\n", ""));
    refused(&config, &format!("{text}\ndn: uid=u8,{USERS}\nchangetype: delete\n"));
    refused(&config, "dn: uid=u8,dc=example,dc=test\nchangetype: delete\n");
    // Other directories.
    let other = Slapd::start(SlapdOptions::default().seed(seed()));
    refused(&with(&config, &json!({"server_url": other.ldap_uri()})), &text);
    let elsewhere = Slapd::start(SlapdOptions::default().suffix("dc=other,dc=test"));
    let there = json!({"server_url": [slapd.ldap_uri(), elsewhere.ldap_uri()]});
    std::fs::write(&plan, &text).unwrap();
    apply(&with(&config, &there), &plan, &["--dry-run"]).succeeds();
    apply(&config, &dir.path().join("none.ldif"), &[]).exits(2).reports_setting("PLAN");
    assert_untouched(&slapd, &marks);
    // The other run left a newer one.
    apply(&config, &plan, &["--outdated"]).succeeds();
}

#[test]
fn changes_that_were_taken_out_are_not_made() {
    let (slapd, _dir, plan, config) = held(&json!({"max_deletes": 1}));
    let text = read_text(&plan);
    let mut kept = String::new();
    let mut frames = text.split_inclusive("\n\n");
    for frame in &mut frames {
        if !frame.contains(&format!("dn: uid=u6,{USERS}\nchangetype: delete")) {
            kept.push_str(frame);
        }
    }
    assert_ne!(kept, text);
    std::fs::write(&plan, kept).unwrap();
    let output = apply(&config, &plan, &[]).succeeds();
    output
        .reports(&json!({"level": "warning", "setting": "PLAN"}))
        .logs(&json!({"made": 8, "left_alone": 0}));
    let tree = slapd.dump();
    assert!(tree.contains_key(&format!("uid=u6,{USERS}")) && !tree.contains_key(&format!("uid=u7,{USERS}")));
}

/// Children go first, their parents after them; a name that is freed is given to another; spellings alone are changes, too.
#[test]
fn the_order_and_the_spelling_of_a_plan_are_kept() {
    let tree = format!(
        "dn: ou=old,{USERS}\nobjectClass: organizationalUnit\nou: old\n\n\
         dn: ou=inner,ou=old,{USERS}\nobjectClass: organizationalUnit\nou: inner\n\n\
         dn: cn=leaf,ou=inner,ou=old,{USERS}\nobjectClass: device\ncn: leaf\n\n"
    );
    let (slapd, twin) = (
        Slapd::start(SlapdOptions::default().seed(seed() + &tree)),
        Slapd::start(SlapdOptions::default().seed(seed() + &tree)),
    );
    let dir = scratch();
    let (plan, back) = (dir.path().join("plan.ldif"), dir.path().join("undo.ldif"));
    let rules = |server: &Slapd| {
        let mut config = config(server, &json!({}));
        config["mapping_rules"]["units"] = json!({"dn_template": format!("ou={{id}},{USERS}"),
            "object_classes": ["organizationalUnit"], "attribute_mapping": {"id": "ou"}, "on_delete": "tree"});
        config["mapping_rules"]["users"]["compare"] = json!({"title": "exact", "uid": "exact"});
        config
    };
    let text = json!({"type": "string"});
    let units = json!({"type": "SCHEMA", "stream": "units", "key_properties": ["id"], "schema": {"properties": {
        "id": text, "_sdc_deleted_at": text}}});
    let old = json!({"type": "RECORD", "stream": "units", "record": {"id": "old", "_sdc_deleted_at": "2026-11-30T00:00:00Z"}});
    let mut input = messages([
        // u0 and u1 exchange their names, u2 gets that of u3, who goes.
        user(0, &json!({"login": "u1"})),
        user(1, &json!({"login": "u0"})),
        gone(3),
        user(2, &json!({"login": "u3"})),
        // The spelling alone.
        user(4, &json!({"title": "OLD"})),
        user(5, &json!({"login": "U5"})),
    ]);
    input.extend([units, old]);
    let held = with(&rules(&slapd), &json!({"max_changes": 1, "plan_file": plan, "undo_file": back}));
    let before = slapd.dump();
    Run::target(&held).messages(&input).run().exits(5);
    apply(&held, &plan, &[]).succeeds().logs(&json!({"left_alone": 0}));
    Run::target(&rules(&twin)).messages(&input).run().succeeds();
    assert_same("an ordinary run", &twin.dump(), "apply", &slapd.dump());
    let titles = &slapd.dump()[&format!("uid=u4,{USERS}")]["title"];
    assert_eq!(titles, &[b"OLD".to_vec()].into());
    let marks = slapd.change_marks();
    apply(&held, &plan, &[]).succeeds().logs(&json!({"made": 0, "left_alone": 0}));
    assert_untouched(&slapd, &marks);
    undo(&with(&held, &json!({"max_changes": null})), &back).succeeds();
    assert_same("before", &before, "undone", &slapd.dump());
}

#[test]
fn what_is_protected_by_now_and_outside_of_the_write_base_stays() {
    let (slapd, _dir, plan, config) = held(&json!({"max_deletes": 1}));
    let marks = slapd.change_marks();
    let none = with(&config, &json!({"write_base": TEAMS}));
    let output = apply(&none, &plan, &["--dry-run"]).exits(4);
    output.logs(&json!({"made": 0, "left_alone": 9}));
    apply(&none, &plan, &[]).exits(4).logs(&json!({"made": 0}));
    assert_untouched(&slapd, &marks);
    let protect = json!({"protect": {"dns": [format!("uid=u6,{USERS}")], "filter": "(employeeNumber=0)"}});
    let mut output = apply(&with(&config, &protect), &plan, &[]).exits(4);
    for (dn, stream) in [
        (format!("uid=u6,{USERS}"), "users"),
        (format!("uid=u0,{USERS}"), "users"),
        // These would name the one who is not renamed.
        (format!("cn=t0,{TEAMS}"), "teams"),
        (format!("uid=u30,{USERS}"), "users"),
    ] {
        output = output.reports(&json!({"level": "warning", "dn": dn, "stream": stream}));
    }
    let tree = slapd.dump();
    assert!(tree.contains_key(&format!("uid=u6,{USERS}")) && tree.contains_key(&format!("uid=u0,{USERS}")));
    assert!(
        !tree.contains_key(&format!("uid=u7,{USERS}")) && tree.contains_key(&format!("uid=renamed1,{USERS}"))
    );
}

/// Killed at any moment, and run again: as if it had never been killed. And the undo files take all of it back.
#[test]
fn an_apply_that_is_killed_is_run_again() {
    let kills: u64 = std::env::var("APPLY_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let mut found_running = 0;
    for kill in 0..kills {
        let options = || SlapdOptions::default().seed(unit(USERS)).seed(many());
        let (slapd, twin) = (Slapd::start(options()), Slapd::start(options()));
        let dir = scratch();
        let plan = dir.path().join("plan.ldif");
        let more = json!({"max_changes": 1, "plan_file": plan, "undo_file": dir.path().join("undo.ldif")});
        let config = config(&slapd, &more);
        let before = slapd.dump();
        Run::target(&config).messages(&changes_of_many()).run().exits(5);
        let run =
            Run::bare(Program::Target).arg("apply").arg(plan.to_str().unwrap()).file("--config", &config);
        let mut running = run.spawn();
        // Somewhere in the middle of its changes.
        let journal = dir.path().join("undo.ldif.journal");
        let size = || std::fs::metadata(&journal).map_or(0, |file| file.len());
        while size() < 1000 + kill * 15_000 && running.child().try_wait().unwrap().is_none() {
            sleep(Duration::from_millis(1));
        }
        running.signal(Signal::KILL);
        let (code, stderr, _) = running.wait(Duration::from_secs(30));
        assert!([0, 137].contains(&code), "{code}: {stderr}");
        let is_partial = code == 137 && slapd.dump() != before;
        found_running += u64::from(is_partial);
        let output = apply(&config, &plan, &[]);
        assert_eq!(output.code, 0, "kill {kill}: {}", output.stderr);
        Run::target(&super::config(&twin, &json!({}))).messages(&changes_of_many()).run().succeeds();
        assert_same("an ordinary run", &twin.dump(), &format!("kill {kill}"), &slapd.dump());
        let open = with(&config, &json!({"max_changes": null}));
        let names: BTreeSet<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|n| n.starts_with("undo.ldif") && Path::new(n).extension().is_none_or(|e| e != "lock"))
            .collect();
        // The newest first: `undo.ldif`, then `undo.ldif.killed`.
        for name in names {
            undo(&open, &dir.path().join(name)).succeeds();
        }
        assert_same("before", &before, &format!("undone, kill {kill}"), &slapd.dump());
    }
    println!("{kills} trials: {found_running} applies killed in the middle");
    assert!(found_running * 3 >= kills, "{found_running} of {kills} were in the middle");
}

/// A unit with people, who change, leave, and go with it to another name.
fn many() -> String {
    let unit =
        format!("dn: ou=dept,{USERS}\nobjectClass: organizationalUnit\nou: dept\nbusinessCategory: 1\n\n");
    (0..240).fold(unit, |text, n| {
        format!(
            "{text}dn: uid=p{n},ou=dept,{USERS}\nobjectClass: inetOrgPerson\nuid: p{n}\ncn: p\nsn: p\nemployeeNumber: {n}\n\n"
        )
    })
}

fn changes_of_many() -> Vec<Value> {
    let mut input = schemas();
    for n in 0..240 {
        input.push(match n % 4 {
            0 => user(n, &json!({"login": format!("q{n}"), "title": "moved"})),
            1 => gone(n),
            2 => user(n, &json!({"login": format!("p{n}"), "title": "new"})),
            _ => user(1000 + n, &json!({"login": format!("n{n}")})),
        });
    }
    input
}
