//! The configuration of the mirror guide, by each method: after any changes of the source, each run makes the mirror equal to it, entry by
//! entry and value by value.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ldap_tests::ldif::{Tree, differences, normalize_dn, parse_file};
use ldap_tests::run::{Output, Run};
use ldap_tests::server::{Server, scratch};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::replication::server_kind::{Directory, Kind};
use crate::support::rng::{Rng, operations, seed};
use crate::support::{discover, no_panic, normalized, resumed, tap_config, target_config, with};

/// Rounds of changes, with a run after each.
const ROUNDS: usize = 15;
const MOST_CHANGES: usize = 8;
/// So few that names are used again.
const NAMES: usize = 9;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Unit,
    Person,
    Group,
    /// Below a person.
    Device,
}

#[derive(Debug)]
struct Node {
    sort: Sort,
    rdn: String,
    /// `None`: the root.
    parent: Option<usize>,
    exists: bool,
    /// Attributes, with options, that it has.
    has: BTreeSet<&'static str>,
}

/// Random changes of the subtree below a root.
struct History {
    kind: Kind,
    root: String,
    rng: Rng,
    nodes: Vec<Node>,
    next: usize,
}

impl History {
    fn new(kind: Kind, root: &str, seed: u64) -> History {
        History { kind, root: root.to_owned(), rng: Rng::new(seed), nodes: Vec::new(), next: 0 }
    }

    fn below(&self, parent: Option<usize>) -> String {
        parent.map_or_else(|| self.root.clone(), |parent| self.dn(parent))
    }

    fn dn(&self, node: usize) -> String {
        format!("{},{}", self.nodes[node].rdn, self.below(self.nodes[node].parent))
    }

    fn all(&self, sorts: &[Sort]) -> Vec<usize> {
        let is_it = |n: &usize| self.nodes[*n].exists && sorts.contains(&self.nodes[*n].sort);
        (0..self.nodes.len()).filter(is_it).collect()
    }

    fn any(&mut self, sorts: &[Sort]) -> Option<usize> {
        let all = self.all(sorts);
        (!all.is_empty()).then(|| *self.rng.pick(&all))
    }

    fn is_below(&self, node: usize, above: usize) -> bool {
        node == above || self.nodes[node].parent.is_some_and(|parent| self.is_below(parent, above))
    }

    /// A name that is free below a parent.
    fn free(&mut self, sort: Sort, parent: Option<usize>) -> Option<String> {
        let name = if sort == Sort::Unit { "ou" } else { "cn" };
        let first = match sort {
            Sort::Unit => "u",
            Sort::Person => "p",
            Sort::Group => "g",
            Sort::Device => "d",
        };
        let rdn = format!("{name}={first}{}", self.rng.below(NAMES));
        // Names of users are unique in Active Directory's units.
        let taken = |n: &Node| n.exists && n.parent == parent && n.rdn == rdn;
        (!self.nodes.iter().any(taken)).then_some(rdn)
    }

    fn place(&mut self, sort: Sort) -> Option<usize> {
        match sort {
            Sort::Device => self.any(&[Sort::Person]),
            _ if self.rng.chance(30) => None,
            _ => self.any(&[Sort::Unit]),
        }
    }

    fn add(&mut self, ldif: &mut String) {
        let sorts: &[Sort] = match self.kind {
            Kind::ActiveDirectory => &[Sort::Unit, Sort::Person, Sort::Person],
            _ => &[Sort::Unit, Sort::Person, Sort::Person, Sort::Person, Sort::Group, Sort::Device],
        };
        let sort = *self.rng.pick(sorts);
        let parent = self.place(sort);
        if sort == Sort::Device && parent.is_none() {
            return;
        }
        if let Some(rdn) = self.free(sort, parent) {
            self.add_named(sort, rdn, parent, ldif);
        }
    }

    fn add_named(&mut self, sort: Sort, rdn: String, parent: Option<usize>, ldif: &mut String) {
        let (attribute, name) = rdn.split_once('=').unwrap();
        let number = self.number();
        write!(ldif, "dn: {rdn},{}\nchangetype: add\n{attribute}: {name}\n", self.below(parent)).unwrap();
        match (sort, self.kind) {
            (Sort::Unit, _) => ldif.push_str("objectClass: organizationalUnit\n"),
            (Sort::Person, Kind::ActiveDirectory) => {
                writeln!(ldif, "objectClass: user\nsAMAccountName: user{number}\nsn: s{number}").unwrap();
            }
            (Sort::Person, _) => {
                write!(ldif, "objectClass: inetOrgPerson\nsn: s{number}\nuserPassword: secret{number}\n")
                    .unwrap();
            }
            (Sort::Group, _) => {
                let member = self.any(&[Sort::Person]).map_or_else(|| self.root.clone(), |p| self.dn(p));
                write!(ldif, "objectClass: groupOfNames\nmember: {member}\n").unwrap();
            }
            (Sort::Device, _) => ldif.push_str("objectClass: device\n"),
        }
        ldif.push('\n');
        self.nodes.push(Node { sort, rdn, parent, exists: true, has: BTreeSet::new() });
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    fn delete(&mut self, node: usize, ldif: &mut String) {
        let below: Vec<usize> = (0..self.nodes.len())
            .filter(|n| self.nodes[*n].exists && self.nodes[*n].parent == Some(node))
            .collect();
        for child in below {
            self.delete(child, ldif);
        }
        write!(ldif, "dn: {}\nchangetype: delete\n\n", self.dn(node)).unwrap();
        self.nodes[node].exists = false;
    }

    fn move_to(&mut self, node: usize, rdn: String, parent: Option<usize>, ldif: &mut String) {
        let old = u8::from(self.kind == Kind::ActiveDirectory || self.rng.chance(80));
        write!(ldif, "dn: {}\nchangetype: modrdn\nnewrdn: {rdn}\ndeleteoldrdn: {old}\n", self.dn(node))
            .unwrap();
        if parent != self.nodes[node].parent {
            writeln!(ldif, "newsuperior: {}", self.below(parent)).unwrap();
        }
        ldif.push('\n');
        self.nodes[node].rdn = rdn;
        self.nodes[node].parent = parent;
    }

    fn rename(&mut self, ldif: &mut String) {
        let Some(node) = self.any(&[Sort::Unit, Sort::Person, Sort::Group, Sort::Device]) else { return };
        let sort = self.nodes[node].sort;
        let parent = if self.rng.chance(50) { self.nodes[node].parent } else { self.place(sort) };
        if parent.is_some_and(|p| self.is_below(p, node)) || sort == Sort::Device && parent.is_none() {
            return;
        }
        let same = self.nodes[node].rdn.clone();
        let is_taken = self.nodes.iter().any(|n| n.exists && n.parent == parent && n.rdn == same);
        if self.rng.chance(40) && parent != self.nodes[node].parent && !is_taken {
            return self.move_to(node, same, parent, ldif);
        }
        if let Some(rdn) = self.free(sort, parent) {
            self.move_to(node, rdn, parent, ldif);
        }
    }

    /// Two entries take each other's name.
    fn swap(&mut self, ldif: &mut String) {
        let sort = *self.rng.pick(&[Sort::Unit, Sort::Person]);
        let (Some(a), Some(b)) = (self.any(&[sort]), self.any(&[sort])) else { return };
        if self.is_below(a, b) || self.is_below(b, a) {
            return;
        }
        let of = |n: &Node| (n.rdn.clone(), n.parent);
        let ((a_rdn, a_parent), (b_rdn, b_parent)) = (of(&self.nodes[a]), of(&self.nodes[b]));
        let name = if sort == Sort::Unit { "ou=aside" } else { "cn=aside" };
        self.move_to(a, name.to_owned(), None, ldif);
        self.move_to(b, a_rdn, a_parent, ldif);
        self.move_to(a, b_rdn, b_parent, ldif);
    }

    fn modify(&mut self, ldif: &mut String) {
        let Some(node) = self.any(&[Sort::Person, Sort::Group]) else { return };
        let names: &[&'static str] = match (self.nodes[node].sort, self.kind) {
            (_, Kind::ActiveDirectory) => &["description", "telephoneNumber"],
            (Sort::Group, _) => &["description", "member;lang-en", "member;lang-de"],
            _ => &[
                "description",
                "mail",
                "mail;lang-en",
                "cn;lang-de",
                "userPassword",
                "description;lang-fr;lang-en",
            ],
        };
        let name = *self.rng.pick(names);
        let number = self.number();
        write!(ldif, "dn: {}\nchangetype: modify\nreplace: {name}\n", self.dn(node)).unwrap();
        // Half of them lose it, so that the last value in the directory goes again and again.
        if !self.nodes[node].has.remove(name) {
            self.nodes[node].has.insert(name);
            let value = if name.starts_with("member") {
                self.any(&[Sort::Person]).map_or_else(|| self.root.clone(), |p| self.dn(p))
            } else {
                format!("v{number}")
            };
            writeln!(ldif, "{name}: {value}").unwrap();
        }
        ldif.push('\n');
    }

    fn change(&mut self, ldif: &mut String) {
        match self.rng.below(100) {
            0..25 => self.add(ldif),
            25..50 => self.modify(ldif),
            50..72 => self.rename(ldif),
            72..82 => self.swap(ldif),
            82..92 => {
                let sorts = [Sort::Person, Sort::Person, Sort::Unit, Sort::Group, Sort::Device];
                let sort = *self.rng.pick(&sorts);
                if let Some(node) = self.any(&[sort]) {
                    self.delete(node, ldif);
                }
            }
            // Another entry under the same name.
            _ => {
                if let Some(node) = self.any(&[Sort::Person, Sort::Unit]) {
                    let (sort, rdn, parent) =
                        (self.nodes[node].sort, self.nodes[node].rdn.clone(), self.nodes[node].parent);
                    self.delete(node, ldif);
                    self.add_named(sort, rdn, parent, ldif);
                }
            }
        }
    }
}

/// What a mirror is made in.
enum Mirror {
    Slapd(Box<Slapd>),
    File(TempDir),
}

impl Mirror {
    fn config(&self) -> Value {
        match self {
            Mirror::Slapd(server) => target_config(server),
            Mirror::File(folder) => {
                json!({"server_url": format!("ldif:{}", folder.path().join("mirror.ldif").display())})
            }
        }
    }

    fn dump(&self) -> Tree {
        match self {
            Mirror::Slapd(server) => server.dump(),
            Mirror::File(folder) => parse_file(&folder.path().join("mirror.ldif")),
        }
    }
}

/// One test: a source, its mirror, and the pair with its STATE.
struct Pair {
    source: Directory,
    mirror: Mirror,
    config: Value,
    catalog: Option<Value>,
    state: Option<Value>,
    root: String,
    _index: TempDir,
}

/// As in the guide.
fn pair(kind: Kind, method: &str, key: Option<&str>) -> Pair {
    let source = Directory::start(kind);
    let mirror = match kind {
        Kind::OpenLdap => Mirror::Slapd(Box::new(Slapd::start(SlapdOptions::default()))),
        _ => Mirror::File(scratch()),
    };
    let root = format!("ou=mirrored,{}", source.suffix());
    source.ldapadd(format!("dn: {root}\nobjectClass: organizationalUnit\nou: mirrored\n"));
    let index = scratch();
    let mut stream = json!({"name": "everything", "base_dn": root, "replication_method": method});
    if let Some(key) = key {
        stream["replication_key"] = json!(key);
    }
    if kind == Kind::ActiveDirectory {
        stream["attributes"] = json!(ATTRIBUTES_OF_AD);
    }
    let config = with(
        &tap_config(&source),
        &json!({
            "base_dn": root,
            "discovery_sample_size": 0,
            "select_by_default": "allowed",
            "operational_attributes": ["userPassword"],
            "track_deletions": true,
            "state_dir": index.path(),
            "schemas": [stream],
        }),
    );
    Pair { source, mirror, config, catalog: None, state: None, root, _index: index }
}

const ATTRIBUTES_OF_AD: [&str; 7] =
    ["cn", "ou", "sn", "description", "telephoneNumber", "objectClass", "sAMAccountName"];

impl Pair {
    fn tap(&self) -> Run {
        resumed(&self.config, self.catalog.as_ref(), self.state.as_ref())
    }

    /// Runs the pair once.
    #[track_caller]
    fn run(&mut self) -> (Output, Output) {
        let tap = self.tap().run().succeeds();
        no_panic(&tap);
        let target = Run::target(&self.mirror.config()).stdin(&tap.stdout).run();
        no_panic(&target);
        self.state = target.lines().pop();
        (tap, target)
    }

    fn differences(&self) -> Vec<String> {
        let source: &Server = &self.source;
        let mut there = if self.source.kind() == Kind::ActiveDirectory {
            source.dump_below(&self.root, &ATTRIBUTES_OF_AD)
        } else {
            source.dump()
        };
        let mut copy = self.mirror.dump();
        let root = normalize_dn(&self.root);
        for tree in [&mut there, &mut copy] {
            tree.retain(|dn, _| dn.ends_with(&root));
            if self.source.kind() == Kind::ActiveDirectory {
                let is_compared = |name: &str| ATTRIBUTES_OF_AD.iter().any(|a| a.eq_ignore_ascii_case(name));
                for attributes in tree.values_mut() {
                    attributes.retain(|name, _| is_compared(name));
                }
            }
        }
        differences("source", &normalized(&there), "mirror", &normalized(&copy))
    }
}

fn play(kind: Kind, method: &str, key: Option<&str>, with_catalog: bool, own_seed: u64) {
    let seed = seed(own_seed);
    let mut pair = pair(kind, method, key);
    let mut history = History::new(kind, &pair.root, seed);
    let mut ldif = String::new();
    // The catalog has their classes.
    history.add_named(Sort::Person, "cn=p0".to_owned(), None, &mut ldif);
    if kind != Kind::ActiveDirectory {
        history.add_named(Sort::Group, "cn=g0".to_owned(), None, &mut ldif);
        history.add_named(Sort::Device, "cn=d0".to_owned(), Some(0), &mut ldif);
    }
    for _ in 0..12 {
        history.add(&mut ldif);
    }
    pair.source.ldapmodify(&ldif);
    pair.catalog = with_catalog.then(|| discover(&pair.config));
    pair.run().1.succeeds();
    for round in 0..operations(ROUNDS) {
        let mut ldif = String::new();
        for _ in 0..=history.rng.below(MOST_CHANGES) {
            history.change(&mut ldif);
        }
        if ldif.is_empty() {
            continue;
        }
        pair.source.ldapmodify(&ldif);
        // By times of a second, a change in the second of the last run is emitted by the next one at the latest.
        if key.is_some() {
            std::thread::sleep(std::time::Duration::from_millis(1_100));
        }
        let (tap, target) = pair.run();
        let differences = pair.differences();
        assert!(
            differences.is_empty() && target.code == 0,
            "MODEL_SEED={seed}, round {round}: {} differences, exit code {}:\n{}\n\n{ldif}\nthe tap:\n{}\n{}\nthe target:\n{}",
            differences.len(),
            target.code,
            differences.join("\n"),
            tap.stdout_text(),
            tap.stderr,
            target.stderr
        );
    }
}

#[test]
fn log_based_on_openldap() {
    play(Kind::OpenLdap, "LOG_BASED", None, true, 201);
}

#[test]
fn incremental_on_openldap() {
    play(Kind::OpenLdap, "INCREMENTAL", None, true, 202);
}

#[test]
fn full_table_on_openldap() {
    play(Kind::OpenLdap, "FULL_TABLE", None, true, 203);
}

#[test]
fn log_based_with_a_new_catalog_each_time_on_openldap() {
    play(Kind::OpenLdap, "LOG_BASED", None, false, 204);
}

#[test]
fn incremental_with_a_new_catalog_each_time_on_openldap() {
    play(Kind::OpenLdap, "INCREMENTAL", None, false, 205);
}

#[test]
fn full_table_with_a_new_catalog_each_time_on_openldap() {
    play(Kind::OpenLdap, "FULL_TABLE", None, false, 206);
}

#[test]
fn incremental_by_modify_timestamp_on_ds389() {
    play(Kind::Ds389, "INCREMENTAL", Some("modifyTimestamp"), true, 207);
}

#[test]
fn incremental_on_ds389() {
    play(Kind::Ds389, "INCREMENTAL", None, true, 208);
}

#[test]
fn log_based_on_ds389() {
    play(Kind::Ds389, "LOG_BASED", None, true, 209);
}

#[test]
fn incremental_on_active_directory() {
    play(Kind::ActiveDirectory, "INCREMENTAL", None, true, 210);
}

#[test]
fn log_based_on_active_directory() {
    play(Kind::ActiveDirectory, "LOG_BASED", None, true, 211);
}
