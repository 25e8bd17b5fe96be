//! Encoding of update and extended requests (RFC 4511 sections 4.6 to 4.9 and 4.12).

use super::ber::{ENUMERATED, SEQUENCE, SET, Writer};
use super::filter;
use super::message::Control;
use crate::change::{Change, ModificationKind};
use crate::oid;
use crate::write_control::WriteControl;

pub(super) const MODIFY_REQUEST: u8 = 0x66;
pub(super) const ADD_REQUEST: u8 = 0x68;
pub(super) const DELETE_REQUEST: u8 = 0x4a;
pub(super) const MODIFY_DN_REQUEST: u8 = 0x6c;
pub(crate) const EXTENDED_REQUEST: u8 = 0x77;

/// Encodes a change. Values keep their order.
pub(crate) fn change(change: &Change) -> Vec<u8> {
    Writer::build(|w| match change {
        Change::Add(entry) => w.constructed(ADD_REQUEST, |w| {
            w.octets(&entry.dn);
            w.constructed(SEQUENCE, |w| {
                for attribute in entry.attributes.iter().filter(|a| !a.values.is_empty()) {
                    w.constructed(SEQUENCE, |w| {
                        partial_attribute(&attribute.description, &attribute.values, w);
                    });
                }
            });
        }),
        Change::Modify { dn, changes } => w.constructed(MODIFY_REQUEST, |w| {
            w.octets(dn);
            w.constructed(SEQUENCE, |w| {
                for step in changes {
                    let kind = match step.kind {
                        ModificationKind::Add => 0,
                        ModificationKind::Delete => 1,
                        ModificationKind::Replace => 2,
                        // RFC 4525 section 3.
                        ModificationKind::Increment => 3,
                    };
                    w.constructed(SEQUENCE, |w| {
                        w.integer(ENUMERATED, kind);
                        w.constructed(SEQUENCE, |w| partial_attribute(&step.description, &step.values, w));
                    });
                }
            });
        }),
        Change::Delete { dn } => w.primitive(DELETE_REQUEST, dn.as_bytes()),
        Change::Rename { dn, new_rdn, delete_old_rdn, new_superior } => {
            w.constructed(MODIFY_DN_REQUEST, |w| {
                w.octets(dn);
                w.octets(new_rdn);
                w.boolean(*delete_old_rdn);
                if let Some(superior) = new_superior {
                    w.primitive(0x80, superior.as_bytes());
                }
            });
        }
    })
}

fn partial_attribute(description: &str, values: &[Vec<u8>], w: &mut Writer) {
    w.octets(description);
    w.constructed(SET, |w| values.iter().for_each(|v| w.octets(v)));
}

/// Encodes a control of a change, always critical: a server that does not support it must not make the change.
pub(crate) fn control(control: &WriteControl) -> Control {
    let (oid, value) = match control {
        WriteControl::RelaxRules => (oid::RELAX_RULES, None),
        WriteControl::Assertion(filter) => {
            (oid::ASSERTION, Some(Writer::build(|w| filter::write(filter, w))))
        }
    };
    Control { oid: oid.to_owned(), critical: true, value }
}

/// Encodes the value of a Password Modify request (RFC 3062 section 2): the user, and the new password.
pub(crate) fn password_modify(dn: &str, password: &[u8]) -> Vec<u8> {
    Writer::build(|w| {
        w.constructed(SEQUENCE, |w| {
            w.primitive(0x80, dn.as_bytes());
            w.primitive(0x82, password);
        });
    })
}

/// Encodes an ExtendedRequest (section 4.12).
pub(crate) fn extended(oid: &str, value: Option<&[u8]>) -> Vec<u8> {
    Writer::build(|w| {
        w.constructed(EXTENDED_REQUEST, |w| {
            w.primitive(0x80, oid.as_bytes());
            if let Some(value) = value {
                w.primitive(0x81, value);
            }
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Modification;
    use crate::entry::{Attribute, Entry};

    #[test]
    fn requests_are_what_ldapmodify_sends() {
        let values = |v: &[&str]| v.iter().map(|v| v.as_bytes().to_vec()).collect::<Vec<_>>();
        let add = change(&Change::Add(Entry {
            dn: "cn=a".into(),
            attributes: vec![Attribute::new("cn", values(&["b", "a"])), Attribute::new("sn", vec![])],
        }));
        let expected: &[u8] = b"\x68\x16\x04\x04cn=a\x30\x0e\x30\x0c\x04\x02cn\x31\x06\x04\x01b\x04\x01a";
        assert_eq!(add, expected, "{add:02x?}");
        let modify = change(&Change::Modify {
            dn: "cn=a".into(),
            changes: vec![
                Modification::new(ModificationKind::Replace, "sn", values(&["x"])),
                Modification::new(ModificationKind::Delete, "sn", vec![]),
            ],
        });
        let expected: &[u8] = b"\x66\x25\x04\x04cn=a\x30\x1d\
            \x30\x0e\x0a\x01\x02\x30\x09\x04\x02sn\x31\x03\x04\x01x\
            \x30\x0b\x0a\x01\x01\x30\x06\x04\x02sn\x31\x00";
        assert_eq!(modify, expected, "{modify:02x?}");
        assert_eq!(change(&Change::Delete { dn: "cn=a".into() }), b"\x4a\x04cn=a");
        let rename = change(&Change::Rename {
            dn: "cn=a".into(),
            new_rdn: "cn=b".into(),
            delete_old_rdn: true,
            new_superior: Some("o=x".into()),
        });
        assert_eq!(rename, b"\x6c\x14\x04\x04cn=a\x04\x04cn=b\x01\x01\xff\x80\x03o=x");
        assert_eq!(extended("1.2", Some(b"v")), b"\x77\x08\x80\x031.2\x81\x01v");
    }
}
