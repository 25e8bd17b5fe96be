//! Who comes back gets the same entry back as it was.

use super::*;
use crate::support::assert_untouched;
use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::slapd::scratch;

fn all(tree: &Tree, dn: &str, name: &str) -> Vec<String> {
    let values = tree[dn].get(name).into_iter().flatten();
    values.map(|v| String::from_utf8_lossy(v).into_owned()).collect()
}

fn goes_and_comes_back(server: &Server) {
    let config = config(server, &json!({}));
    let (ada, there) = (format!("uid=ada,{PEOPLE}"), format!("uid=ada,{GONE}"));
    let before = server.dump_attributes(&["*", "entryUUID", "nsUniqueId"]);
    left(&config, "1", "ada");
    let tree = server.dump();
    assert!(!tree.contains_key(&ada));
    assert_eq!((all(&tree, &there, "title"), all(&tree, &there, "l")), (vec!["left".to_owned()], vec![]));
    let (value, others) = marker(&tree, &there);
    let value = value.unwrap();
    assert_eq!(others, ["a note"]);
    let (time, back) = value.strip_prefix("ldap-target:1 deleted=").unwrap().split_once(' ').unwrap();
    assert!(time.starts_with(&chrono::Utc::now().format("%Y").to_string()), "{value}");
    let back: Value = serde_json::from_str(back).unwrap();
    assert_eq!((&back["stream"], &back["dn"]), (&json!("people"), &json!(ada)));
    assert_eq!(back["set"]["title"]["to"], json!(["left"]));
    assert_eq!(back["set"]["l"], json!({"was": ["Berne"], "to": []}));

    // Another deletion, and runs without the record, change nothing: the day stays.
    let marks = server.change_marks();
    done(run(&config, &[leaves("1", "ada")])).counts(&[("unchanged", 1)]);
    done(run(&config, &[]));
    assert_untouched(server, &marks);

    done(run(&config, &[joins("1", "ada")])).counts(&[("renamed", 1), ("added", 0)]);
    let mut after = server.dump_attributes(&["*", "entryUUID", "nsUniqueId"]);
    after.retain(|dn, _| before.contains_key(dn));
    assert_eq!(after, before);
    let marks = server.change_marks();
    done(run(&config, &[joins("1", "ada")])).counts(&[("unchanged", 1)]);
    assert_untouched(server, &marks);
}

#[test]
fn who_comes_back_has_the_same_entry_as_it_was_on_openldap() {
    goes_and_comes_back(&start(&person("1", "ada", PEOPLE)));
}

#[test]
fn who_comes_back_has_the_same_entry_as_it_was_on_389() {
    let options = Ds389Options::default().seed(unit(PEOPLE) + &person("1", "ada", PEOPLE));
    goes_and_comes_back(&Ds389::start(&options));
}

#[test]
fn who_comes_back_has_what_the_record_says_and_what_others_changed() {
    let slapd = start(&person("1", "ada", PEOPLE));
    let mut config = config(&slapd, &json!({}));
    left(&config, "1", "ada");
    let there = format!("uid=ada,{GONE}");
    slapd.ldapmodify(format!("dn: {there}\nchangetype: modify\nreplace: title\ntitle: by hand\n-\nreplace: roomNumber\nroomNumber: 9\n-\n\n"));
    config["mapping_rules"]["people"]["values"] = json!({"l": "Basle"});
    // She has married, and the policy forbids renames: a deletion has moved her.
    config["mapping_rules"]["people"]["operations"] = json!({"rename": false});
    let output = done(run(&config, &[joins("1", "ada.x")])).counts(&[("renamed", 1)]);
    output.stderr.reports(&json!({"dn": format!("uid=ada.x,{PEOPLE}"), "level": "warning"}));
    let (tree, now) = (slapd.dump(), format!("uid=ada.x,{PEOPLE}"));
    assert_eq!(all(&tree, &now, "title"), ["by hand"]);
    assert_eq!(all(&tree, &now, "l"), ["Basle"]);
    assert_eq!(all(&tree, &now, "roomnumber"), ["9"]);
    assert_eq!(marker(&tree, &now), (None, vec!["a note".to_owned()]));
}

#[test]
fn who_comes_back_is_found_whatever_number_the_name_got() {
    let note = "dn: uid=ada,ou=gone,ou=archive,dc=example,dc=test\nobjectClass: inetOrgPerson\nuid: ada\ncn: x\nsn: x\n\
                employeeNumber: 1\ndescription: set aside by hand\n\n";
    let seed = [&unit(&format!("ou=archive,{BASE}")), &unit(GONE), note, &person("1", "ada", PEOPLE)]
        .map(String::from);
    let slapd = start(&seed.concat());
    let config = config(&slapd, &json!({}));
    let before = slapd.dump();
    left(&config, "1", "ada");
    assert!(marker(&slapd.dump(), &format!("uid=ada 2,{GONE}")).0.is_some());
    // What somebody has put there by hand has no marker: nobody comes back to it.
    done(run(&config, &[joins("1", "ada")])).counts(&[("renamed", 1), ("added", 0)]);
    assert_eq!(slapd.dump(), before);
}

#[test]
fn in_one_run_who_leaves_and_comes_back_and_who_never_was_there() {
    let slapd = start(&(person("1", "ada", PEOPLE) + &person("2", "bob", PEOPLE)));
    let config = config(&slapd, &json!({}));
    let before = slapd.dump();
    let all = [leaves("1", "ada"), leaves("3", "eve"), joins("1", "ada"), joins("2", "bob")];
    done(run(&config, &all));
    let mut after = slapd.dump();
    after.retain(|dn, _| !dn.contains("archive"));
    assert_eq!(after, before);
}

#[test]
fn a_name_that_was_taken_meanwhile_is_an_error_of_the_record() {
    let slapd = start(&person("1", "ada", PEOPLE));
    let config = config(&slapd, &json!({}));
    left(&config, "1", "ada");
    done(run(&config, &[joins("2", "ada")])).counts(&[("added", 1)]);
    let before = slapd.dump();
    no_panic(&run(&config, &[joins("1", "ada")]).exits(1));
    assert_eq!(slapd.dump(), before);
}

#[test]
fn a_run_that_was_killed_between_two_steps_is_completed() {
    let slapd = start(&person("1", "ada", PEOPLE));
    let config = config(&slapd, &json!({}));
    let before = slapd.dump();
    left(&config, "1", "ada");
    let aside = slapd.dump();
    let moved = |from: &str, to: &str| {
        slapd.ldapmodify(format!(
            "dn: uid=ada,{from}\nchangetype: modrdn\nnewrdn: uid=ada\ndeleteoldrdn: 1\nnewsuperior: {to}\n\n"
        ));
    };
    // Marked, and not moved: the deletion once more; then a complete run without it.
    moved(GONE, PEOPLE);
    done(run(&config, &[leaves("1", "ada")])).counts(&[("moved", 1)]);
    assert_eq!(undated(slapd.dump()), undated(aside.clone()));
    // The days begin with the move.
    age(&slapd, MARKER, &slapd.dump(), 40);
    moved(GONE, PEOPLE);
    done(run(&config, &[])).counts(&[("deleted", 0)]);
    assert_eq!(undated(slapd.dump()), undated(aside));
    done(run(&config, &[])).counts(&[("deleted", 0)]);
    // Moved back, and still marked.
    moved(GONE, PEOPLE);
    done(run(&config, &[joins("1", "ada")])).counts(&[("modified", 1)]);
    let mut after = slapd.dump();
    after.retain(|dn, _| before.contains_key(dn));
    assert_eq!(after, before);
}

#[test]
fn a_marker_without_a_place_of_its_own_and_one_that_is_not_understood_are_errors() {
    let seed = person("1", "ada", PEOPLE).replace("title: Clerk", "preferredLanguage: de\ntitle: Clerk");
    let slapd = start(&seed);
    let single =
        json!({"set": {"title": "left"}, "then": {"delete_after_days": 30, "marker": "preferredLanguage"}});
    let before = slapd.dump();
    no_panic(&run(&config(&slapd, &json!({"on_delete": single})), &[leaves("1", "ada")]).exits(1));
    assert_eq!(slapd.dump(), before);
    // Of another version, where the rule sets aside.
    let config = config(&slapd, &json!({}));
    left(&config, "1", "ada");
    let there = format!("uid=ada,{GONE}");
    write_marker(&slapd, &there, "replace", "ldap-target:2 x");
    let before = slapd.dump();
    let output = done(run(&config, &[]));
    output.stderr.reports(&json!({"dn": there, "level": "warning"}));
    no_panic(&run(&config, &[joins("1", "ada")]).exits(1));
    assert_eq!(slapd.dump(), before);
}

#[test]
fn a_file_and_undo_and_a_dry_run_do_the_same() {
    let folder = scratch();
    let file = folder.path().join("d.ldif");
    let text = format!(
        "dn: {BASE}\nobjectClass: domain\ndc: example\n\n{}{}",
        unit(PEOPLE),
        person("1", "ada", PEOPLE)
    );
    std::fs::write(&file, &text).unwrap();
    let read = || ldap_tests::ldif::parse(&std::fs::read(&file).unwrap());
    let rules =
        json!({"mapping_rules": {"people": rule()}, "server_url": format!("ldif:{}", file.display())});
    let before = read();
    left(&rules, "1", "ada");
    assert!(marker(&read(), &format!("uid=ada,{GONE}")).0.is_some());
    // No entry `ou=gone` is in the file; the plan is that of the run.
    let plan = Run::target(&rules).arg("--dry-run").messages(&input(&[joins("1", "ada")])).run().succeeds();
    assert!(!plan.stdout_text().contains("changetype: add"), "{}", plan.stdout_text());
    done(run(&rules, &[joins("1", "ada")])).counts(&[("renamed", 1)]);
    let mut after = read();
    after.retain(|dn, _| before.contains_key(dn));
    assert_eq!(after, before);

    let slapd = start(&person("1", "ada", PEOPLE));
    let undo = folder.path().join("undo.ldif");
    let config = with(&config(&slapd, &json!({})), &json!({"undo_file": undo}));
    let before = slapd.dump();
    let plan = Run::target(&config).arg("--dry-run").messages(&input(&[leaves("1", "ada")])).run().succeeds();
    assert_eq!(slapd.dump(), before);
    let plan = plan.stdout_text();
    assert!(plan.contains("changetype: modify") && plan.contains("changetype: mod"), "{plan}");
    left(&config, "1", "ada");
    let aside = slapd.dump();
    let without_undo = with(&config, &json!({"undo_file": null}));
    let undone = || {
        let output = Run::target(&without_undo).arg("undo").arg(undo.display().to_string()).run();
        no_panic(&output);
        output
    };
    undone().exits(0);
    let mut after = slapd.dump();
    after.retain(|dn, _| before.contains_key(dn));
    assert_eq!(after, before);
    left(&config, "1", "ada");
    done(run(&config, &[joins("1", "ada")]));
    undone().exits(0);
    assert_eq!(by_number(&slapd.dump()), by_number(&aside));
}
