//! Rules for records as ten systems of human resources and identities publish them, with invented people. Each system is loaded twice into
//! OpenLDAP: the second load changes nothing.

use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{assert_untouched, target_config, with};

/// A system: its rule, a record, the DN below the system's unit, and values.
struct System {
    name: &'static str,
    rule: Value,
    record: Value,
    dn: &'static str,
    expected: Value,
}

const CLASSES: [&str; 1] = ["inetOrgPerson"];

/// Workday, `workers` of its REST API.
fn workday() -> System {
    System {
        name: "workday",
        rule: json!({"dn_template": "uid={id},{?ou={primarySupervisoryOrganization.descriptor},?}",
            "values": {"cn": "{descriptor}", "givenName": "{person.legalName.first}", "sn": "{person.legalName.last}",
                "displayName": "{descriptor}{? ({businessTitle})?}", "title": "{businessTitle}",
                "mail": "{person.email[descriptor!=home,usage.primary].address|lower}",
                "telephoneNumber": "{primaryWorkPhone|replace:/[^+0-9]//}",
                "employeeNumber": "{workerId|replace:/^0+//}",
                "l": "{location.descriptor|replace:/,.*//}"}}),
        record: json!({"id": "w1", "workerId": "00021508", "descriptor": "Logan McNeil", "businessTitle": "Vice President",
            "primarySupervisoryOrganization": {"id": "o1", "descriptor": "People, Global"},
            "location": {"descriptor": "Oslo, Norway"}, "primaryWorkPhone": "+47 (22) 33 44 55",
            "person": {"legalName": {"first": "Logan", "last": "McNeil"}, "email": [
                {"descriptor": "home", "address": "logan@example.org", "usage": {"primary": true}},
                {"descriptor": "work", "address": "LMcNeil@example.com", "usage": {"primary": true}}]}}),
        dn: "uid=w1,ou=people\\, global",
        expected: json!({"displayname": ["Logan McNeil (Vice President)"], "mail": ["lmcneil@example.com"],
            "telephonenumber": ["+4722334455"], "employeenumber": ["21508"], "l": ["Oslo"]}),
    }
}

/// ADP Workforce Now, `hr/v2/workers`.
fn adp() -> System {
    System {
        name: "adp",
        rule: json!({"dn_template": "uid={associateOID},",
            "values": {"cn": "{person.legalName.givenName} {person.legalName.familyName1}", "sn": "{person.legalName.familyName1}",
                "givenName": "{person.legalName.givenName}", "employeeNumber": "{workerID.idValue}",
                "mail": "{businessCommunication.emails[nameCode.codeValue=\"Work E-mail\"].emailUri}",
                "telephoneNumber": "{businessCommunication.landlines[].formattedNumber}",
                "title": "{workAssignments[primaryIndicator].jobTitle}",
                "departmentNumber": "{workAssignments[primaryIndicator].homeOrganizationalUnits[typeCode.codeValue=Department].nameCode.codeValue}",
                "employeeType": "{workerStatus.statusCode.codeValue|title}",
                "manager": "uid={workAssignments[primaryIndicator].reportsTo[0].associateOID},ou=adp,dc=example,dc=test"}}),
        record: json!({"associateOID": "G3AAAA", "workerID": {"idValue": "DEMO1"},
            "person": {"legalName": {"givenName": "Ada", "familyName1": "Quill"}},
            "workerStatus": {"statusCode": {"codeValue": "ACTIVE"}},
            "businessCommunication": {"emails": [{"emailUri": "ada@example.com", "nameCode": {"codeValue": "Work E-mail"}}],
                "landlines": [{"formattedNumber": "(555) 010-0001"}, {"formattedNumber": "(555) 010-0002"}]},
            "workAssignments": [
                {"primaryIndicator": false, "jobTitle": "Trainer"},
                {"primaryIndicator": true, "jobTitle": "Engineer", "hireDate": "2020-01-01",
                 "reportsTo": [{"associateOID": "G3AAAA"}],
                 "homeOrganizationalUnits": [
                    {"typeCode": {"codeValue": "Business Unit"}, "nameCode": {"codeValue": "BU1"}},
                    {"typeCode": {"codeValue": "Department"}, "nameCode": {"codeValue": "001100"}}]}]}),
        dn: "uid=g3aaaa",
        expected: json!({"mail": ["ada@example.com"], "title": ["Engineer"], "departmentnumber": ["001100"],
            "telephonenumber": ["(555) 010-0001", "(555) 010-0002"], "employeetype": ["Active"],
            "manager": ["uid=G3AAAA,ou=adp,dc=example,dc=test"]}),
    }
}

/// Personio, `v1/company/employees`: each attribute is an object with its value.
fn personio() -> System {
    System {
        name: "personio",
        rule: json!({"dn_template": "uid={attributes.id.value},{?ou={attributes.department.value.attributes.name},?}",
            "values": {"cn": "{attributes.first_name.value} {attributes.last_name.value}", "sn": "{attributes.last_name.value}",
                "mail": "{attributes.email.value}", "title": "{attributes.position.value}",
                "employeeType": "{attributes.employment_type.value}",
                "description": "since {attributes.hire_date.value|date:%Y-%m}"}}),
        record: json!({"type": "Employee", "attributes": {
            "id": {"label": "ID", "value": 4711}, "first_name": {"label": "First name", "value": "Jörg"},
            "last_name": {"label": "Last name", "value": "Größe"}, "email": {"label": "Email", "value": "jg@example.com"},
            "position": {"label": "Position", "value": null}, "employment_type": {"label": "Type", "value": "internal"},
            "hire_date": {"label": "Hire date", "value": "2024-03-01T00:00:00+01:00"},
            "department": {"label": "Department", "value": {"type": "Department", "attributes": {"id": 1, "name": "R+D"}}}}}),
        dn: "uid=4711,ou=r\\+d",
        expected: json!({"cn": ["Jörg Größe"], "title": [], "description": ["since 2024-03"]}),
    }
}

/// HiBob, `v1/people/search`.
fn hibob() -> System {
    System {
        name: "hibob",
        rule: json!({"dn_template": "uid={email|replace:/@.*//|lower},",
            "values": {"cn": "{displayName}", "sn": "{surname}", "givenName": "{firstName}", "mail": "{email}",
                "title": "{work.title}", "ou": "{work.department}", "l": "{work.site}",
                "employeeNumber": "{work.employeeIdInCompany|number}",
                "manager": "uid={work.reportsTo.email|replace:/@.*//|lower},ou=hibob,dc=example,dc=test"}}),
        record: json!({"id": "2719", "firstName": "Noa", "surname": "Levi", "displayName": "Noa Levi", "email": "Noa.Levi@example.com",
            "work": {"title": "Designer", "department": "Product", "site": "Haifa", "startDate": "2023-05-01",
                "employeeIdInCompany": "0007", "reportsTo": {"id": "2719", "email": "noa.levi@example.com"}},
            "internal": {"terminationDate": null, "lifecycleStatus": "Employed"}}),
        dn: "uid=noa.levi",
        expected: json!({"employeenumber": ["7"], "ou": ["Product"], "manager": ["uid=noa.levi,ou=hibob,dc=example,dc=test"]}),
    }
}

/// Paycor, `Employee`.
fn paycor() -> System {
    System {
        name: "paycor",
        rule: json!({"dn_template": "uid={employeeNumber},",
            "values": {"cn": "{firstName}{? {middleName|left:1}.?} {lastName}", "sn": "{lastName}", "givenName": "{firstName}",
                "mail": "{email.emailAddress}", "title": "{positionData.jobTitle}", "l": "{workLocation.name}",
                "employeeType": "{statusData.status}", "departmentNumber": "{department.id}",
                "description": "{employmentDateData.hireDate|date:%d.%m.%Y}"}}),
        record: json!({"id": "p-1", "employeeNumber": 1205, "firstName": "Dana", "middleName": "Ruth", "lastName": "Cole",
            "email": {"type": "Work", "emailAddress": "dana.cole@example.com"},
            "employmentDateData": {"hireDate": "2021-04-05T00:00:00Z", "terminationDate": null},
            "positionData": {"jobTitle": "Cook", "manager": {"id": "p-2"}}, "statusData": {"status": "Active"},
            "workLocation": {"name": "Dayton"}, "department": {"id": "100", "url": "/v1/departments/100"}}),
        dn: "uid=1205",
        expected: json!({"cn": ["Dana R. Cole"], "description": ["05.04.2021"], "departmentnumber": ["100"]}),
    }
}

/// Okta, `api/v1/users`.
fn okta() -> System {
    System {
        name: "okta",
        rule: json!({"dn_template": "uid={profile.login|replace:/@.*//},",
            "values": {"cn": "{profile.firstName} {profile.lastName}", "sn": "{profile.lastName}", "mail":
                ["{profile.email}", "{profile.secondEmail}"], "mobile": "{profile.mobilePhone}", "employeeType": "{status|title}",
                "departmentNumber": "{profile.department}"}}),
        record: json!({"id": "00u1", "status": "ACTIVE", "profile": {"login": "isaac@example.com", "email": "isaac@example.com",
            "secondEmail": "ib@example.org", "firstName": "Isaac", "lastName": "Brock", "mobilePhone": "555-0100", "department": null}}),
        dn: "uid=isaac",
        expected: json!({"mail": ["ib@example.org", "isaac@example.com"], "employeetype": ["Active"], "departmentnumber": []}),
    }
}

/// BambooHR, a report: a date that is not set is `0000-00-00`.
fn bamboohr() -> System {
    System {
        name: "bamboohr",
        rule: json!({"dn_template": "uid={id},{department|ou_path: > },",
            "values": {"cn": "{firstName} {lastName}", "sn": "{lastName}", "mail": "{workEmail}", "title": "{jobTitle}",
                "description": "{terminationDate|replace:/^0000-00-00$//|date:%d.%m.%Y|prefix:until }",
                "homePhone": "{homePhone|replace:/\\D//}"}}),
        record: json!({"id": "40342", "firstName": "Mia", "lastName": "Ash", "workEmail": "mia@example.com", "jobTitle": "Clerk",
            "department": "Sales > Inside, North", "hireDate": "2019-06-01", "terminationDate": "0000-00-00",
            "homePhone": "801-555-0100", "status": "Active"}),
        dn: "uid=40342,ou=inside\\, north,ou=sales",
        expected: json!({"description": [], "homephone": ["8015550100"]}),
    }
}

/// SAP SuccessFactors, OData v2: navigations are objects with `results`, dates are milliseconds.
fn successfactors() -> System {
    System {
        name: "successfactors",
        rule: json!({"dn_template": "uid={personIdExternal},",
            "values": {"cn": "{personalInfoNav.results[0].preferredName|default:} {personalInfoNav.results[0].lastName}",
                "sn": "{personalInfoNav.results[0].lastName}",
                "mail": "{emailNav.results[isPrimary].emailAddress}",
                "telephoneNumber": "{phoneNav.results[phoneType=10605].phoneNumber}",
                "title": "{employmentNav.results[0].jobInfoNav.results[0].jobTitle}",
                "departmentNumber": "{employmentNav.results[0].jobInfoNav.results[0].department}",
                "description": "{employmentNav.results[0].startDate|read_date:epoch_ms|date:%Y-%m-%d}"}}),
        record: json!({"personIdExternal": "103", "personalInfoNav": {"results": [{"preferredName": "Kim", "lastName": "Park"}]},
            "emailNav": {"results": [{"emailAddress": "k@example.org", "isPrimary": false},
                {"emailAddress": "kim.park@example.com", "isPrimary": true}]},
            "phoneNav": {"results": [{"phoneType": "10606", "phoneNumber": "1"}, {"phoneType": "10605", "phoneNumber": "555 0103"}]},
            "employmentNav": {"results": [{"startDate": "/Date(1388534400000)/", "endDate": null,
                "jobInfoNav": {"results": [{"jobTitle": "Analyst", "department": "5000"}]}}]}}),
        dn: "uid=103",
        expected: json!({"cn": ["Kim Park"], "mail": ["kim.park@example.com"], "telephonenumber": ["555 0103"],
            "description": ["2014-01-01"]}),
    }
}

/// UKG Pro, `personnel/v1/employment-details` joined with the person's details: units by four levels of the organization.
fn ukg() -> System {
    System {
        name: "ukg",
        rule: json!({"dn_template":
                "uid={employeeID}{?,ou={orgLevel4Code}?}{?,ou={orgLevel3Code}?}{?,ou={orgLevel2Code}?}{?,ou={orgLevel1Code}?},",
            "values": {"cn": "{firstName} {lastName}", "sn": "{lastName}", "mail": "{emailAddress}", "title": "{jobTitle|title}",
                "employeeNumber": "{employeeNumber|trim|number}",
                "telephoneNumber": "{workPhoneNumber}{?;ext={workPhoneExtension}?}",
                "description": "{lastHireDate|days_since} days"}}),
        record: json!({"employeeID": "U1", "employeeNumber": " 000777", "firstName": "Sam", "lastName": "Roe",
            "emailAddress": "sam@example.com", "jobTitle": "FLOOR MANAGER", "orgLevel1Code": "WEST", "orgLevel2Code": "STORE9",
            "orgLevel3Code": "", "orgLevel4Code": null, "employeeStatusCode": "A", "lastHireDate": "2026-02-01T00:00:00",
            "dateOfTermination": null, "workPhoneNumber": "5550107", "workPhoneExtension": null}),
        dn: "uid=u1,ou=store9,ou=west",
        expected: json!({"title": ["Floor Manager"], "employeenumber": ["777"], "telephonenumber": ["5550107"],
            "description": ["28 days"]}),
    }
}

/// Google Workspace, `users` of the Directory API: the path of units from the top.
fn google() -> System {
    System {
        name: "google",
        rule: json!({"dn_template": "uid={primaryEmail|replace:/@.*//}{?,{orgUnitPath|ou_path:/}?},",
            "values": {"cn": "{name.fullName}", "sn": "{name.familyName}", "givenName": "{name.givenName}",
                "mail": "{emails[].address}", "mobile": "{phones[type=mobile].value}",
                "title": "{organizations[primary].title}", "departmentNumber": "{organizations[*].department}",
                "manager": "uid={relations[type=manager].value|replace:/@.*//},ou=google,dc=example,dc=test"}}),
        record: json!({"id": "g1", "primaryEmail": "liz@example.com", "suspended": false, "orgUnitPath": "/Sales/EMEA, North",
            "name": {"givenName": "Liz", "familyName": "Fox", "fullName": "Liz Fox"},
            "emails": [{"address": "liz@example.com", "primary": true}, {"address": "liz@test.example"}],
            "phones": [{"type": "mobile", "value": "+1 555 0110"}],
            "organizations": [{"primary": true, "title": "Rep", "department": "Sales"}, {"department": "Events"}],
            "relations": [{"type": "manager", "value": "boss@example.com"}]}),
        dn: "uid=liz,ou=emea\\, north,ou=sales",
        expected: json!({"mail": ["liz@example.com", "liz@test.example"], "departmentnumber": ["Events", "Sales"],
            "manager": ["uid=boss,ou=google,dc=example,dc=test"]}),
    }
}

#[test]
fn ten_systems_are_loaded_twice_and_the_second_load_changes_nothing() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let systems = [
        workday(),
        adp(),
        personio(),
        hibob(),
        paycor(),
        okta(),
        bamboohr(),
        successfactors(),
        ukg(),
        google(),
    ];
    let mut rules = json!({});
    let mut messages = Vec::new();
    for System { name, rule, record, .. } in &systems {
        let mut rule = with(rule, &json!({"object_classes": CLASSES, "attribute_mapping": {}}));
        let dn = rule["dn_template"].as_str().unwrap();
        rule["dn_template"] = json!(format!("{dn}ou={name},dc=example,dc=test"));
        rules[name] = rule;
        let properties: serde_json::Map<String, Value> =
            record.as_object().unwrap().keys().map(|name| (name.clone(), json!({}))).collect();
        messages.push(json!({"type": "SCHEMA", "stream": name, "key_properties": [],
            "schema": {"type": "object", "properties": properties}}));
        messages.push(json!({"type": "RECORD", "stream": name, "record": record}));
    }
    let config = with(&target_config(&slapd), &json!({"mapping_rules": rules, "today": "2026-03-01"}));
    Run::target(&config).messages(&messages).run().succeeds();
    let tree = slapd.dump();
    let mut wrong = Vec::new();
    for System { name, dn, expected, .. } in &systems {
        let dn = format!("{dn},ou={name},dc=example,dc=test");
        // As the harness spells them.
        let spelled = dn.replace("\\,", "\\2c").replace("\\+", "\\2b");
        let is_it = |found: &str| [&dn, &spelled].contains(&&found.to_lowercase());
        let Some((_, entry)) = tree.iter().find(|(found, _)| is_it(found)) else {
            let below: Vec<&String> = tree.keys().filter(|dn| dn.contains(&format!("ou={name},"))).collect();
            wrong.push(format!("no {dn}: {below:?}"));
            continue;
        };
        for (attribute, values) in expected.as_object().unwrap() {
            let made = entry.get(attribute).cloned().unwrap_or_default();
            let made: Vec<String> = made.into_iter().map(|value| String::from_utf8(value).unwrap()).collect();
            let values: Vec<String> = serde_json::from_value(values.clone()).unwrap();
            if made != values {
                wrong.push(format!("{name} {attribute}: {made:?}, expected {values:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let before = slapd.change_marks();
    Run::target(&config).messages(&messages).run().succeeds().counts(&[("unchanged", 10)]);
    assert_untouched(&slapd, &before);
}
