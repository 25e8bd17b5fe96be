//! Property test for random present and wanted entries: a run produces the wanted entries, a second run changes nothing, its
//! plan applied by `ldapmodify` does the same, and `undo_file` restores the first state, to the byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ldap_tests::client::Client;
use ldap_tests::ldif::{Tree, assert_same, normalize_dn, parse, parse_file};
use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Map, Value, json};

use crate::support::rng::{Rng, seed};
use crate::support::{assert_untouched, lines, no_panic, target_config, unit, with};

mod values;

use values::{IN_A_FILE, Kind, ON_A_SERVER};

const PLACE: &str = "ou=cases,dc=example,dc=test";
/// The attributes and their values in their normal form, by the entries' names.
type Normal = BTreeMap<String, BTreeMap<&'static str, BTreeSet<Vec<u8>>>>;

/// What a run is about: pairs of entries, as they are and as they are wanted.
struct Cases {
    kinds: &'static [Kind],
    seed: String,
    messages: Vec<Value>,
    /// What is to be there.
    wanted: Normal,
    /// Values that are to be there, as a client would write them.
    claims: Vec<(String, &'static str, Vec<u8>)>,
}

impl Cases {
    fn new(kinds: &'static [Kind], count: usize, rng: &mut Rng) -> Cases {
        let (seed, messages) = (unit(PLACE), vec![schema(kinds)]);
        let mut cases = Cases { kinds, seed, messages, wanted: BTreeMap::new(), claims: Vec::new() };
        for n in 0..count {
            cases.add(n, rng);
        }
        cases
    }

    /// One entry: there or not, and wanted, or to be gone.
    fn add(&mut self, n: usize, rng: &mut Rng) {
        let name = *rng.pick(&["case", "Case, with = comma", "\u{e9}t\u{e9}", "#x "]);
        let value = format!("{name}{n}");
        let escaped = value.replace(',', "\\,").replace('=', "\\=").replace('#', "\\#");
        let dn = format!("cn={escaped},{PLACE}");
        let (there, gone) = (rng.chance(80), rng.chance(10));
        let mut wanted = BTreeMap::new();
        if there {
            write!(
                self.seed,
                "dn:: {}\nobjectClass: inetOrgPerson\nobjectClass: testThing\ncn:: {}\nsn: x\n",
                STANDARD.encode(&dn),
                STANDARD.encode(&value)
            )
            .unwrap();
            for kind in self.kinds {
                if rng.chance(40) {
                    continue;
                }
                let mut normal = BTreeSet::new();
                for _ in 0..=rng.below(kind.most) {
                    let spelled = kind.value(rng).octets;
                    if normal.insert(kind.normal(&spelled)) {
                        writeln!(self.seed, "{}:: {}", kind.attribute, STANDARD.encode(&spelled)).unwrap();
                    }
                }
                wanted.insert(kind.attribute, normal);
            }
            self.seed.push('\n');
        }
        let mut record =
            json!({"dn": dn, "objectClass": ["inetOrgPerson", "testThing"], "cn": [value], "sn": ["x"]});
        if gone {
            record["_sdc_deleted_at"] = json!("2026-01-01T00:00:00Z");
            self.messages.push(json!({"type": "RECORD", "stream": "cases", "record": record}));
            return;
        }
        let record_map = record.as_object_mut().unwrap();
        let mut claims = Vec::new();
        for kind in self.kinds {
            want(kind, rng, record_map, &mut wanted, &mut claims);
        }
        if !claims.is_empty() {
            let (attribute, octets) = claims.swap_remove(rng.below(claims.len()));
            self.claims.push((dn.clone(), attribute, octets));
        }
        self.messages.push(json!({"type": "RECORD", "stream": "cases", "record": record}));
        self.wanted.insert(normalize_dn(&dn), wanted);
    }
}

/// What a record says of an attribute: nothing, that there is none, or its values, some of them twice.
fn want(
    kind: &Kind,
    rng: &mut Rng,
    record: &mut Map<String, Value>,
    wanted: &mut BTreeMap<&'static str, BTreeSet<Vec<u8>>>,
    claims: &mut Vec<(&'static str, Vec<u8>)>,
) {
    if rng.chance(25) {
        return;
    }
    wanted.remove(kind.attribute);
    if rng.chance(15) {
        let none = if kind.most > 1 && rng.chance(50) { json!([]) } else { json!(null) };
        record.insert(kind.property.to_owned(), none);
        return;
    }
    let spelled: Vec<values::Spelled> = (0..=rng.below(kind.most)).map(|_| kind.value(rng)).collect();
    let normal: BTreeSet<Vec<u8>> = spelled.iter().map(|s| kind.normal(&s.octets)).collect();
    wanted.insert(kind.attribute, normal);
    if kind.comparable {
        claims.extend(spelled.iter().map(|s| (kind.attribute, s.octets.clone())));
    }
    let mut all: Vec<Value> = spelled.into_iter().map(|s| s.json).collect();
    let value = if kind.most == 1 { all.swap_remove(0) } else { json!(all) };
    record.insert(kind.property.to_owned(), value);
}

fn schema(kinds: &[Kind]) -> Value {
    let texts = json!({"type": ["null", "array"], "items": {"type": "string"}});
    let mut properties = json!({"dn": {"type": "string"}, "_sdc_deleted_at": {"type": ["null", "string"]},
        "objectClass": texts, "cn": texts, "sn": texts});
    for kind in kinds {
        properties[kind.property] = kind.schema();
    }
    json!({"type": "SCHEMA", "stream": "cases", "key_properties": ["dn"],
        "schema": {"type": "object", "properties": properties}})
}

/// A directory's entries below [`PLACE`] in the form of [`Cases::wanted`].
fn normal(tree: &Tree, kinds: &'static [Kind]) -> Normal {
    let cases = tree.iter().filter(|(dn, _)| dn.ends_with(PLACE) && *dn != PLACE);
    cases
        .map(|(dn, attributes)| {
            let known = kinds.iter().filter_map(|kind| {
                let values = attributes.get(kind.attribute)?;
                let normal: BTreeSet<Vec<u8>> = values.iter().map(|v| kind.normal(v)).collect();
                assert_eq!(normal.len(), values.len(), "{dn}: {}: two values that are one", kind.attribute);
                Some((kind.attribute, normal))
            });
            (dn.clone(), known.collect())
        })
        .collect()
}

fn modify(slapd: &Slapd, file: &Path) {
    slapd.ldapmodify(std::fs::read(file).unwrap());
}

fn assert_compares(client: &mut Client, (dn, attribute, value): &(String, &'static str, Vec<u8>)) {
    let shown = String::from_utf8_lossy(value);
    assert!(client.compares(dn, attribute, value), "{dn}: {attribute}: {shown}");
}

/// Pairs of entries in one run.
const PAIRS: usize = 70;

fn there_and_back(own_seed: u64) {
    let seed = seed(own_seed);
    let cases = Cases::new(ON_A_SERVER, PAIRS, &mut Rng::new(seed));
    let slapd = Slapd::start(SlapdOptions::default());
    // Not with slapadd: slapd puts DNs that are written into one form of its own, and slapadd does not.
    slapd.ldapadd(&cases.seed);
    let dir = scratch();
    let [plan, undo] = ["plan.ldif", "undo.ldif"].map(|name| dir.path().join(name));
    let config = with(&target_config(&slapd), &json!({"undo_file": undo}));
    let run = || Run::target(&config).stdin(lines(&cases.messages));
    let before = slapd.dump();

    let marks = slapd.change_marks();
    let planned =
        Run::target(&target_config(&slapd)).stdin(lines(&cases.messages)).arg("--dry-run").run().succeeds();
    no_panic(&planned);
    assert_untouched(&slapd, &marks);
    std::fs::write(&plan, &planned.stdout).unwrap();

    // The page has a row for each record that changes something, by the kind that the log counts.
    let page = Run::target(&target_config(&slapd)).stdin(lines(&cases.messages)).arg("--dry-run");
    let page = page.arg("--plan-format=html").run().succeeds();
    let html = page.stdout_text();
    for kind in ["added", "modified", "renamed", "deleted"] {
        let rows = html.matches(&format!("data-kind=\"{kind}\"")).count();
        assert_eq!(page.stderr.summary()[kind], rows, "MODEL_SEED={seed}: {kind}");
    }
    assert!(!html.contains("not shown below"), "MODEL_SEED={seed}");

    run().run().succeeds();
    let after = slapd.dump();
    assert!(before != after, "MODEL_SEED={seed}: nothing was changed");
    assert_eq!(normal(&after, cases.kinds), cases.wanted, "MODEL_SEED={seed}");
    assert!(cases.claims.len() > PAIRS / 2);
    let mut client = Client::admin(&slapd);
    for claim in &cases.claims {
        assert_compares(&mut client, claim);
    }

    let again =
        Run::target(&target_config(&slapd)).stdin(lines(&cases.messages)).arg("--dry-run").run().succeeds();
    assert_eq!(again.stdout_text(), "", "MODEL_SEED={seed}: a second run has nothing to do");
    let marks = slapd.change_marks();
    Run::target(&target_config(&slapd)).stdin(lines(&cases.messages)).run().succeeds();
    assert_untouched(&slapd, &marks);

    modify(&slapd, &undo);
    assert_same("before", &before, &format!("taken back (MODEL_SEED={seed})"), &slapd.dump());
    modify(&slapd, &plan);
    assert_same("the run", &after, &format!("the plan (MODEL_SEED={seed})"), &slapd.dump());
}

#[test]
fn what_is_wanted_is_reached_and_can_be_taken_back() {
    there_and_back(71);
}

#[test]
fn what_is_wanted_is_reached_and_can_be_taken_back_with_another_seed() {
    there_and_back(72);
}

#[test]
fn what_is_wanted_is_reached_and_can_be_taken_back_with_a_third_seed() {
    there_and_back(73);
}

/// The change records at a file's end carried out: a run does so when it reads its destination.
fn carried_out(content: &[u8], changes: &[u8]) -> Tree {
    let dir = scratch();
    let file = dir.path().join("d.ldif");
    std::fs::write(&file, [content, b"\n", changes].concat()).unwrap();
    // Something to do, so that the file is written.
    let more = json!({"type": "RECORD", "stream": "cases", "record": {
        "dn": "ou=more,dc=example,dc=test", "objectClass": ["organizationalUnit"]}});
    let config = json!({"server_url": format!("ldif:{}", file.display())});
    Run::target(&config).messages(&[schema(&[]), more]).run().succeeds();
    let mut tree = parse_file(&file);
    assert!(tree.remove("ou=more,dc=example,dc=test").is_some());
    tree
}

#[test]
fn a_thousand_entries_in_files_are_reached_and_can_be_taken_back() {
    for own_seed in [74, 75, 76] {
        let seed = seed(own_seed);
        println!("MODEL_SEED={seed} has this again");
        let cases = Cases::new(IN_A_FILE, 340, &mut Rng::new(seed));
        let dir = scratch();
        let [file, undo] = ["d.ldif", "undo.ldif"].map(|name| dir.path().join(name));
        let config = json!({"server_url": format!("ldif:{}", file.display())});
        let root = "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n";
        std::fs::write(&file, root.to_owned() + &cases.seed).unwrap();
        let first = std::fs::read(&file).unwrap();
        let input = || Run::target(&config).stdin(lines(&cases.messages));
        let plan = input().arg("--dry-run").run().succeeds().stdout;
        assert_eq!(std::fs::read(&file).unwrap(), first);
        let undone = Run::target(&with(&config, &json!({"undo_file": undo}))).stdin(lines(&cases.messages));
        undone.run().succeeds();
        let after = std::fs::read(&file).unwrap();
        assert_eq!(normal(&parse(&after), cases.kinds), cases.wanted, "MODEL_SEED={seed}");
        assert_eq!(input().arg("--dry-run").run().succeeds().stdout_text(), "", "MODEL_SEED={seed}");
        let back = carried_out(&after, &std::fs::read(&undo).unwrap());
        assert_same("before", &parse(&first), "taken back", &back);
        assert_same("the run", &parse(&after), "the plan", &carried_out(&first, &plan));
    }
}
