//! The plan equals the changes that the server logs, record for record (slapo-accesslog(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ldap_tests::ldif::normalize_dn;
use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::rng::{Rng, seed};
use crate::support::{lines, target_config, unit, with};

const PEOPLE: &str = "ou=people,dc=example,dc=test";
const GONE: &str = "ou=gone,dc=example,dc=test";
const MOVED: &str = "ou=movers,dc=example,dc=test";
/// People who are renamed and moved.
const MOVERS: usize = 60;
/// Records; some of them change nothing, and some need more than one change.
const RECORDS: usize = 600;

/// What one change does: its type, and each value it adds (`+`), deletes (`-`) or replaces others by (`=`).
pub(crate) type Done = (String, BTreeSet<String>);
/// What is done to each entry, in order. Changes of entries that have nothing to do with each other have none.
pub(crate) type ByEntry = BTreeMap<String, Vec<Done>>;

/// What a server keeps itself, and logs with what it was asked for.
const OWN: &[&str] = &[
    "structuralobjectclass",
    "entryuuid",
    "creatorsname",
    "createtimestamp",
    "entrycsn",
    "modifiersname",
    "modifytimestamp",
];

/// `attribute:+ value`, as the log has it.
fn step(attribute: &str, sign: char, value: Option<&str>) -> String {
    let attribute = attribute.to_lowercase();
    value.map_or_else(|| format!("{attribute}:{sign}"), |value| format!("{attribute}:{sign} {value}"))
}

fn steps(attribute: &str, sign: char, values: &Value) -> Vec<String> {
    let values = values.as_array().unwrap();
    match values.as_slice() {
        [] => vec![step(attribute, sign, None)],
        values => values.iter().map(|v| step(attribute, sign, Some(v.as_str().unwrap()))).collect(),
    }
}

fn rename(new_rdn: &str, delete_old: &str, superior: &str) -> BTreeSet<String> {
    BTreeSet::from([format!("{new_rdn} {delete_old} {}", normalize_dn(superior))])
}

pub(crate) fn planned(changes: &[Value]) -> ByEntry {
    let mut all = ByEntry::new();
    for change in changes {
        let text = |key: &str| change[key].as_str().unwrap_or_default();
        let done = match text("operation") {
            "add" => {
                change["attributes"].as_object().unwrap().iter().flat_map(|(a, v)| steps(a, '+', v)).collect()
            }
            "modify" => change["changes"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|m| {
                    let sign = match m["operation"].as_str().unwrap() {
                        "add" => '+',
                        "delete" => '-',
                        _ => '=',
                    };
                    steps(m["attribute"].as_str().unwrap(), sign, &m["values"])
                })
                .collect(),
            "rename" => rename(
                text("new_rdn"),
                &change["delete_old_rdn"].to_string().to_uppercase(),
                text("new_superior"),
            ),
            _ => BTreeSet::new(),
        };
        all.entry(normalize_dn(text("dn"))).or_default().push((text("operation").to_owned(), done));
    }
    all
}

pub(crate) fn logged(slapd: &Slapd) -> ByEntry {
    let mut all = ByEntry::new();
    // Their names begin with the time.
    for (dn, entry) in slapd.dump_below("cn=accesslog", &["*"]) {
        let one = |name: &str| {
            let value = entry.get(name).and_then(|values| values.first()).cloned().unwrap_or_default();
            String::from_utf8(value).unwrap()
        };
        if !dn.starts_with("reqstart=") {
            continue;
        }
        let mods = || {
            let texts =
                entry.get("reqmod").into_iter().flatten().map(|m| String::from_utf8(m.clone()).unwrap());
            texts.map(|m| m.split_once(':').map(|(a, rest)| (a.to_lowercase(), rest.to_owned())).unwrap())
        };
        let (operation, done) = match one("reqtype").as_str() {
            "modrdn" => {
                ("rename", rename(&one("reqnewrdn"), &one("reqdeleteoldrdn"), &one("reqnewsuperior")))
            }
            "delete" => ("delete", BTreeSet::new()),
            kind @ ("add" | "modify") => {
                let own = |a: &String| OWN.contains(&a.as_str());
                let done =
                    mods().filter(|(a, _)| !own(a) && !a.is_empty()).map(|(a, rest)| format!("{a}:{rest}"));
                (if kind == "add" { "add" } else { "modify" }, done.collect())
            }
            other => panic!("{other}: {entry:?}"),
        };
        all.entry(normalize_dn(&one("reqdn"))).or_default().push((operation.to_owned(), done));
    }
    all
}

pub(crate) fn person(n: usize) -> String {
    format!("uid=p{n},{PEOPLE}")
}

/// Additions, some below parents that are to be made, modifications of every form, deletions, and people who leave.
pub(crate) fn messages(rng: &mut Rng) -> Vec<Value> {
    let texts = json!({"type": ["null", "array"], "items": {"type": "string"}});
    let text = json!({"type": ["null", "string"]});
    let schema = |stream: &str| {
        json!({"type": "SCHEMA", "stream": stream, "key_properties": ["dn"], "schema": {"properties": {
        "dn": text, "_sdc_deleted_at": text, "objectClass": texts, "uid": texts, "cn": texts, "sn": texts,
        "description": texts, "mail": texts, "title": texts, "telephoneNumber": texts, "employeeNumber": text}}})
    };
    let mut all = vec![schema("all"), schema("leavers"), schema("movers")];
    for n in 0..RECORDS {
        let mut stream = "all";
        // Some entries more than once.
        let id = if rng.chance(20) { rng.below(RECORDS) } else { n };
        let mut record = json!({"dn": person(id)});
        match rng.below(10) {
            0..3 => {
                let place =
                    if rng.chance(50) { PEOPLE.to_owned() } else { format!("ou=u{},{PEOPLE}", rng.below(9)) };
                record = json!({"dn": format!("uid=new{n},{place}"), "objectClass": ["inetOrgPerson"],
                    "uid": [format!("new{n}")], "cn": ["a", "b"], "sn": ["x"], "description": ["with: colon "]});
            }
            3..8 => {
                record["objectClass"] = json!(["inetOrgPerson"]);
                record["cn"] = json!([format!("p{id}")]);
                record["sn"] = json!(["x"]);
                // Three values of twenty: singly. All: replaced. None.
                match rng.below(4) {
                    0 => {
                        let kept = (2..20).map(|mail| format!("M{mail}@example.test"));
                        record["mail"] =
                            json!(kept.chain([format!("n{n}@example.test")]).collect::<Vec<_>>());
                    }
                    1 => record["description"] = json!([format!("new {n}"), "old"]),
                    2 => record["title"] = json!(null),
                    _ => record["telephoneNumber"] = json!(["+1 555 0100", format!("{n}")]),
                }
            }
            8 => record["_sdc_deleted_at"] = json!("2026-01-01T00:00:00Z"),
            // Found by a number whatever they are called: a new name, a new place, both, or only other values.
            9 if rng.chance(60) => {
                stream = "movers";
                let (number, name) = (rng.below(MOVERS), if rng.chance(70) { n } else { 0 });
                let place =
                    if rng.chance(50) { MOVED.to_owned() } else { format!("ou=m{},{MOVED}", rng.below(3)) };
                let uid = if name == 0 { format!("q{number}") } else { format!("r{name}") };
                record = json!({"dn": format!("uid={uid},{place}"), "objectClass": ["inetOrgPerson"], "uid": [uid],
                    "cn": ["q"], "sn": ["x"], "employeeNumber": number.to_string(), "title": [format!("t{}", rng.below(3))]});
            }
            _ => {
                stream = "leavers";
                record["_sdc_deleted_at"] = json!("2026-01-01T00:00:00Z");
            }
        }
        all.push(json!({"type": "RECORD", "stream": stream, "record": record}));
    }
    all
}

/// A server with a log of its changes and the people that the messages are about, and the configuration for them.
pub(crate) fn start() -> (Slapd, Value) {
    let mut people = String::new();
    for n in 0..RECORDS {
        let id = person(n);
        write!(
            people,
            "dn: {id}\nobjectClass: inetOrgPerson\nuid: p{n}\ncn: p{n}\nsn: x\ndescription: old\ntitle: T\n"
        )
        .unwrap();
        for mail in 0..20 {
            writeln!(people, "mail: m{mail}@example.test").unwrap();
        }
        people.push('\n');
    }
    for n in 0..MOVERS {
        let entry = format!(
            "dn: uid=q{n},{MOVED}\nobjectClass: inetOrgPerson\nuid: q{n}\ncn: q\nsn: x\nemployeeNumber: {n}\n\n"
        );
        people.push_str(&entry);
    }
    let options = SlapdOptions { accesslog: true, ..SlapdOptions::default() };
    let slapd = Slapd::start(options.seed(unit(PEOPLE)).seed(unit(MOVED)).seed(people));
    let config = with(
        &target_config(&slapd),
        &json!({"mapping_rules": {"all": {}, "leavers": {"on_delete": {"move_to": GONE}},
            "movers": {"match": "(&(objectClass=person)(employeeNumber={employeeNumber}))"}}}),
    );
    (slapd, config)
}

#[test]
fn the_plan_is_what_the_servers_log_says_was_done() {
    let seed = seed(91);
    println!("MODEL_SEED={seed} has this again");
    let (slapd, config) = start();
    let run = || Run::target(&config).stdin(lines(&messages(&mut Rng::new(seed))));
    assert!(logged(&slapd).is_empty());
    let plan = run().plan("json").run().succeeds();
    assert!(logged(&slapd).is_empty(), "a plan writes nothing");
    run().run().succeeds();
    let (planned, logged) = (planned(&plan.lines()), logged(&slapd));
    for (dn, done) in &logged {
        assert_eq!(planned.get(dn), Some(done), "seed {seed}: {dn}: planned, and logged");
    }
    assert_eq!(planned.len(), logged.len(), "seed {seed}");
    let count = |kind: &str| planned.values().flatten().filter(|(operation, _)| operation == kind).count();
    let counts = ["add", "modify", "delete", "rename"].map(count);
    assert!(counts.iter().all(|n| *n >= 20) && counts.iter().sum::<usize>() >= 500, "{counts:?}");
    let singly = planned.values().flatten().filter(|(_, done)| done.iter().any(|d| d.starts_with("mail:-")));
    assert!(singly.count() >= 10, "values are taken away singly");
}
