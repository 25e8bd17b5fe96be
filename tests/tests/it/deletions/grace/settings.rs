//! Faults in the settings of `on_delete` with `then`.

use super::*;

#[test]
fn faults_in_then_are_2_and_named() {
    let slapd = start("");
    let then = |then: Value| json!({"on_delete": {"move_to": GONE, "then": then}});
    let good = json!({"delete_after_days": 30, "marker": MARKER});
    let cases = [
        (then(json!({"delete_after_days": 0, "marker": MARKER})), "on_delete.then.delete_after_days"),
        (then(json!({"delete_after_days": 40_000, "marker": MARKER})), "on_delete.then.delete_after_days"),
        (then(json!({"marker": MARKER})), "on_delete.then"),
        (then(json!({"delete_after_days": 30})), "on_delete.then"),
        (then(json!({"delete_after_days": 30, "marker": MARKER, "x": 1})), "on_delete.then.x"),
        (then(json!({"delete_after_days": 30, "marker": "noSuch"})), "on_delete.then.marker"),
        (then(json!({"delete_after_days": 30, "marker": "userPassword"})), "on_delete.then.marker"),
        (then(json!({"delete_after_days": 30, "marker": "entryUUID"})), "on_delete.then.marker"),
        (then(json!({"delete_after_days": 30, "marker": "manager"})), "on_delete.then.marker"),
        (then(json!({"delete_after_days": 30, "marker": "description;x-a"})), "on_delete.then.marker"),
        // No class of the rule has it.
        (then(json!({"delete_after_days": 30, "marker": "gecos"})), "on_delete.then.marker"),
        (then(json!({"delete_after_days": 30, "marker": "sn"})), "attribute_mapping.name"),
        (json!({"on_delete": {"set": {"description": "x"}, "then": good}}), "on_delete.set.description"),
        (
            json!({"on_delete": {"set": {"userPassword": null}, "move_to": GONE, "then": good}}),
            "on_delete.set.userPassword",
        ),
        (json!({"scope_base": null, "on_delete": {"set": {"l": "x"}, "then": good}}), "on_delete.then"),
        (json!({"on_delete": {"move_to": GONE, "then": good, "restore": true}}), "on_delete.restore"),
        // Nothing proves whose entry it is; nothing but the marker says that it was set aside.
        (json!({"match": null}), "on_delete.then"),
        (json!({"on_delete": {"then": good}}), "on_delete.then"),
        (json!({"on_delete": {"set": {"l": null}, "then": good}}), "on_delete.then"),
        // What records write is known with their SCHEMA.
        (
            json!({"attribute_mapping": null, "on_delete": {"move_to": GONE, "then": {"delete_after_days": 1, "marker": "l"}}}),
            "on_delete.then.marker",
        ),
    ];
    for (changes, setting) in cases {
        let mut schema = schema();
        schema["schema"]["properties"]["l"] = json!({"type": "string"});
        let output = Run::target(&config(&slapd, &changes)).messages(&[schema]).run();
        no_panic(&output);
        output.exits(2).reports_setting(&format!("mapping_rules.people.{setting}"));
    }
    // A class that goes with the marker.
    let with_class = json!({"set": {"objectClass": "extensibleObject"}, "then": {"delete_after_days": 1, "marker": "gecos"}});
    done(run(&config(&slapd, &json!({"on_delete": with_class})), &[]));
}
