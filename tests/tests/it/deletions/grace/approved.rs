//! The days begin when a plan is carried out, and when an undo gives an entry back: not when the plan was made, or the entry was lost.

use std::path::Path;

use super::*;
use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::slapd::scratch;

const ADA: &str = "uid=ada,ou=gone,ou=archive,dc=example,dc=test";

fn second() -> chrono::DateTime<chrono::Utc> {
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    chrono::Utc::now() - chrono::TimeDelta::seconds(1)
}

fn since(tree: &Tree) -> chrono::DateTime<chrono::Utc> {
    time_of(&marker(tree, ADA).0.unwrap())
}

fn command(config: &Value, command: &str, file: &Path) -> Output {
    let config = with(config, &json!({"undo_file": null}));
    let output = Run::target(&config).arg(command).arg(file.display().to_string()).run();
    no_panic(&output);
    output
}

fn an_approved_plan(config: &Value, folder: &Path, dump: &dyn Fn() -> Tree) {
    let plan = folder.join("plan.ldif");
    let held = with(config, &json!({"max_deletes": 0, "plan_file": plan, "first_run": "apply"}));
    run(&held, &[leaves("1", "ada")]).exits(5);
    let now = second();
    command(&held, "apply", &plan).exits(0);
    let tree = dump();
    assert!(since(&tree) >= now, "{} {now}", since(&tree));
    second();
    // Once more, after the whole.
    command(&held, "apply", &plan).exits(0);
    assert_eq!(dump(), tree);
}

#[test]
fn the_days_of_an_approved_plan_begin_when_it_is_carried_out() {
    let slapd = start(&person("1", "ada", PEOPLE));
    let folder = scratch();
    let config = config(&slapd, &json!({}));
    an_approved_plan(&config, folder.path(), &|| slapd.dump());
    let tree = slapd.dump();
    // After a part of it.
    slapd.ldapmodify(format!(
        "dn: {ADA}\nchangetype: modrdn\nnewrdn: uid=ada\ndeleteoldrdn: 1\nnewsuperior: {PEOPLE}\n\n"
    ));
    command(&config, "apply", &folder.path().join("plan.ldif")).exits(0);
    assert_eq!(slapd.dump(), tree);
}

#[test]
fn the_days_of_an_approved_plan_for_a_file_begin_when_it_is_carried_out() {
    let folder = scratch();
    let file = folder.path().join("d.ldif");
    let text = format!(
        "dn: {BASE}\nobjectClass: domain\ndc: example\n\n{}{}",
        unit(PEOPLE),
        person("1", "ada", PEOPLE)
    );
    std::fs::write(&file, text).unwrap();
    let config =
        json!({"mapping_rules": {"people": rule()}, "server_url": format!("ldif:{}", file.display())});
    let read = || ldap_tests::ldif::parse(&std::fs::read(&file).unwrap());
    an_approved_plan(&config, folder.path(), &read);
}

fn what_an_undo_gives_back(server: &Server) {
    let folder = scratch();
    let file = |name: &str| folder.path().join(name);
    let config = config(server, &json!({}));
    let undoing = |name: &str| with(&config, &json!({"undo_file": file(name)}));
    let before = server.dump();
    left(&undoing("left"), "1", "ada");
    age(server, MARKER, &server.dump(), 40);
    let aside = server.dump();

    // Of a return.
    done(run(&undoing("back"), &[joins("1", "ada")])).counts(&[("renamed", 1)]);
    let now = second();
    let dry = with(&config, &json!({"undo_file": null}));
    let plan = Run::target(&dry).arg("undo").arg(file("back").display().to_string()).arg("--dry-run").run();
    assert!(
        plan.exits(0).stdout_text().contains(&format!("ldap-target:1 deleted={}", now.format("%Y%m%d%H")))
    );
    command(&config, "undo", &file("back")).exits(0);
    let back = server.dump();
    assert!(since(&back) >= now);
    assert_eq!(undated(back.clone()), undated(aside.clone()));
    done(run(&config, &[])).counts(&[("deleted", 0)]);
    // Once more, and what was before it.
    second();
    command(&config, "undo", &file("back")).exits(0);
    assert_eq!(server.dump(), back);
    command(&config, "undo", &file("left")).exits(0);
    let mut after = server.dump();
    after.retain(|dn, _| before.contains_key(dn));
    assert_eq!(after, before);

    // Of a deletion for good.
    left(&config, "1", "ada");
    age(server, MARKER, &server.dump(), 40);
    done(run(&undoing("over"), &[])).counts(&[("deleted", 1)]);
    let now = second();
    command(&config, "undo", &file("over")).exits(0);
    let back = server.dump();
    assert!(since(&back) >= now);
    assert_eq!(undated(back.clone()), undated(aside));
    done(run(&config, &[])).counts(&[("deleted", 0)]);
    second();
    command(&config, "undo", &file("over")).exits(0);
    assert_eq!(server.dump(), back);
    age(server, MARKER, &back, 30);
    done(run(&config, &[])).counts(&[("deleted", 1)]);
}

#[test]
fn the_days_of_what_an_undo_gives_back_begin_anew_on_openldap() {
    what_an_undo_gives_back(&start(&person("1", "ada", PEOPLE)));
}

#[test]
fn the_days_of_what_an_undo_gives_back_begin_anew_on_389() {
    let options = Ds389Options::default().seed(unit(PEOPLE) + &person("1", "ada", PEOPLE));
    what_an_undo_gives_back(&Ds389::start(&options));
}

#[test]
fn a_plan_of_a_deletion_for_good_is_not_of_an_entry_whose_days_began_anew() {
    let slapd = start(&person("1", "ada", PEOPLE));
    let folder = scratch();
    let plan = folder.path().join("plan.ldif");
    let config = config(&slapd, &json!({}));
    left(&config, "1", "ada");
    age(&slapd, MARKER, &slapd.dump(), 40);
    let held = with(&config, &json!({"max_deletes": 0, "plan_file": plan, "first_run": "apply"}));
    run(&held, &[]).exits(5);
    age(&slapd, MARKER, &slapd.dump(), 0);
    let before = slapd.dump();
    command(&held, "apply", &plan).exits(4);
    assert_eq!(slapd.dump(), before);
}
