use ldap_directory::secret::SecretAttributes;

use super::*;
use crate::scim::error::ScimType;
use crate::scim::filter::{FilterLimits, parse_filter};
use crate::scim::mapping::{Context, ResourceType};

pub(in crate::scim) fn mapping(resource: ResourceType, vendor: Vendor, given: &[(&str, &str)]) -> Mapping {
    let secrets = SecretAttributes::default();
    let classes = ["inetOrgPerson".to_owned()];
    let context = Context { vendor, schema: Schema::standard(), secrets: &secrets, object_classes: &classes };
    let given: Vec<(String, String)> = given.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    Mapping::new(resource, &given, &context).unwrap()
}

fn translated(mapping: &Mapping, vendor: Vendor, text: &str) -> Result<Truth, ScimError> {
    let expr = parse_filter(text, FilterLimits::terms(64)).unwrap();
    let dn_of = |id: &str| (id == "u1").then(|| "uid=u1,dc=x".to_owned());
    Translator {
        mapping,
        schema: Schema::standard(),
        vendor,
        dn_of: &dn_of,
        uids_of: &|_| Vec::new(),
        sids_of: &|_| (None, None),
        shown: &|_, _, _| None,
    }
    .translate(&expr)
}

fn text(truth: Result<Truth, ScimError>) -> String {
    match truth {
        Ok(Truth::Always) => "always".into(),
        Ok(Truth::Never) => "never".into(),
        Ok(Truth::Filter(filter)) => filter.to_string(),
        Err(e) if e.scim_type == ScimType::InvalidFilter => "refused".into(),
        Err(e) => panic!("{e:?}"),
    }
}

#[test]
fn users_of_a_server_with_inetorgperson() {
    let users = mapping(
        ResourceType::User,
        Vendor::OpenLdap,
        &[("externalId", "carLicense"), ("urn:x:badge:Badge:number", "uidNumber"), ("photos", "jpegPhoto")],
    );
    let uuid = "5f8b1e0a-1111-4222-8333-444455556666";
    for (filter, expected) in [
        (r#"userName eq "bjensen""#, "(uid=bjensen)"),
        (r#"USERNAME Eq "b*(j)""#, r"(uid=b\2A\28j\29)"),
        (r#"urn:ietf:params:scim:schemas:core:2.0:User:userName sw "J""#, "(uid=J*)"),
        (r#"name.familyName co "O'Malley""#, "(sn=*O'Malley*)"),
        (r#"displayName ew "x""#, "(displayName=*x)"),
        (r#"displayName ew """#, "(displayName=*)"),
        ("title pr", "(title=*)"),
        (r#"title ne "x""#, "(!(title=x))"),
        (r#"not (title ne "x")"#, "(title=x)"),
        ("title eq null", "(!(title=*))"),
        ("title ne null", "(title=*)"),
        (r#"title eq """#, "never"),
        (r#"userName eq "a" and title eq """#, "never"),
        (r#"userName eq "a" or not (title eq "")"#, "always"),
        (r#"userName eq "a" and (title pr or userType eq "E")"#, "(&(uid=a)(|(title=*)(employeeType=E)))"),
        (r#"emails eq "a@x""#, "(mail=a@x)"),
        (r#"emails.value co "@x""#, "(mail=*@x*)"),
        (r#"emails.type eq "work""#, "(mail=*)"),
        (r#"emails.type eq "home""#, "never"),
        (r#"emails[type eq "WORK" and value co "@x"]"#, "(mail=*@x*)"),
        (r#"emails[type eq "work"].value eq "a@x""#, "(mail=a@x)"),
        (r#"emails[type eq "work"]"#, "(mail=*)"),
        (r#"emails[type ne "work"]"#, "never"),
        (r#"emails[value pr and not (type eq "home")]"#, "(mail=*)"),
        (r#"emails[value eq "a" or value eq "b"]"#, "(|(mail=a)(mail=b))"),
        (r#"emails[value co "a" and value co "b"]"#, "refused"),
        (r#"emails[not (value eq "a")]"#, "refused"),
        (r#"emails[value ne "a"]"#, "refused"),
        ("emails[primary eq true]", "refused"),
        (r#"phoneNumbers.value eq "1""#, "(|(telephoneNumber=1)(mobile=1)(homePhone=1)(pager=1))"),
        (r#"phoneNumbers[type eq "mobile" and value eq "1"]"#, "(mobile=1)"),
        (r#"addresses[type eq "work" and locality eq "X"]"#, "(l=X)"),
        ("name pr", "(|(cn=*)(sn=*)(givenName=*))"),
        (r#"name eq "x""#, "refused"),
        ("addresses.country pr", "refused"),
        (
            r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq "D""#,
            "(departmentNumber=D)",
        ),
        (
            r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value eq "u1""#,
            "(manager=uid=u1,dc=x)",
        ),
        (r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager eq "u2""#, "never"),
        (r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager co "u""#, "refused"),
        (r#"department eq "D""#, "refused"),
        ("urn:x:badge:Badge:number ge 5", "(uidNumber>=5)"),
        ("urn:x:badge:Badge:number gt 5", "(&(uidNumber>=5)(!(uidNumber=5)))"),
        (r#"urn:x:badge:Badge:number gt "five""#, "refused"),
        ("urn:x:badge:Badge:number co 5", "refused"),
        (r#"userName gt "a""#, "refused"),
        (r#"photos.value eq "AA==""#, "refused"),
        ("photos pr", "(jpegPhoto=*)"),
        ("userName eq 5", "refused"),
        ("userName eq true", "refused"),
        ("active eq true", "(!(pwdAccountLockedTime=000001010000Z))"),
        (r#"active eq "False""#, "(pwdAccountLockedTime=000001010000Z)"),
        ("active ne true", "(pwdAccountLockedTime=000001010000Z)"),
        ("active gt true", "refused"),
        (r#"active eq "perhaps""#, "refused"),
        ("active pr", "always"),
        (r#"password eq "x""#, "refused"),
        ("password pr", "refused"),
        (r#"nickName eq "x""#, "refused"),
        ("noSuch pr", "refused"),
        (r#"externalId eq "7""#, "(carLicense=7)"),
        (r#"groups.value eq "u1""#, "refused"),
        ("id pr", "always"),
        (r#"id eq "nobody""#, "never"),
        (r#"id ne "nobody""#, "always"),
        (r#"id co "5f8b""#, "refused"),
        (r#"meta.resourceType eq "user""#, "always"),
        (r#"meta.resourceType eq "Group""#, "never"),
        (
            r#"meta.lastModified gt "2011-05-13T04:42:34Z""#,
            "(&(modifyTimestamp>=20110513044234Z)(!(modifyTimestamp=20110513044234Z)))",
        ),
        (r#"meta.created le "2011-05-13T06:42:34.5+02:00""#, "(createTimestamp<=20110513044234.5Z)"),
        (r#"meta.lastModified gt "yesterday""#, "refused"),
        (r#"meta.location eq "/Users/1""#, "refused"),
        (r#"schemas eq "urn:ietf:params:scim:schemas:core:2.0:User""#, "always"),
        (r#"schemas eq "urn:ietf:params:scim:schemas:core:2.0:Group""#, "never"),
        (r#"schemas co "User""#, "refused"),
    ] {
        assert_eq!(text(translated(&users, Vendor::OpenLdap, filter)), expected, "{filter}");
    }
    assert_eq!(
        text(translated(&users, Vendor::OpenLdap, &format!(r#"id eq "{uuid}""#))),
        format!("(entryUUID={uuid})")
    );
}

#[test]
fn users_of_active_directory() {
    let users = mapping(ResourceType::User, Vendor::ActiveDirectory, &[]);
    for (filter, expected) in [
        (r#"userName eq "bjensen""#, "(sAMAccountName=bjensen)"),
        (r#"groups.value eq "u1""#, "(memberOf=uid=u1,dc=x)"),
        (
            r#"id eq "03020100-0504-0706-0809-0a0b0c0d0e0f""#,
            r"(objectGUID=\00\01\02\03\04\05\06\07\08\09\0A\0B\0C\0D\0E\0F)",
        ),
        (r#"meta.lastModified ge "2011-05-13T04:42:34Z""#, "(whenChanged>=20110513044234Z)"),
    ] {
        assert_eq!(text(translated(&users, Vendor::ActiveDirectory, filter)), expected, "{filter}");
    }
    // With the time of now.
    let disabled = text(translated(&users, Vendor::ActiveDirectory, "active eq false"));
    let begin = "(|(userAccountControl:1.2.840.113556.1.4.803:=2)(&(accountExpires<=1";
    assert!(disabled.starts_with(begin) && disabled.ends_with(")(!(accountExpires=0))))"), "{disabled}");
}

#[test]
fn groups() {
    let groups = mapping(ResourceType::Group, Vendor::Ds389, &[]);
    for (filter, expected) in [
        (r#"displayName eq "Tour Guides""#, "(cn=Tour Guides)"),
        (r#"members.value eq "u1""#, "(|(member=uid=u1,dc=x)(uniqueMember=uid=u1,dc=x))"),
        (r#"members eq "u1""#, "(|(member=uid=u1,dc=x)(uniqueMember=uid=u1,dc=x))"),
        (
            r#"id eq "g" and members eq "u1""#,
            "(&(nsUniqueId=g)(|(member=uid=u1,dc=x)(uniqueMember=uid=u1,dc=x)))",
        ),
        (r#"members[value eq "u1" or value eq "u2"]"#, "(|(member=uid=u1,dc=x)(uniqueMember=uid=u1,dc=x))"),
        (r#"members[value eq "u1" and value eq "u2"]"#, "refused"),
        (r#"members[value ne "u1"]"#, "refused"),
        (r#"members ne "u1""#, "(!(|(member=uid=u1,dc=x)(uniqueMember=uid=u1,dc=x)))"),
        (r#"members[type eq "User"]"#, "refused"),
        (r#"members.display eq "x""#, "refused"),
        ("members pr", "refused"),
        (r#"userName eq "x""#, "refused"),
    ] {
        assert_eq!(text(translated(&groups, Vendor::Ds389, filter)), expected, "{filter}");
    }
    let expr = parse_filter(
        r#"members eq "a" or members[value eq "b"] or displayName eq "c""#,
        FilterLimits::terms(9),
    );
    assert_eq!(references(&groups, &expr.unwrap()), ["a", "b"]);
}

#[test]
fn a_mapping_names_its_faults() {
    let secrets = SecretAttributes::default();
    let context = Context {
        vendor: Vendor::OpenLdap,
        schema: Schema::standard(),
        secrets: &secrets,
        object_classes: &[],
    };
    for (key, attribute) in [
        ("userNam", "uid"),
        ("userName", "none"),
        ("userName", "noSuchAttribute"),
        ("displayName", "userPassword"),
        ("name", "cn"),
        ("name.first", "cn"),
        ("title[work]", "title"),
        ("emails[wo\"rk]", "mail"),
        ("emails[work", "mail"),
        ("emails[work]value", "mail"),
        ("emails.type", "mail"),
        ("groups", "cn"),
        ("id", "uid"),
        ("meta.created", "uid"),
        ("urn:ietf:params:scim:schemas:core:2.0:User:nope", "uid"),
    ] {
        let given = [(key.to_owned(), attribute.to_owned())];
        let errors = Mapping::new(ResourceType::User, &given, &context).unwrap_err();
        assert!(errors.iter().all(|e| e.starts_with(&format!("users.scim.{key}:"))), "{key}: {errors:?}");
    }
    let given = [("members".to_owned(), "memberUid".to_owned())];
    assert!(Mapping::new(ResourceType::Group, &given, &context).is_err(), "memberUid has no DNs");
}
