//! The objects that Active Directory needs, its administrators, and moves.

use ldap_tests::ldif::{assert_same, normalize_dn};
use ldap_tests::samba::Samba;
use ldap_tests::server::scratch;
use serde_json::{Value, json};

use super::{gone, record, rejected};
use crate::support::{target_config, with};

#[test]
fn active_directory_protects_what_it_needs_and_its_administrators() {
    let samba = Samba::start("");
    let users = format!("CN=Users,{}", samba.suffix());
    let dir = scratch();
    samba.ldapmodify(format!(
        "dn: CN=Plain,{users}\nchangetype: add\nobjectClass: user\nsAMAccountName: plain\n\n\
         dn: CN=Helper,{users}\nchangetype: add\nobjectClass: user\nsAMAccountName: helper\nadminCount: 1\n\n"
    ));
    let config = target_config(&samba);
    let change = |name: &str| record(&format!("CN={name},{users}"), &json!({"description": ["changed"]}));
    let guarded = ["Administrator", "Helper", "Domain Users", "Domain Admins"];
    let messages: Vec<Value> = guarded.iter().map(|name| change(name)).chain([change("Plain")]).collect();
    let (output, mut rejects) = rejected(&config, &messages, dir.path());
    output.exits(4);
    let setting = |name: &str| if name == "Administrator" { "bind_dn" } else { "protect_defaults" };
    let expected: Vec<(String, String)> = guarded
        .iter()
        .map(|name| (normalize_dn(&format!("CN={name},{users}")), setting(name).to_owned()))
        .collect();
    // In the order in which they were told.
    rejects.sort_by_key(|reject| expected.iter().position(|known| known == reject));
    assert_eq!(rejects, expected);
    let described = |name: &str| {
        let dump = samba.dump_below(&format!("CN={name},{users}"), &["description"]);
        dump.values().any(|e| e.get("description").is_some_and(|v| v.contains(b"changed".as_slice())))
    };
    assert!(described("Plain") && !guarded.iter().any(|name| described(name)));
    // Its own entry stays protected.
    let free = with(&config, &json!({"protect_defaults": false}));
    let (output, rejects) = rejected(&free, &messages, dir.path());
    output.exits(4);
    assert_eq!(rejects, expected[..1]);
    assert!(described("Helper") && described("Domain Users") && !described("Administrator"));
    // A filter that only the server evaluates: groups in groups.
    samba.ldapmodify(format!(
        "dn: CN=Inner,{users}\nchangetype: add\nobjectClass: group\nsAMAccountName: inner\nmember: CN=Plain,{users}\n\n\
         dn: CN=Outer,{users}\nchangetype: add\nobjectClass: group\nsAMAccountName: outer\nmember: CN=Inner,{users}\n\n"
    ));
    let chain = format!("(memberOf:1.2.840.113556.1.4.1941:=CN=Outer,{users})");
    let chained = with(&free, &json!({"protect": {"filter": chain}}));
    let (output, rejects) = rejected(&chained, &[gone(&format!("CN=Plain,{users}"))], dir.path());
    output.exits(4);
    assert_eq!(rejects, [(normalize_dn(&format!("CN=Plain,{users}")), "protect.filter".to_owned())]);
    // A form of DNs that only the server reads is none for a record: it would pass by every comparison.
    let administrators = gone("<SID=S-1-5-32-544>");
    let (output, rejects) = rejected(&free, &[administrators], dir.path());
    output.exits(4);
    assert_eq!(rejects.len(), 1);
    each_move_stays(&samba);
}

/// Moves and renames on Samba stay within `write_base`, and leave protected entries where they are.
fn each_move_stays(samba: &Samba) {
    let dir = scratch();
    let (inside, outside) = (format!("OU=in,{}", samba.suffix()), format!("OU=out,{}", samba.suffix()));
    samba.ldapmodify(format!(
        "dn: {inside}\nchangetype: add\nobjectClass: organizationalUnit\n\n\
         dn: {outside}\nchangetype: add\nobjectClass: organizationalUnit\n\n\
         dn: CN=Mover,{inside}\nchangetype: add\nobjectClass: user\nsAMAccountName: mover\n\n\
         dn: CN=Fixed,{inside}\nchangetype: add\nobjectClass: user\nsAMAccountName: fixed\ndescription: fixed\n\n"
    ));
    let before = samba.dump_below(samba.suffix(), &["sAMAccountName", "description"]);
    let rule = |parent: &str| {
        json!({"all": {"object_classes": ["user"], "dn_template": format!("CN={{cn}},{parent}"),
            "match": "(sAMAccountName={sAMAccountName})"}})
    };
    let config = with(
        &target_config(samba),
        &json!({"write_base": inside, "protect": {"filter": "(description=fixed)"}}),
    );
    let of = |account: &str, cn: &str| json!({"type": "RECORD", "stream": "all", "record": {"dn": account, "sAMAccountName": account, "cn": [cn]}});
    for (parent, message, setting) in
        [(&outside, of("mover", "Mover"), "write_base"), (&inside, of("fixed", "Unfixed"), "protect.filter")]
    {
        let config = with(&config, &json!({"mapping_rules": rule(parent)}));
        let (output, rejects) = rejected(&config, &[message], dir.path());
        output.exits(4);
        assert_eq!(rejects.iter().map(|(_, s)| s.as_str()).collect::<Vec<_>>(), [setting]);
    }
    let tree = with(&config, &json!({"write_base": null, "mapping_rules": {"all": {"on_delete": "tree"}}}));
    let (output, rejects) = rejected(&tree, &[gone(&inside)], dir.path());
    output.exits(4);
    assert_eq!(rejects, [(normalize_dn(&inside), "protect.filter".to_owned())]);
    assert_same(
        "before",
        &before,
        "after",
        &samba.dump_below(samba.suffix(), &["sAMAccountName", "description"]),
    );
}
