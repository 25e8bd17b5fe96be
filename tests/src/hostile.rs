//! The hostile directory: `fixtures/hostile.ldif`, and what is too big for a file or needs a running server.

use std::fmt::Write as _;

use crate::slapd::{Base, Slapd, SlapdOptions, fixture};

/// How many members the big group has.
pub const MEMBERS: usize = 5_000;
/// The size of the long values, in octets.
pub const LONG: usize = 200_000;

/// A server that holds the hostile directory below dc=example,dc=test.
pub fn start() -> Slapd {
    let slapd = Slapd::start(SlapdOptions { base: Base::Empty, ..SlapdOptions::default() });
    // Online, as the copy will be written: slapd then spells DN values and class names its own way, which slapadd
    // leaves as they are.
    slapd.ldapadd(ldif().as_bytes());
    slapd.ldapadd(generated().as_bytes());
    move_early_entries(&slapd);
    slapd
}

/// The same, loaded offline: values stay as the files spell them.
pub fn start_offline() -> Slapd {
    let options = SlapdOptions { base: Base::Empty, ..SlapdOptions::default() };
    let slapd = Slapd::start(options.seed(ldif()).seed(generated()));
    move_early_entries(&slapd);
    slapd
}

/// The fixture file's text.
pub fn ldif() -> String {
    std::fs::read_to_string(fixture("hostile.ldif")).unwrap()
}

/// A group of 5,000, an entry of long values, and an entry of many values.
pub fn generated() -> String {
    let suffix = "dc=example,dc=test";
    let mut text = format!("dn: cn=everyone,ou=hostile,{suffix}\nobjectClass: groupOfNames\ncn: everyone\n");
    for i in 0..MEMBERS {
        writeln!(text, "member: uid=member{i},ou=people,{suffix}").unwrap();
    }
    write!(
        text,
        "\ndn: uid=long,ou=hostile,{suffix}\nobjectClass: inetOrgPerson\nuid: long\ncn: long\nsn: long\n\
         description: {}\njpegPhoto: {}\n",
        "long ".repeat(LONG / 5).trim_end(),
        "x".repeat(LONG),
    )
    .unwrap();
    write!(
        text,
        "\ndn: uid=many,ou=hostile,{suffix}\nobjectClass: inetOrgPerson\nuid: many\ncn: many\nsn: many\n"
    )
    .unwrap();
    for i in 0..1_000 {
        writeln!(text, "description: value {i}").unwrap();
    }
    text
}

/// Moves a device below a person and a container below another, each of which came later: slapd then answers with
/// the child before its parent, since it walks entries in the order of their creation.
pub fn move_early_entries(slapd: &Slapd) {
    slapd.ldapmodify(
        "dn: cn=early child,dc=example,dc=test\nchangetype: modrdn\nnewrdn: cn=early child\ndeleteoldrdn: 0\n\
         newsuperior: uid=late parent,ou=people,dc=example,dc=test\n\n\
         dn: ou=early,dc=example,dc=test\nchangetype: modrdn\nnewrdn: ou=early\ndeleteoldrdn: 0\n\
         newsuperior: ou=zzz,dc=example,dc=test\n",
    );
}
