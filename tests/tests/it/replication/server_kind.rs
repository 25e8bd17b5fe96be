//! The differences between kinds of server: naming attribute, classes, identifier; and a running server of any kind.

use std::fmt::Write as _;
use std::ops::Deref;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::samba::Samba;
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    OpenLdap,
    Ds389,
    ActiveDirectory,
}

impl Kind {
    /// The immutable id, as the server spells it.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Kind::OpenLdap => "entryUUID",
            Kind::Ds389 => "nsUniqueId",
            Kind::ActiveDirectory => "objectGUID",
        }
    }

    /// The id's value as a record has it.
    pub(crate) fn key_text(self, octets: &[u8]) -> String {
        match self {
            Kind::OpenLdap | Kind::Ds389 => String::from_utf8(octets.to_vec()).unwrap(),
            Kind::ActiveDirectory => crate::servers::active_directory::guid_text(octets),
        }
    }

    pub(crate) fn person_classes(self) -> &'static [&'static str] {
        match self {
            Kind::OpenLdap | Kind::Ds389 => &["inetOrgPerson"],
            Kind::ActiveDirectory => &["user"],
        }
    }

    pub(crate) fn group_class(self) -> &'static str {
        match self {
            Kind::OpenLdap | Kind::Ds389 => "groupOfNames",
            Kind::ActiveDirectory => "group",
        }
    }

    /// Attributes of a person that may have several values. Active Directory's users have one `description`, and no
    /// `cn` but their name.
    pub(crate) fn several(self) -> &'static [&'static str] {
        match self {
            Kind::OpenLdap | Kind::Ds389 => &["mail", "description", "telephoneNumber", "cn"],
            Kind::ActiveDirectory => &["otherTelephone", "otherHomePhone"],
        }
    }

    /// Attributes of a person that the model gives one value.
    pub(crate) fn single(self) -> &'static [&'static str] {
        match self {
            Kind::OpenLdap | Kind::Ds389 => &["sn", "givenName", "title"],
            Kind::ActiveDirectory => &["sn", "givenName", "title", "description", "mail", "telephoneNumber"],
        }
    }

    /// What the model changes, and what is therefore compared.
    pub(crate) fn compared(self) -> Vec<&'static str> {
        let both = ["objectClass", "employeeType", "jpegPhoto", "member", "ou"];
        let own = self.several().iter().chain(self.single()).copied();
        own.chain(both).chain((self == Kind::ActiveDirectory).then_some("cn")).collect()
    }
}

/// A running server. What may be killed at the end and what must be stopped, each kind knows itself.
#[derive(Debug)]
pub(crate) enum Directory {
    OpenLdap(Slapd),
    Ds389(Ds389),
    Samba(Samba),
}

impl Directory {
    /// A fresh one, with nothing below its suffix but what it brings itself.
    pub(crate) fn start(kind: Kind) -> Directory {
        match kind {
            Kind::OpenLdap => Directory::OpenLdap(Slapd::start(SlapdOptions::default())),
            Kind::Ds389 => Directory::Ds389(Ds389::start(&Ds389Options::default())),
            Kind::ActiveDirectory => Directory::Samba(Samba::start("")),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Directory::OpenLdap(_) => Kind::OpenLdap,
            Directory::Ds389(_) => Kind::Ds389,
            Directory::Samba(_) => Kind::ActiveDirectory,
        }
    }

    pub(crate) fn restart(&mut self) {
        match self {
            Directory::OpenLdap(server) => server.restart(),
            Directory::Ds389(server) => server.restart(),
            Directory::Samba(server) => server.restart(),
        }
    }
}

impl Deref for Directory {
    type Target = Server;

    fn deref(&self) -> &Server {
        match self {
            Directory::OpenLdap(server) => server,
            Directory::Ds389(server) => server,
            Directory::Samba(server) => server,
        }
    }
}

/// A value for an RDN, RFC 4514: whatever is special is escaped by its octet.
pub(crate) fn escaped(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        if ",+\"\\<>;=#".contains(c) {
            write!(text, "\\{:02x}", u32::from(c)).unwrap();
        } else {
            text.push(c);
        }
    }
    text
}

/// A line of LDIF, in base64 where RFC 2849 wants it.
pub(crate) fn line(name: &str, value: impl AsRef<[u8]>) -> String {
    let value = value.as_ref();
    let plain = value.iter().all(|b| (b' '..=b'~').contains(b))
        && !value.first().is_some_and(|b| b" :<".contains(b))
        && value.last() != Some(&b' ');
    if plain {
        format!("{name}: {}\n", std::str::from_utf8(value).unwrap())
    } else {
        format!("{name}:: {}\n", STANDARD.encode(value))
    }
}
