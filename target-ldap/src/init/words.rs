//! The names that records use for the attributes of people and groups.

/// An attribute, and the names of properties that mean it.
#[derive(Debug)]
pub(super) struct Row {
    /// The attribute of `inetOrgPerson` or `groupOfNames`.
    standard: &'static str,
    /// The attribute of Active Directory's `user` or `group`.
    active_directory: &'static str,
    /// Names of properties, in lower case, without separators.
    pub(super) words: &'static [&'static str],
}

impl Row {
    /// Returns the attribute's name on this kind of server.
    pub(super) fn attribute(&self, is_active_directory: bool) -> &'static str {
        if is_active_directory { self.active_directory } else { self.standard }
    }

    /// Whether a property with this name, in lower case and without separators, means the attribute.
    pub(super) fn means(&self, plain: &str) -> bool {
        self.words.contains(&plain)
            || plain == self.standard.to_ascii_lowercase()
            || plain == self.active_directory.to_ascii_lowercase()
    }
}

const fn row(standard: &'static str, active_directory: &'static str, words: &'static [&'static str]) -> Row {
    Row { standard, active_directory, words }
}

/// The attributes of people.
pub(super) const PERSON: &[Row] = &[
    row(
        "uid",
        "sAMAccountName",
        &["login", "loginname", "username", "userid", "user", "account", "accountname"],
    ),
    row(
        "employeeNumber",
        "employeeID",
        &[
            "employeeid",
            "employeenumber",
            "personid",
            "personnelnumber",
            "workerid",
            "staffid",
            "empid",
            "empno",
        ],
    ),
    row("givenName", "givenName", &["first", "firstname", "forename"]),
    row("sn", "sn", &["last", "lastname", "surname", "familyname"]),
    row("cn", "displayName", &["name", "fullname", "commonname"]),
    row("displayName", "displayName", &["preferredname", "knownas"]),
    row(
        "mail",
        "mail",
        &["email", "emailaddress", "mailaddress", "workemail", "businessemail", "primaryemail"],
    ),
    row(
        "telephoneNumber",
        "telephoneNumber",
        &["phone", "phonenumber", "workphone", "businessphone", "telephone", "tel"],
    ),
    row("mobile", "mobile", &["mobilephone", "mobilenumber", "cell", "cellphone"]),
    row("title", "title", &["jobtitle", "position", "role"]),
    row(
        "departmentNumber",
        "department",
        &["department", "departmentname", "departmentid", "dept", "costcenter"],
    ),
    row("employeeType", "employeeType", &["contracttype", "employmenttype", "workertype"]),
    row("o", "company", &["company", "companyname", "organization", "organisation"]),
    row("street", "streetAddress", &["address"]),
    row("l", "l", &["city", "town", "locality", "location"]),
    row("st", "st", &["state", "region", "province"]),
    row("postalCode", "postalCode", &["zip", "zipcode", "postcode"]),
    row("physicalDeliveryOfficeName", "physicalDeliveryOfficeName", &["office", "officename", "site"]),
    row("roomNumber", "roomNumber", &["room"]),
    row("preferredLanguage", "preferredLanguage", &["language", "locale"]),
    row("labeledURI", "wWWHomePage", &["website", "homepage", "url"]),
    row("description", "description", &["notes", "comment", "remarks"]),
    row("manager", "manager", &["managerdn"]),
];

/// The attributes of groups.
pub(super) const GROUP: &[Row] = &[
    row("cn", "cn", &["name", "groupname", "group", "teamname", "team", "role"]),
    row("description", "description", &["notes", "comment", "purpose"]),
    row("businessCategory", "businessCategory", &["category"]),
    row("member", "member", &["members", "memberdn", "memberdns"]),
    row("owner", "managedBy", &["ownerdn"]),
];

/// Parts of stream names, in lower case.
pub(super) const STREAMS_OF_GROUPS: &[&str] = &["group", "team", "role"];
/// Parts of stream names, in lower case.
pub(super) const STREAMS_OF_PEOPLE: &[&str] =
    &["user", "people", "person", "staff", "employee", "worker", "contact", "account", "student"];

/// The reason why a property with this name, in lower case and without separators, is not mapped; `None` for other names.
pub(super) fn reason(plain: &str) -> Option<&'static str> {
    match plain {
        "password" | "passwd" | "pwd" | "userpassword" | "unicodepwd" => {
            Some("a password: it needs the part `password` of the rule")
        }
        "manager" | "managerid" | "manageremployeeid" | "supervisor" | "boss" | "reportsto" => {
            Some("`manager` needs a DN: if the values are DNs, map it by hand")
        }
        "active" | "isactive" | "enabled" | "disabled" | "employed" | "status" => {
            Some("the part `accounts` of the rule can enable and disable accounts by a boolean")
        }
        _ => None,
    }
}
