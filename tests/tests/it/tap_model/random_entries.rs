//! Random entries: trees with missing parents, any DN, any class or none.

use super::dn_spelling::{Name, Rdn};
use crate::support::rng::Rng;

/// What an entry is, as far as the rules ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Container,
    Person,
    Device,
    /// No objectClass was asked for when the file was made.
    Unknown,
}

/// An attribute, under one spelling for all of its descriptions, and its values.
#[derive(Debug, Clone)]
pub(super) struct Attribute {
    /// As the schema spells it.
    pub(super) name: &'static str,
    /// Other descriptions of the same type.
    pub(super) aliases: &'static [&'static str],
    pub(super) values: Vec<Vec<u8>>,
}

/// An entry.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: Name,
    /// The DN as it is written.
    pub(super) dn: String,
    pub(super) kind: Kind,
    pub(super) classes: Vec<&'static str>,
    pub(super) attributes: Vec<Attribute>,
}

/// What may stand in an entry: how it is spelled, what else it is called, and what its values are.
struct Template {
    name: &'static str,
    aliases: &'static [&'static str],
    most: usize,
    value: fn(&mut Rng, usize) -> Vec<u8>,
}

const TEMPLATES: &[Template] = &[
    Template { name: "cn", aliases: &["commonName", "2.5.4.3", "CN"], most: 3, value: text },
    Template { name: "sn", aliases: &["surname", "2.5.4.4"], most: 2, value: text },
    Template { name: "description", aliases: &["2.5.4.13"], most: 3, value: text },
    Template { name: "description;lang-de", aliases: &["Description;LANG-DE"], most: 2, value: text },
    Template { name: "mail", aliases: &["rfc822Mailbox"], most: 2, value: mail },
    Template { name: "employeeNumber", aliases: &[], most: 1, value: text },
    Template { name: "manager", aliases: &[], most: 2, value: dn },
    Template { name: "member", aliases: &[], most: 5, value: dn },
    Template { name: "jpegPhoto", aliases: &[], most: 1, value: octets },
    Template { name: "userCertificate;binary", aliases: &[], most: 1, value: octets },
    Template { name: "acmeBadge", aliases: &["acmebadge"], most: 2, value: text },
    Template { name: "acmeBlob", aliases: &[], most: 2, value: octets },
];

fn text(rng: &mut Rng, n: usize) -> Vec<u8> {
    let forms = [
        "plain #",
        " leads #",
        "#: colon",
        ": # first",
        "< # less",
        "trails # ",
        "\u{e9}t\u{e9} #",
        "two\nlines #",
        "\u{65e5}\u{672c} #",
        "# ",
        "a long value that will not fit into one line of seventy-six characters, whoever folds it #",
    ];
    rng.pick(&forms).replace('#', &n.to_string()).into_bytes()
}

fn mail(_: &mut Rng, n: usize) -> Vec<u8> {
    format!("user{n}@example.test").into_bytes()
}

fn dn(_: &mut Rng, n: usize) -> Vec<u8> {
    format!("cn=boss {n},dc=elsewhere").into_bytes()
}

fn octets(rng: &mut Rng, n: usize) -> Vec<u8> {
    let length = rng.below(40);
    let mut value = vec![0xff, 0x00];
    value.extend(rng.octets(length));
    value.extend(n.to_le_bytes());
    value
}

/// Classes that make an entry a container, and the type such an entry is mostly named by.
const CONTAINERS: &[(&str, &str)] = &[
    ("organizationalUnit", "ou"),
    ("organizationalUnit", "ou"),
    ("organizationalUnit", "cn"),
    ("organization", "o"),
    ("domain", "dc"),
    ("locality", "l"),
    ("country", "c"),
    ("nsContainer", "cn"),
    ("container", "cn"),
];

/// Makes entries.
pub(super) struct Grower<'r> {
    rng: &'r mut Rng,
    next: usize,
    /// Places that entries can be below: those that are there, and those that only their children name.
    places: Vec<Name>,
    pub(super) entries: Vec<Entry>,
}

impl<'r> Grower<'r> {
    /// A forest of up to `most` entries.
    pub(super) fn grow(rng: &'r mut Rng, most: usize) -> Vec<Entry> {
        let mut grower = Grower { rng, next: 0, places: Vec::new(), entries: Vec::new() };
        let contexts = 1 + grower.rng.below(3);
        for _ in 0..contexts {
            grower.context();
        }
        let count = grower.rng.below(most);
        for _ in 0..count {
            grower.entry();
        }
        grower.entries
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    /// The top of a tree: often not in the file, and not always of one part.
    fn context(&mut self) {
        let n = self.number();
        let kind = *self.rng.pick(&["dc", "dc", "o", "c", "cn", "uid", "ou"]);
        let mut name = Name::default().child(vec![(kind, format!("top{n}"))]);
        if self.rng.chance(40) {
            name = name.child(vec![("dc", format!("x{n}"))]);
        }
        if self.rng.chance(20) {
            name = name.child(vec![("cn", format!("book {n}")), ("mail", format!("a{n}@example.test"))]);
        }
        self.places.push(name.clone());
        if self.rng.chance(60) {
            let kind = *self.rng.pick(&[Kind::Container, Kind::Container, Kind::Person, Kind::Unknown]);
            self.add(name, kind, "organizationalUnit");
        }
    }

    /// One more, somewhere.
    fn entry(&mut self) {
        let mut above = self.rng.pick(&self.places).clone();
        if self.rng.chance(12) {
            // A parent that the file does not have.
            let rdn = self.rdn("ou");
            above = above.child(rdn);
            self.places.push(above.clone());
        }
        let kind = match self.rng.below(100) {
            0..30 => Kind::Container,
            30..75 => Kind::Person,
            75..90 => Kind::Device,
            _ => Kind::Unknown,
        };
        let (class, usual) = *self.rng.pick(CONTAINERS);
        let naming = match kind {
            Kind::Container => usual,
            _ => *self.rng.pick(&["cn", "uid", "cn", "mail"]),
        };
        let rdn = self.rdn(naming);
        let name = above.child(rdn);
        self.places.push(name.clone());
        self.add(name, kind, class);
    }

    /// A name of its own, sometimes one that needs care.
    fn rdn(&mut self, kind: &'static str) -> Rdn {
        let n = self.number();
        let forms = [
            "a#",
            "b#",
            "Ada Example #",
            "Doe, J#",
            "a+b #",
            "#x=#",
            "\u{e9}t\u{e9} #",
            "\u{65e5}\u{672c} #",
            "semi;colon #",
            "\"q\" #",
            "back\\slash #",
            "<#>",
        ];
        let value = self.rng.pick(&forms).replace('#', &n.to_string());
        // A number sign first is an escape of its own.
        let value = if self.rng.chance(5) { format!("#{value}") } else { value };
        let mut rdn = vec![(kind, value)];
        if self.rng.chance(10) {
            rdn.push(("uid", format!("second{n}")));
            rdn.dedup_by(|a, b| a.0 == b.0);
        }
        rdn
    }

    fn add(&mut self, name: Name, kind: Kind, class: &'static str) {
        let classes = match kind {
            Kind::Container => vec!["top", class],
            Kind::Person => vec!["top", "person", "organizationalPerson", "inetOrgPerson"],
            // Files know no rule against two structural classes, or classes that no schema has.
            Kind::Device => self
                .rng
                .pick(&[
                    &["top", "device"][..],
                    &["device"],
                    &["top", "device", "person"],
                    &["top", "acmeThing"],
                ])
                .to_vec(),
            Kind::Unknown => Vec::new(),
        };
        let wild = self.rng.chance(40);
        let dn = name.spell(self.rng, wild);
        let mut attributes = Vec::new();
        for template in TEMPLATES {
            if !self.rng.chance(if template.name == "cn" { 70 } else { 20 }) {
                continue;
            }
            let count = 1 + self.rng.below(template.most);
            let mut values = Vec::new();
            for _ in 0..count {
                let n = self.number();
                values.push((template.value)(self.rng, n));
            }
            attributes.push(Attribute { name: template.name, aliases: template.aliases, values });
        }
        if self.rng.chance(60) {
            let n = self.number();
            let id = format!("00000000-0000-4000-8000-{n:012x}").into_bytes();
            attributes.push(Attribute { name: "entryUUID", aliases: &[], values: vec![id] });
        }
        self.entries.push(Entry { name, dn, kind, classes, attributes });
    }
}
