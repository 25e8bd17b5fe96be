//! Entries whose DN changes, or does not, with a parent.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ldap_tests::run::Output;
use serde_json::{Value, json};

use super::repeated_runs::{Method, Mirror};
use super::server_kind::{Directory, Kind};
use crate::support::{people, unit};

const METHODS: [(Kind, Method); 7] = [
    (Kind::OpenLdap, Method::Log),
    (Kind::OpenLdap, Method::By("entryCSN")),
    (Kind::OpenLdap, Method::By("modifyTimestamp")),
    (Kind::Ds389, Method::Log),
    (Kind::Ds389, Method::By("entryusn")),
    (Kind::ActiveDirectory, Method::Log),
    (Kind::ActiveDirectory, Method::By("uSNChanged")),
];

fn dns(output: &Output) -> BTreeSet<&str> {
    output.records(None).iter().filter_map(|r| r["dn"].as_str()).collect()
}

/// For each kind of server a directory, with 20 people below a unit, and a mirror by each method that has run.
fn each(mut test: impl FnMut(&Directory, &mut Mirror, Method, &str)) {
    for kind in [Kind::OpenLdap, Kind::Ds389, Kind::ActiveDirectory] {
        let directory = Directory::start(kind);
        let suffix = directory.suffix().to_owned();
        directory.ldapadd(unit(&format!("ou=people,{suffix}")));
        let class = if kind == Kind::ActiveDirectory { "computer" } else { "inetOrgPerson" };
        let ldif = people(20, &format!("ou=people,{suffix}")).replace("inetOrgPerson", class);
        directory.ldapadd(ldif.replace("dn: uid=", "dn: cn=").replace("cn: Person ", "cn: person"));
        for (_, method) in METHODS.iter().filter(|(of, _)| *of == kind) {
            let mut mirror = Mirror::new(&directory, &suffix, *method);
            mirror.set_stream("attributes", json!(["cn", "sn", "description"]));
            mirror.run();
            std::thread::sleep(std::time::Duration::from_millis(1_100));
            mirror.run();
            test(&directory, &mut mirror, *method, &suffix);
        }
    }
}

#[test]
fn a_change_of_what_is_above_is_one_record() {
    each(|directory, mirror, method, suffix| {
        for (n, dn) in [suffix.to_owned(), format!("ou=people,{suffix}")].iter().enumerate() {
            let ldif =
                format!("dn: {dn}\nchangetype: modify\nreplace: description\ndescription: {n}{method:?}\n");
            directory.ldapmodify(ldif);
            let output = mirror.run();
            assert_eq!(dns(&output).len(), 1, "{method:?}, {dn}: {:?}", dns(&output));
        }
    });
}

#[test]
fn what_lies_below_a_renamed_person_has_its_new_name() {
    let mut last = "cn=person3".to_owned();
    each(|directory, mirror, method, suffix| {
        let kind = directory.kind();
        let class = if kind == Kind::ActiveDirectory { "serviceConnectionPoint" } else { "device" };
        let device = format!("cn=device{}", mirror.records);
        if method == Method::Log {
            "cn=person3".clone_into(&mut last);
        }
        let new = format!("cn=renamed{}", mirror.records);
        directory.ldapadd(format!(
            "dn: {device},{last},ou=people,{suffix}\nobjectClass: {class}\n{}\n",
            device.replace('=', ": ")
        ));
        mirror.run();
        directory.ldapmodify(format!(
            "dn: {last},ou=people,{suffix}\nchangetype: modrdn\nnewrdn: {new}\ndeleteoldrdn: 1\n"
        ));
        last.clone_from(&new);
        let output = mirror.run();
        let wanted = format!("{device},{new},ou=people,{suffix}").to_lowercase();
        assert!(
            dns(&output).iter().any(|dn| dn.to_lowercase() == wanted),
            "{method:?}: {wanted} is not among {:?}",
            dns(&output)
        );
        assert!(output.records(None).iter().all(|r| r["_sdc_deleted_at"] == Value::Null));
    });
}

#[test]
fn what_is_moved_out_of_the_base_takes_what_lies_below_along() {
    for kind in [Kind::OpenLdap, Kind::Ds389, Kind::ActiveDirectory] {
        let (class, below) = match kind {
            Kind::ActiveDirectory => ("computer", "serviceConnectionPoint"),
            _ => ("inetOrgPerson", "device"),
        };
        let directory = Directory::start(kind);
        let suffix = directory.suffix().to_owned();
        directory.ldapadd(unit(&format!("ou=in,{suffix}")) + &unit(&format!("ou=out,{suffix}")));
        let base = format!("ou=in,{suffix}");
        // Of everything, and of what is no unit: the units are then no records, and their moves are in no log.
        for (n, filter) in ["(objectClass=*)", "(cn=*)"].into_iter().enumerate() {
            let mut ldif = String::new();
            for name in ["goes", "stays"] {
                let place = format!("ou={name}{n},{base}");
                ldif += &unit(&place);
                ldif += &unit(&format!("ou=deep,{place}"));
                for place in [&place, &format!("ou=deep,{place}")] {
                    let deep = if place.starts_with("ou=deep") { "d" } else { "" };
                    writeln!(
                        ldif,
                        "dn: cn={name}{n}{deep},{place}\nobjectClass: {class}\ncn: {name}{n}{deep}"
                    )
                    .unwrap();
                    ldif += if kind == Kind::ActiveDirectory { "\n" } else { "sn: x\n\n" };
                }
                let person = format!("cn=person{name}{n},{base}");
                writeln!(ldif, "dn: {person}\nobjectClass: {class}\ncn: person{name}{n}").unwrap();
                ldif += if kind == Kind::ActiveDirectory { "\n" } else { "sn: x\n\n" };
                write!(ldif, "dn: cn=thing,{person}\nobjectClass: {below}\ncn: thing\n\n").unwrap();
            }
            directory.ldapadd(ldif);
            let mut mirrors = [Method::Log, Method::TrackedLog].map(|method| {
                let mut mirror = Mirror::new(&directory, &base, method);
                mirror.set_stream("filter", json!(filter));
                mirror.want(if n == 0 {
                    |dn, _| dn.starts_with("ou=in,") || dn.contains(",ou=in,")
                } else {
                    |dn, attributes| dn.contains(",ou=in,") && attributes.contains_key("cn")
                });
                mirror.run();
                let output = mirror.run();
                mirror.assert_equal(&directory, &output);
                mirror
            });
            directory.ldapmodify(
                [format!("ou=goes{n}"), format!("cn=persongoes{n}")]
                    .map(|rdn| {
                        format!(
                            "dn: {rdn},{base}\nchangetype: modrdn\nnewrdn: {rdn}\ndeleteoldrdn: 1\nnewsuperior: ou=out,{suffix}\n\n"
                        )
                    })
                    .concat(),
            );
            for mirror in &mut mirrors {
                let output = mirror.run();
                mirror.assert_equal(&directory, &output);
                assert!(mirror.run().of_type("RECORD").is_empty(), "{kind:?}: once");
            }
        }
    }
}
