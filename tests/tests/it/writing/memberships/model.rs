//! Rows in random order, with deletions and doubles, give the set that they say.

use std::collections::{BTreeMap, BTreeSet};

use ldap_tests::ldif::normalize_dn;
use serde_json::{Value, json};

use super::{AD, Place, RFC, ds389, gone, place, row, run, samba, slapd};
use crate::support::rng::{Rng, operations, seed};
use crate::support::{assert_untouched, done};

const PEOPLE: usize = 12;
const GROUPS: usize = 4;

/// Another spelling of the same DN.
fn respelled(dn: &str, rng: &mut Rng) -> String {
    let dn = if rng.chance(30) { dn.to_uppercase() } else { dn.to_owned() };
    if rng.chance(30) { dn.replace(',', ", ") } else { dn }
}

fn rows_equal_the_set(place: &Place<'_>, own: u64) {
    let mut rng = Rng::new(seed(own));
    let keeper = normalize_dn(&place.person("keeper"));
    let mut model: BTreeMap<String, BTreeSet<String>> =
        (0..GROUPS).map(|n| (format!("g{n}"), BTreeSet::from([keeper.clone()]))).collect();
    let by_dn = json!({"membership": {"group": "{group}", "member": "{user}", "attribute": "member"}});
    let by_template = json!({"membership": {"group": format!("cn={{group}},ou=groups,{}", place.base),
        "member": format!("{}={{user}},ou=people,{}", place.kind.naming, place.base)}});
    for round in 0..6 {
        let (rule, is_by_dn) = match round % 3 {
            0 => (super::by_filter(), false),
            1 => (by_dn.clone(), true),
            _ => (by_template.clone(), false),
        };
        let mut rows: Vec<Value> = Vec::new();
        let mut last: BTreeMap<(String, String), bool> = BTreeMap::new();
        for _ in 0..operations(60) {
            let group = format!("g{}", rng.below(GROUPS));
            let user = format!("p{}", rng.below(PEOPLE));
            let (group_name, user_name) = if is_by_dn {
                (respelled(&place.group(&group), &mut rng), respelled(&place.person(&user), &mut rng))
            } else {
                (group.clone(), user.clone())
            };
            let is_member = rng.chance(60);
            rows.push(if is_member { row(&group_name, &user_name) } else { gone(&group_name, &user_name) });
            last.insert((group, user), is_member);
        }
        let (mut added, mut deleted) = (0, 0);
        for ((group, user), is_member) in last {
            let members = model.get_mut(&group).unwrap();
            let user = normalize_dn(&place.person(&user));
            if is_member {
                added += u64::from(members.insert(user));
            } else {
                deleted += u64::from(members.remove(&user));
            }
        }
        let config = place.config(&json!({"m": rule}));
        let unchanged = u64::try_from(rows.len()).unwrap() - added - deleted;
        done(run(&config, &rows)).counts(&[("added", added), ("deleted", deleted), ("unchanged", unchanged)]);
        for (group, members) in &model {
            assert_eq!(place.members(group), *members, "{group}, round {round}");
        }
        let marks = place.server.change_marks();
        done(run(&config, &rows)).counts(&[("added", 0), ("deleted", 0)]);
        assert_untouched(place.server, &marks);
    }
}

#[test]
fn random_rows_on_slapd() {
    let slapd = slapd(PEOPLE, GROUPS);
    rows_equal_the_set(&place(&slapd, RFC), 23);
}

#[test]
fn random_rows_on_389() {
    let server = ds389(PEOPLE, GROUPS);
    rows_equal_the_set(&place(&server, RFC), 389);
}

#[test]
fn random_rows_on_samba() {
    let samba = samba(PEOPLE, GROUPS);
    rows_equal_the_set(&place(&samba, AD), 4);
}
