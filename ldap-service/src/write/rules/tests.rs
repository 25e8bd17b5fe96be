use super::*;

fn config(filter: &str, rule: &Value) -> KindConfig {
    KindConfig {
        base_dn: "ou=people,dc=x".into(),
        filter: Filter::parse(filter).unwrap().into(),
        scim: vec![("userName".into(), "uid".into())],
        logins: vec![],
        rule: rule.as_object().unwrap().clone(),
    }
}

#[test]
fn classes_are_those_of_the_server_and_of_the_filter() {
    let schema = Schema::standard();
    let of = |filter: &str, vendor| config(filter, &json!({})).classes(ResourceKind::Users, vendor, schema);
    let usual = ["top", "person", "organizationalPerson", "inetOrgPerson"];
    assert_eq!(of("(objectClass=person)", Vendor::OpenLdap), usual);
    assert_eq!(of("(uid=*)", Vendor::Ds389), usual);
    let more = of("(&(objectClass=inetorgperson)(objectClass=posixAccount))", Vendor::OpenLdap);
    assert_eq!(more.last().map(String::as_str), Some("posixAccount"));
    assert_eq!(more.len(), 5);
    assert_eq!(of("(objectClass=user)", Vendor::ActiveDirectory).last().unwrap(), "user");
}

#[test]
fn a_wrong_rule_is_named() {
    for (rule, setting) in [
        (json!({"on_delte": "delete"}), "write.mapping_rules.users.on_delte"),
        (json!({"dn_template": "uid={uid"}), "write.mapping_rules.users.dn_template"),
        (json!({"match": "(uid=ada)"}), "write.mapping_rules.users.match"),
    ] {
        let error = KindRule::check(ResourceKind::Users, &config("(uid=*)", &rule)).unwrap_err();
        assert!(matches!(&error, SettingsError::Value { setting: s, .. } if *s == setting), "{error:?}");
    }
    assert!(KindRule::check(ResourceKind::Users, &config("(uid=*)", &json!({}))).is_ok());
}
