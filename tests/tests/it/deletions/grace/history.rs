//! Property: a history of joins, leaves, days and kills against a model.

use super::*;
use crate::support::rng::{Rng, seed};
use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::samba::{SUFFIX, Samba};

/// Where the history takes place.
struct Scene<'s> {
    server: &'s Server,
    people: String,
    gone: String,
    rdn: &'static str,
    marker: &'static str,
    /// An attribute that deletions set, and one that only people write.
    set: &'static str,
    own: &'static str,
    class: &'static str,
}

/// A person of the model.
#[derive(Debug, Clone, Default)]
struct Person {
    /// Days since the person left; `None`: here.
    gone: Option<i64>,
    /// What somebody wrote by hand.
    note: String,
    name: String,
}

const DAYS: i64 = 10;

fn play(scene: &Scene<'_>, steps: usize) {
    let mut random = Rng::new(seed(23));
    let mut model: BTreeMap<usize, Person> = BTreeMap::new();
    let rule = json!({
        "dn_template": format!("{}={{uid}},{}", scene.rdn, scene.people),
        "object_classes": [scene.class],
        "attribute_mapping": {"id": "employeeNumber", "uid": "uid", "name": ["cn", "sn"]},
        "match": "(employeeNumber={id})",
        "scope_base": scene.people,
        "on_delete": {"set": {scene.set: "left"}, "move_to": scene.gone,
            "then": {"delete_after_days": DAYS, "marker": scene.marker}},
    });
    let mut rule = rule;
    if scene.rdn == "cn" {
        rule["attribute_mapping"] = json!({"id": "employeeNumber", "uid": "cn", "name": "sn"});
    }
    let config = with(&target_config(scene.server), &json!({"mapping_rules": {"people": rule}}));
    for step in 0..steps {
        let mut records = Vec::new();
        for id in 0..5 {
            if !random.chance(40) {
                continue;
            }
            // A name may change while its person is away.
            let name = format!("p{id}{}", ["", "x"][random.below(2)]);
            if random.chance(50) {
                records.push(leaves(&id.to_string(), &name));
                if let Some(person) = model.get_mut(&id) {
                    person.gone.get_or_insert(0);
                }
            } else {
                records.push(joins(&id.to_string(), &name));
                let person = model.entry(id).or_default();
                (person.gone, person.name) = (None, name);
            }
        }
        let mut messages = input(&records);
        // Nothing is deleted for good by an input that may have broken off.
        let is_whole = random.chance(80);
        if !is_whole {
            messages.pop();
            messages.push(joins("9", "p9"));
            let person = model.entry(9).or_default();
            (person.gone, person.name) = (None, "p9".into());
        }
        no_panic(&Run::target(&config).messages(&messages).run().succeeds());
        if is_whole {
            model.retain(|_, person| person.gone.is_none_or(|days| days < DAYS));
        }
        check(scene, &model, step);
        // Somebody writes by hand, and days go by.
        for (id, dn) in by_number(&below(scene)) {
            let person = model.get_mut(&id.parse().unwrap()).unwrap();
            if random.chance(30) {
                person.note = format!("note {step}");
                scene.server.ldapmodify(format!(
                    "dn: {dn}\nchangetype: modify\nreplace: {0}\n{0}: {1}\n-\n\n",
                    scene.own, person.note
                ));
            }
            if let Some(days) = &mut person.gone {
                *days += i64::try_from(random.below(7)).unwrap();
                let mut one = below(scene);
                one.retain(|other, _| *other == dn);
                assert_eq!(age(scene.server, scene.marker, &one, *days), 1, "step {step}: {dn}");
            }
        }
    }
}

fn below(scene: &Scene<'_>) -> Tree {
    let mut tree = scene.server.dump();
    let is_in = |dn: &str, base: &str| dn.to_lowercase().ends_with(&format!(",{}", base.to_lowercase()));
    tree.retain(|dn, _| is_in(dn, &scene.people) || is_in(dn, &scene.gone));
    tree
}

fn check(scene: &Scene<'_>, model: &BTreeMap<usize, Person>, step: usize) {
    let tree = below(scene);
    let people = by_number(&tree);
    let numbers: Vec<String> = model.keys().map(ToString::to_string).collect();
    assert_eq!(people.keys().cloned().collect::<Vec<_>>(), numbers, "step {step}: {model:?}");
    for (id, person) in model {
        let dn = &people[&id.to_string()];
        let entry = &tree[dn];
        let texts = |name: &str| -> Vec<String> {
            let all = entry.get(&name.to_lowercase()).into_iter().flatten();
            all.map(|v| String::from_utf8_lossy(v).into_owned()).collect()
        };
        let place = if person.gone.is_some() { &scene.gone } else { &scene.people };
        assert!(dn.to_lowercase().ends_with(&place.to_lowercase()), "step {step}: {dn}: {person:?}");
        let set: &[&str] = if person.gone.is_some() { &["left"] } else { &[] };
        assert_eq!(texts(scene.set), set, "step {step}: {dn}");
        assert_eq!(texts(scene.marker).len(), set.len(), "step {step}: {dn}");
        let note: &[&str] = if person.note.is_empty() { &[] } else { &[&person.note] };
        assert_eq!(texts(scene.own), note, "step {step}: {dn}");
        if person.gone.is_none() {
            let rdn = dn.split(',').next().unwrap().split_once('=').unwrap().1.to_lowercase();
            assert_eq!(rdn, person.name, "step {step}");
        }
    }
}

fn posix(server: &Server) -> Scene<'_> {
    Scene {
        server,
        people: PEOPLE.into(),
        gone: GONE.into(),
        rdn: "uid",
        marker: MARKER,
        set: "title",
        own: "roomNumber",
        class: "inetOrgPerson",
    }
}

#[test]
fn a_history_of_joins_and_leaves_is_as_its_model_says_on_openldap() {
    play(&posix(&start("")), 40);
}

#[test]
fn a_history_of_joins_and_leaves_is_as_its_model_says_on_389() {
    play(&posix(&Ds389::start(&Ds389Options::default().seed(unit(PEOPLE)))), 30);
}

#[test]
fn a_history_of_joins_and_leaves_is_as_its_model_says_on_active_directory() {
    let (people, gone) = (format!("OU=people,{SUFFIX}"), format!("OU=gone,{SUFFIX}"));
    let samba = Samba::start(&unit(&people));
    let scene = Scene {
        server: &samba,
        people,
        gone,
        rdn: "cn",
        marker: "info",
        set: "title",
        own: "roomNumber",
        class: "user",
    };
    play(&scene, 20);
}
