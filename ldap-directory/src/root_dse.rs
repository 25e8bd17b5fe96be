//! The root DSE: what a server publishes about itself (RFC 4512 section 5.1).

use crate::dn::DnKey;
use crate::entry::Entry;
use crate::oid;
use crate::schema::Schema;

pub use crate::filter::MATCH_ALL;

/// Servers with vendor-specific behavior.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Vendor {
    /// OpenLDAP's slapd.
    OpenLdap,
    /// 389 Directory Server and its derivatives.
    Ds389,
    /// Active Directory, including Samba.
    ActiveDirectory,
    /// An LDIF file.
    Ldif,
    /// Any other RFC 4511 server.
    #[default]
    Other,
}

impl Vendor {
    /// Returns the name for display.
    pub fn name(self) -> &'static str {
        match self {
            Vendor::OpenLdap => "OpenLDAP",
            Vendor::Ds389 => "389 Directory Server",
            Vendor::ActiveDirectory => "Active Directory",
            Vendor::Ldif => "LDIF file",
            Vendor::Other => "LDAP server",
        }
    }

    /// Returns whether each of its servers numbers changes individually, so that the numbers of one are not valid on another.
    pub fn has_per_server_usns(self) -> bool {
        matches!(self, Vendor::ActiveDirectory | Vendor::Ds389)
    }

    /// Returns how many paged searches (RFC 2696) may be in progress on one connection: how many cookies the server keeps for it.
    pub fn paged_searches_per_connection(self) -> usize {
        match self {
            // A number for each operation (nsslapd-maxsimplepaged-per-conn), unlimited unless it is set.
            Vendor::Ds389 | Vendor::Ldif => usize::MAX,
            // MaxResultSetsPerConn ([MS-ADTS] 3.1.1.3.4.6), 10 unless it is set; Samba always has 10. Beyond, the oldest is dropped.
            Vendor::ActiveDirectory => 10,
            // slapd(8) refuses a cookie that is not the last one ("paged results cookie is invalid or old").
            Vendor::OpenLdap | Vendor::Other => 1,
        }
    }

    /// Returns the attributes that identify an entry permanently, whatever its DN; the best first.
    pub fn immutable_ids(self) -> &'static [&'static str] {
        match self {
            Vendor::Ds389 => &["nsUniqueId", "entryUUID"],
            Vendor::ActiveDirectory => &["objectGUID"],
            Vendor::OpenLdap | Vendor::Ldif | Vendor::Other => &["entryUUID", "nsUniqueId", "objectGUID"],
        }
    }

    /// Returns the attributes that show when an entry changed, the server's own key first.
    pub fn change_keys(self) -> &'static [&'static str] {
        match self {
            Vendor::OpenLdap => &["entryCSN", "modifyTimestamp", "createTimestamp"],
            Vendor::Ds389 => &["entryusn", "modifyTimestamp", "createTimestamp"],
            Vendor::ActiveDirectory => {
                &["uSNChanged", "whenChanged", "whenCreated", "modifyTimestamp", "createTimestamp"]
            }
            Vendor::Ldif | Vendor::Other => &["modifyTimestamp", "createTimestamp"],
        }
    }
}

/// The mechanism by which a server reports changes and deletions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeLog {
    /// Content synchronization (RFC 4533).
    ContentSync,
    /// Active Directory's DirSync ([MS-ADTS] 3.1.1.3.4.1.3), or its update sequence numbers.
    DirSync,
}

/// The root DSE, as far as this library uses it.
#[derive(Debug, Clone, Default)]
pub struct RootDse {
    /// The kind of server, by its root DSE, or else by its schema.
    pub vendor: Vendor,
    /// The kind of server by its root DSE alone, by which servers are compared whose schema is not read.
    pub(crate) published: Vendor,
    /// `vendorName` and `vendorVersion`, if published.
    pub version: String,
    /// `namingContexts`.
    pub naming_contexts: Vec<String>,
    /// `defaultNamingContext` (Active Directory, and others that adopted it).
    pub default_naming_context: Option<String>,
    /// `supportedControl`.
    pub controls: Vec<String>,
    /// `supportedExtension`.
    pub extensions: Vec<String>,
    /// `supportedFeatures`.
    pub features: Vec<String>,
    /// `subschemaSubentry`.
    pub subschema: Option<String>,
    /// Identifies the server among others with the same directory, if its answers have numbers of its own: Active Directory's
    /// `dsServiceName` ([MS-ADTS] 3.1.1.3.2.7), 389 DS's `netscapemdsuffix`.
    pub server_id: Vec<String>,
}

impl RootDse {
    /// The attributes to request.
    pub const ATTRIBUTES: &'static [&'static str] = &[
        "objectClass",
        "structuralObjectClass",
        "vendorName",
        "vendorVersion",
        "namingContexts",
        "defaultNamingContext",
        "supportedControl",
        "supportedExtension",
        "supportedFeatures",
        "supportedCapabilities",
        "subschemaSubentry",
        "dsServiceName",
        "netscapemdsuffix",
    ];

    /// The highest update sequence number of a domain controller ([MS-ADTS] 3.1.1.3.2.10), which is read when needed.
    pub const HIGHEST_USN: &'static str = "highestCommittedUSN";

    /// Returns whether the server let nothing be seen by which it could be recognized.
    pub(crate) fn is_blank(&self) -> bool {
        self.published == Vendor::default() && self.naming_contexts.is_empty()
    }

    /// Returns whether nothing is known of what kind a server is: it shows neither a vendor nor its schema.
    pub fn is_of_unknown_kind(&self, schema: &Schema) -> bool {
        self.vendor == Vendor::Other && self.version.is_empty() && schema.is_assumed()
    }

    /// Returns whether another root DSE is that of the same kind of server.
    pub(crate) fn is_of_kind(&self, other: &RootDse) -> bool {
        self.published == other.published
    }

    /// Recognizes the kind of a server whose root DSE does not say it, because it is hidden or an intermediate server cuts it, by classes that
    /// only this kind has in its schema. One that names another vendor is of no known kind.
    pub(crate) fn recognize(&mut self, schema: &Schema) {
        const OF_KIND: [(&str, Vendor); 2] = [
            // slapd publishes the class of its own root DSE (servers/slapd/schema_prep.c).
            ("OpenLDAProotDSE", Vendor::OpenLdap),
            // 389 Directory Server's ldap/schema/01core389.ldif.
            ("nsDSWindowsReplicationAgreement", Vendor::Ds389),
        ];
        if self.vendor != Vendor::Other || !self.version.is_empty() || schema.is_assumed() {
            return;
        }
        let known = OF_KIND.iter().find(|(class, _)| schema.object_class(class).is_some());
        if let Some((_, vendor)) = known {
            self.vendor = *vendor;
        }
    }

    /// Returns whether a DN is in none of the naming contexts. `false` if the server names none.
    pub fn is_outside(&self, key: &DnKey, schema: &Schema) -> bool {
        let holds =
            |context: &String| DnKey::parse(context, schema).is_ok_and(|context| key.is_within(&context));
        !self.naming_contexts.is_empty() && !self.naming_contexts.iter().any(holds)
    }

    /// Parses the entry with the empty DN.
    ///
    /// ```
    /// use ldap_directory::entry::{Attribute, Entry};
    /// use ldap_directory::{RootDse, Vendor, oid};
    ///
    /// let attribute = |name: &str, value: &str| Attribute::new(name, vec![value.as_bytes().to_vec()]);
    /// let entry = Entry {
    ///     dn: String::new(),
    ///     attributes: vec![
    ///         attribute("objectClass", "OpenLDAProotDSE"),
    ///         attribute("namingContexts", "dc=example,dc=com"),
    ///         attribute("supportedControl", oid::PAGED_RESULTS),
    ///     ],
    /// };
    /// let root_dse = RootDse::from_entry(&entry);
    /// assert_eq!(root_dse.vendor, Vendor::OpenLdap);
    /// assert_eq!(root_dse.default_base(), Some("dc=example,dc=com"));
    /// assert!(root_dse.supports_control(oid::PAGED_RESULTS));
    /// ```
    pub fn from_entry(entry: &Entry) -> RootDse {
        let texts = |name: &str| -> Vec<String> {
            entry.values(name).iter().map(|v| String::from_utf8_lossy(v).into_owned()).collect()
        };
        let first = |name: &str| entry.first_text(name).map(str::to_owned);
        // [MS-ADTS] 3.1.1.3.4.3: LDAP_CAP_ACTIVE_DIRECTORY_OID.
        let is_ad = texts("supportedCapabilities").iter().any(|c| c == oid::ACTIVE_DIRECTORY);
        let is_openldap = texts("objectClass")
            .iter()
            .chain(&texts("structuralObjectClass"))
            .any(|c| c.eq_ignore_ascii_case("OpenLDAProotDSE"));
        let vendor_name = first("vendorName").unwrap_or_default();
        let vendor = if is_ad {
            Vendor::ActiveDirectory
        } else if is_openldap {
            Vendor::OpenLdap
        } else if vendor_name.contains("389") || vendor_name.contains("Red Hat") {
            Vendor::Ds389
        } else {
            Vendor::Other
        };
        RootDse {
            vendor,
            published: vendor,
            version: [vendor_name, first("vendorVersion").unwrap_or_default()].join(" ").trim().to_owned(),
            naming_contexts: texts("namingContexts"),
            default_naming_context: first("defaultNamingContext"),
            controls: texts("supportedControl"),
            extensions: texts("supportedExtension"),
            features: texts("supportedFeatures"),
            subschema: first("subschemaSubentry"),
            server_id: [texts("dsServiceName"), texts("netscapemdsuffix")].concat(),
        }
    }

    /// Returns whether the server supports a control.
    pub fn supports_control(&self, oid: &str) -> bool {
        self.controls.iter().any(|c| c == oid)
    }

    /// Returns the filter that matches every entry. `(objectClass=*)` does not match entries whose classes the bound user cannot
    /// read; `(&)` does, if the server supports it (RFC 4526). 389 DS does not, but each entry has an identifier that the bound
    /// user can read.
    pub fn match_all(&self) -> &'static str {
        if self.features.iter().any(|f| f == oid::TRUE_AND_FALSE_FILTERS) {
            "(&)"
        } else if self.vendor == Vendor::Ds389 {
            "(|(objectClass=*)(nsUniqueId=*))"
        } else {
            MATCH_ALL
        }
    }

    /// Returns whether the server returns all operational attributes for `+` (RFC 3673).
    pub fn gives_all_operational(&self) -> bool {
        self.vendor == Vendor::Ldif || self.features.iter().any(|f| f == oid::ALL_OPERATIONAL_ATTRIBUTES)
    }

    /// Returns whether [`Self::match_all`] finds entries whose classes the bound user cannot read.
    pub fn finds_without_class(&self) -> bool {
        self.match_all() != MATCH_ALL
    }

    /// Returns the change log of the server, if it is reliable.
    pub fn change_log(&self) -> Option<ChangeLog> {
        // ApacheDS lists the DirSync control without supporting it, so the control alone is not sufficient. Domain controllers and AD LDS
        // also publish their own object.
        let is_domain_controller = self.vendor == Vendor::ActiveDirectory
            || (self.supports_control(oid::DIRSYNC) && !self.server_id.is_empty());
        if is_domain_controller {
            return Some(ChangeLog::DirSync);
        }
        (self.supports_control(oid::SYNC_REQUEST) && !self.loses_changes()).then_some(ChangeLog::ContentSync)
    }

    /// Returns whether the server's content synchronization is known to omit modifications and renames (ApacheDS 2.0.0.AM26).
    pub fn loses_changes(&self) -> bool {
        self.version.starts_with("Apache Software Foundation")
    }

    /// Returns whether the server is known not to support an extended operation.
    pub fn lacks_extension(&self, oid: &str) -> bool {
        !self.extensions.is_empty() && !self.extensions.iter().any(|e| e == oid)
    }

    /// Returns the base to use by default: the default naming context, or the only one that holds data; `None` if there are several
    /// to choose from. For a file, it is the common ancestor of all entries, which may be the root (the empty DN), and need not be
    /// an entry.
    pub fn default_base(&self) -> Option<&str> {
        if self.vendor == Vendor::Ldif {
            return self.default_naming_context.as_deref();
        }
        // 389 DS publishes `cn=changelog` as its default naming context, which is never the intended one.
        if let Some(dn) = self.default_naming_context.as_deref().filter(|dn| is_data(dn)) {
            return Some(dn);
        }
        let mut candidates = self.naming_contexts.iter().filter(|dn| is_data(dn));
        match (candidates.next(), candidates.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }

    /// Returns the bases of all data: the naming contexts that hold some, else the default base. There need not be an entry at each.
    pub fn data_bases(&self) -> Vec<&str> {
        let contexts: Vec<&str> =
            self.naming_contexts.iter().map(String::as_str).filter(|dn| is_data(dn)).collect();
        if contexts.is_empty() { self.default_base().into_iter().collect() } else { contexts }
    }
}

/// Whether a naming context holds data, not the configuration or the changes of the server.
fn is_data(dn: &str) -> bool {
    !dn.to_ascii_lowercase().starts_with("cn=")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Attribute;

    fn root(attributes: &[(&str, &[&str])]) -> RootDse {
        let attribute = |(name, values): &(&str, &[&str])| {
            Attribute::new(*name, values.iter().map(|v| v.as_bytes().to_vec()).collect())
        };
        RootDse::from_entry(&Entry {
            dn: String::new(),
            attributes: attributes.iter().map(attribute).collect(),
        })
    }

    #[test]
    fn a_hidden_kind_is_known_by_the_schema() {
        let of = |class: &str| {
            let class = format!("( 1.3.6.1.4.1.55555.9 NAME '{class}' SUP top STRUCTURAL MAY cn )");
            Schema::parse(std::iter::empty(), std::iter::once(class.as_str())).0
        };
        let recognized = |mut root: RootDse, schema: &Schema| {
            root.recognize(schema);
            root.vendor
        };
        assert_eq!(recognized(RootDse::default(), &of("OpenLDAProotDSE")), Vendor::OpenLdap);
        assert_eq!(
            recognized(root(&[("namingContexts", &["dc=x"])]), &of("OpenLDAProotDSE")),
            Vendor::OpenLdap
        );
        assert_eq!(recognized(RootDse::default(), &of("nsDSWindowsReplicationAgreement")), Vendor::Ds389);
        assert_eq!(recognized(RootDse::default(), &of("person")), Vendor::Other);
        assert_eq!(recognized(RootDse::default(), &of("OpenLDAProotDSE").assumed()), Vendor::Other);
        assert_eq!(recognized(root(&[("vendorName", &["Other"])]), &of("OpenLDAProotDSE")), Vendor::Other);
        let mut hidden = RootDse::default();
        hidden.recognize(&of("OpenLDAProotDSE"));
        assert!(hidden.is_of_kind(&RootDse::default()) && hidden.is_blank(), "at another connection");
    }

    #[test]
    fn one_control_makes_no_domain_controller() {
        let apache = [
            ("vendorName", &["Apache Software Foundation"][..]),
            ("vendorVersion", &["2.0.0.AM26"]),
            ("supportedControl", &[oid::DIRSYNC, oid::SYNC_REQUEST]),
        ];
        assert_eq!(root(&apache).change_log(), None, "its content synchronization loses changes");
        let [_, version, controls] = apache;
        assert_eq!(
            root(&[("vendorName", &["Other"]), version, controls]).change_log(),
            Some(ChangeLog::ContentSync)
        );
        assert_eq!(
            root(&[controls, ("dsServiceName", &["CN=NTDS Settings"])]).change_log(),
            Some(ChangeLog::DirSync)
        );
        let capability = ("supportedCapabilities", &[oid::ACTIVE_DIRECTORY][..]);
        assert_eq!(root(&[capability]).change_log(), Some(ChangeLog::DirSync));
        assert_eq!(root(&[("supportedControl", &[oid::DIRSYNC])]).change_log(), None);
    }
}
