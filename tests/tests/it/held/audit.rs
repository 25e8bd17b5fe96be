//! Five hundred mixed changes are held back and carried out after twenty foreign ones: the server's log, the plan and the undo file
//! agree, record for record.

use std::collections::BTreeSet;

use ldap_tests::ldif::{assert_same, normalize_dn};
use ldap_tests::run::{Program, Run, read_text};
use ldap_tests::server::scratch;
use serde_json::json;

use super::apply;
use crate::plan::matches_accesslog::{logged, messages, person, planned, start};
use crate::support::lines;
use crate::support::rng::{Rng, seed};
use crate::support::with;

#[test]
fn log_plan_and_undo_of_a_held_run_agree() {
    let seed = seed(23);
    println!("MODEL_SEED={seed} has this again");
    let (slapd, config) = start();
    let dir = scratch();
    let (plan, back) = (dir.path().join("plan.ldif"), dir.path().join("undo.ldif"));
    let held = with(&config, &json!({"max_deletes": 3, "plan_file": plan, "undo_file": back}));
    Run::target(&held).stdin(lines(&messages(&mut Rng::new(seed)))).run().exits(5);
    assert!(logged(&slapd).is_empty());
    // Twenty foreign changes: of titles, of new descriptions, and deletions.
    let rng = &mut Rng::new(seed + 1);
    let mut touched = BTreeSet::new();
    while touched.len() < 20 {
        let dn = person(rng.below(600));
        if touched.insert(normalize_dn(&dn)) {
            let change = match touched.len() % 3 {
                0 => "changetype: delete\n".to_owned(),
                1 => "changetype: modify\nreplace: title\ntitle: theirs\n-\n".to_owned(),
                _ => "changetype: modify\nreplace: mail\nmail: theirs@example.test\n-\n".to_owned(),
            };
            slapd.ldapmodify(format!("dn: {dn}\n{change}"));
        }
    }
    let foreign = logged(&slapd);
    let before = slapd.dump();
    let shown = apply(&held, &plan, &["--dry-run", "--plan-format", "json"]);
    assert_eq!(logged(&slapd), foreign, "a dry run writes nothing");
    let output = apply(&held, &plan, &[]).exits(4);
    let left: BTreeSet<String> = output
        .stderr
        .about(&json!({"level": "warning"}))
        .into_iter()
        .filter_map(|line| Some(normalize_dn(line.get("dn")?.as_str()?)))
        .collect();
    assert!(left.len() >= 5 && left.is_subset(&touched), "{left:?}");
    // What the log has is what was shown, entry by entry, after the foreign changes.
    let mut made = logged(&slapd);
    for (dn, changes) in &foreign {
        let all = made.get_mut(dn).unwrap();
        assert_eq!(all[..changes.len()], changes[..]);
        all.drain(..changes.len());
    }
    made.retain(|_, changes| !changes.is_empty());
    let shown = planned(&shown.exits(4).lines());
    for (dn, changes) in &made {
        assert_eq!(shown.get(dn), Some(changes), "seed {seed}: {dn}: shown, and logged");
        assert!(!left.contains(dn), "{dn} is left, and was changed");
    }
    assert_eq!(shown.len(), made.len());
    let count: usize = made.values().map(Vec::len).sum();
    assert!(count >= 450, "{count}");
    // The undo file has each of them, and so has the plan what was left.
    let undo_file = read_text(&back);
    assert!(undo_file.contains(&format!("# end {count}\n")), "{count} changes");
    let text = read_text(&plan);
    let total = text.matches("\n# change ").count();
    println!("{total} planned, {count} made, {} entries left", left.len());
    assert!(total > count);
    Run::bare(Program::Target)
        .arg("undo")
        .arg(back.to_str().unwrap())
        .file("--config", &with(&held, &json!({"max_deletes": null})))
        .run()
        .succeeds();
    assert_same("after the foreign changes", &before, "undone", &slapd.dump());
}
