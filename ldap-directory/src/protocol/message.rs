//! LDAP messages (RFC 4511 section 4.1.1): requests that this library sends, answers that it understands.

use std::ops::Range;

use super::ber::{self, BOOLEAN, ENUMERATED, INTEGER, OCTET_STRING, Reader, SEQUENCE, SET, Writer};
use super::entry::Flaw;
use super::request::{ADD_REQUEST, DELETE_REQUEST, EXTENDED_REQUEST, MODIFY_DN_REQUEST, MODIFY_REQUEST};
use super::{filter, result_code};
use crate::entry::{Attribute, Entry};
use crate::filter::Filter;
use crate::search_request::Scope;

/// Application tags of the protocol operations (RFC 4511 section 4.2 and on).
pub(crate) const BIND_REQUEST: u8 = 0x60;
const BIND_RESPONSE: u8 = 0x61;
const UNBIND_REQUEST: u8 = 0x42;
pub(crate) const SEARCH_REQUEST: u8 = 0x63;
pub(crate) const SEARCH_ENTRY: u8 = 0x64;
pub(crate) const SEARCH_DONE: u8 = 0x65;
const SEARCH_REFERENCE: u8 = 0x73;
const MODIFY_RESPONSE: u8 = 0x67;
const ADD_RESPONSE: u8 = 0x69;
const DELETE_RESPONSE: u8 = 0x6b;
const MODIFY_DN_RESPONSE: u8 = 0x6d;
const ABANDON_REQUEST: u8 = 0x50;
const EXTENDED_RESPONSE: u8 = 0x78;
const INTERMEDIATE_RESPONSE: u8 = 0x79;
const CONTROLS: u8 = 0xa0;

/// A control (RFC 4511 section 4.1.11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Control {
    /// `controlType`.
    pub(crate) oid: String,
    /// `criticality`.
    pub(crate) critical: bool,
    /// `controlValue`.
    pub(crate) value: Option<Vec<u8>>,
}

/// An LDAPResult (RFC 4511 section 4.1.9).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LdapResult {
    pub(crate) code: u32,
    pub(crate) matched: String,
    pub(crate) text: String,
    /// `referral`: URLs of other servers (section 4.1.10).
    pub(crate) referral: Vec<String>,
    /// `serverSaslCreds` of a bind (section 4.2.2).
    pub(crate) sasl: Option<Vec<u8>>,
}

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Bind(LdapResult),
    Entry(Entry),
    /// An entry whose DN is not UTF-8; the invalid octets are escaped.
    Unreadable(String),
    Reference(Vec<String>),
    Done(LdapResult),
    /// The result of a change: its tag says of which kind.
    Changed(u8, LdapResult),
    /// An extended response, including a Notice of Disconnection (section 4.4.1).
    Extended {
        result: LdapResult,
        name: Option<String>,
        value: Option<Vec<u8>>,
    },
    /// An intermediate response (section 4.13).
    Intermediate {
        name: Option<String>,
        value: Option<Vec<u8>>,
    },
    /// An operation that is not an answer to any request of this library.
    Other(u8),
}

impl Answer {
    /// Returns the result and the value of the end of an operation that was requested with this tag; `None` if the message is not its end.
    ///
    /// An operation ends with the response of its own kind, and with no other (RFC 4511 section 4.2 and on). Samba, and servers that do not
    /// know a request, refuse a request as a whole with an extended response: nothing else is accepted from it than that refusal.
    pub(crate) fn into_end(self, request: u8) -> Option<(LdapResult, Option<Vec<u8>>)> {
        match self {
            Answer::Bind(result) if request == BIND_REQUEST => Some((result, None)),
            Answer::Done(result) if request == SEARCH_REQUEST => Some((result, None)),
            Answer::Changed(tag, result) if is_change_response(request, tag) => Some((result, None)),
            Answer::Extended { result, value, .. } if request == EXTENDED_REQUEST => Some((result, value)),
            Answer::Extended { result, .. } if result_code::refuses_requests(result.code) => {
                Some((result, None))
            }
            _ => None,
        }
    }
}

/// Returns whether a response with this tag belongs to a change with that tag.
fn is_change_response(request: u8, response: u8) -> bool {
    match request {
        MODIFY_REQUEST => response == MODIFY_RESPONSE,
        ADD_REQUEST => response == ADD_RESPONSE,
        DELETE_REQUEST => response == DELETE_RESPONSE,
        MODIFY_DN_REQUEST => response == MODIFY_DN_RESPONSE,
        _ => false,
    }
}

/// A message from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// `messageID`; 0 is unsolicited.
    pub(crate) id: i64,
    pub(crate) answer: Answer,
    pub(crate) controls: Vec<Control>,
}

/// The header of an LDAPMessage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) id: i64,
    /// The operation's tag.
    pub(crate) tag: u8,
    /// The position of the operation's content.
    pub(crate) operation: Range<usize>,
}

/// Decodes the beginning of an LDAPMessage's content. `None` if it is not well-formed.
pub(crate) fn head(content: &[u8]) -> Option<Head> {
    let mut message = Reader::new(content);
    let id = message.integer(INTEGER)?;
    let (tag, operation) = message.element()?;
    let end = content.len() - message.left();
    Some(Head { id, tag, operation: end - operation.len()..end })
}

/// Decodes the content of an LDAPMessage. `None` if it is not well-formed.
pub(crate) fn parse(content: &[u8]) -> Option<Message> {
    let mut message = Reader::new(content);
    let id = message.integer(INTEGER)?;
    let (tag, octets) = message.element()?;
    let mut operation = Reader::new(octets);
    let answer = match tag {
        BIND_RESPONSE => {
            let result = result(&mut operation)?;
            Answer::Bind(LdapResult { sasl: operation.take(0x87).map(<[u8]>::to_vec), ..result })
        }
        SEARCH_ENTRY => match entry(octets) {
            Ok(entry) => Answer::Entry(entry),
            Err(Flaw::Name(dn)) => Answer::Unreadable(dn),
            Err(Flaw::Form | Flaw::Attributes(_) | Flaw::Description { .. }) => return None,
        },
        SEARCH_REFERENCE => {
            let mut urls = Vec::new();
            while !operation.is_empty() {
                urls.push(operation.text(OCTET_STRING)?.to_owned());
            }
            Answer::Reference(urls)
        }
        SEARCH_DONE => Answer::Done(result(&mut operation)?),
        MODIFY_RESPONSE | ADD_RESPONSE | DELETE_RESPONSE | MODIFY_DN_RESPONSE => {
            Answer::Changed(tag, result(&mut operation)?)
        }
        EXTENDED_RESPONSE => {
            let result = result(&mut operation)?;
            let name = operation.take(0x8a).map(text);
            let value = operation.take(0x8b).map(<[u8]>::to_vec);
            Answer::Extended { result, name, value }
        }
        INTERMEDIATE_RESPONSE => Answer::Intermediate {
            name: operation.take(0x80).map(text),
            value: operation.take(0x81).map(<[u8]>::to_vec),
        },
        other => Answer::Other(other),
    };
    let mut controls = Vec::new();
    if let Some(mut list) = message.constructed(CONTROLS) {
        while !list.is_empty() {
            let mut one = list.constructed(SEQUENCE)?;
            controls.push(Control {
                oid: one.text(OCTET_STRING)?.to_owned(),
                critical: one.take(BOOLEAN).is_some_and(|b| b != [0]),
                value: one.take(OCTET_STRING).map(<[u8]>::to_vec),
            });
        }
    }
    Some(Message { id, answer, controls })
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn result(operation: &mut Reader<'_>) -> Option<LdapResult> {
    let code = u32::try_from(operation.integer(ENUMERATED)?).ok()?;
    let matched = text(operation.take(OCTET_STRING)?);
    let diagnostic = text(operation.take(OCTET_STRING)?);
    let mut referral = Vec::new();
    if let Some(mut urls) = operation.constructed(0xa3) {
        while !urls.is_empty() {
            referral.push(text(urls.take(OCTET_STRING)?));
        }
    }
    Some(LdapResult { code, matched, text: diagnostic, referral, sasl: None })
}

/// Decodes a SearchResultEntry (section 4.5.2). A `vals` without values is an attribute with its description only.
pub(crate) fn entry(octets: &[u8]) -> Result<Entry, Flaw> {
    let mut operation = Reader::new(octets);
    let dn = operation.take(OCTET_STRING).ok_or(Flaw::Form)?;
    let dn = std::str::from_utf8(dn).map_err(|_| Flaw::name(dn))?.to_owned();
    let attributes = attributes(operation).ok_or_else(|| Flaw::in_attributes(octets))?;
    Ok(Entry { dn, attributes })
}

fn attributes(mut operation: Reader<'_>) -> Option<Vec<Attribute>> {
    let mut list = operation.constructed(SEQUENCE)?;
    let mut attributes = Vec::new();
    while !list.is_empty() {
        let mut one = list.constructed(SEQUENCE)?;
        let description = one.text(OCTET_STRING)?.to_owned();
        let mut set = one.constructed(SET)?;
        let mut values = Vec::new();
        while !set.is_empty() {
            values.push(set.take(OCTET_STRING)?.to_vec());
        }
        attributes.push(Attribute { description, values });
    }
    Some(attributes)
}

/// Encodes a whole message: id, operation, controls.
pub(crate) fn envelope(id: i32, operation: &[u8], controls: &[Control]) -> Vec<u8> {
    Writer::build(|w| {
        w.constructed(SEQUENCE, |w| {
            w.integer(INTEGER, i64::from(id));
            w.raw(operation);
            if !controls.is_empty() {
                w.constructed(CONTROLS, |w| controls.iter().for_each(|c| control(c, w)));
            }
        });
    })
}

fn control(control: &Control, out: &mut Writer) {
    out.constructed(SEQUENCE, |w| {
        w.octets(&control.oid);
        if control.critical {
            w.boolean(true);
        }
        control.value.iter().for_each(|v| w.octets(v));
    });
}

/// Encodes a simple bind (section 4.2).
pub(crate) fn simple_bind(dn: &str, password: &[u8]) -> Vec<u8> {
    bind(dn, |w| w.primitive(0x80, password))
}

/// Encodes a SASL EXTERNAL bind (RFC 4422 appendix A) with an empty authorization identity. Without any, slapd would request one
/// (saslBindInProgress).
pub(crate) fn external_bind() -> Vec<u8> {
    bind("", |w| {
        w.constructed(0xa3, |w| {
            w.octets("EXTERNAL");
            w.octets("");
        });
    })
}

/// Encodes a step of a SASL bind (section 4.2.1). Empty credentials are encoded too.
#[cfg(feature = "gssapi")]
pub(crate) fn sasl_bind(mechanism: &str, credentials: &[u8]) -> Vec<u8> {
    bind("", |w| {
        w.constructed(0xa3, |w| {
            w.octets(mechanism);
            w.octets(credentials);
        });
    })
}

fn bind(dn: &str, credentials: impl FnOnce(&mut Writer)) -> Vec<u8> {
    Writer::build(|w| {
        w.constructed(BIND_REQUEST, |w| {
            w.integer(INTEGER, 3);
            w.octets(dn);
            credentials(w);
        });
    })
}

/// Encodes an UnbindRequest (section 4.3).
pub(crate) fn unbind() -> Vec<u8> {
    Writer::build(|w| w.primitive(UNBIND_REQUEST, &[]))
}

/// Encodes an AbandonRequest (section 4.11).
pub(crate) fn abandon(id: i32) -> Vec<u8> {
    Writer::build(|w| w.integer(ABANDON_REQUEST, i64::from(id)))
}

/// Encodes a SearchRequest (section 4.5.1): aliases are not dereferenced. A size limit of 0 means none.
pub(crate) fn search(
    base: &str,
    scope: Scope,
    filter: &Filter,
    attributes: &[String],
    size_limit: u32,
) -> Vec<u8> {
    let scope = match scope {
        Scope::Base => 0,
        Scope::OneLevel => 1,
        Scope::Subtree => 2,
    };
    Writer::build(|w| {
        w.constructed(SEARCH_REQUEST, |w| {
            w.octets(base);
            w.integer(ENUMERATED, scope);
            w.integer(ENUMERATED, 0);
            w.integer(INTEGER, i64::from(size_limit));
            w.integer(INTEGER, 0);
            w.boolean(false);
            filter::write(filter, w);
            w.constructed(SEQUENCE, |w| attributes.iter().for_each(|a| w.octets(a)));
        });
    })
}

/// Returns the scope and the size limit of a SearchRequest, 0 for none. `None` for other requests.
pub(crate) fn limits(request: &[u8]) -> Option<(Scope, i64)> {
    let mut search = Reader::new(request).constructed(SEARCH_REQUEST)?;
    search.take(OCTET_STRING)?;
    let scope = match search.integer(ENUMERATED)? {
        0 => Scope::Base,
        1 => Scope::OneLevel,
        _ => Scope::Subtree,
    };
    search.integer(ENUMERATED)?;
    Some((scope, search.integer(INTEGER)?))
}

/// Returns the position of the content of the first message in `octets`; its end is the beginning of the next message.
pub(crate) fn frame(octets: &[u8]) -> Result<Range<usize>, ber::Incomplete> {
    let header = ber::header(octets)?;
    if header.tag != SEQUENCE {
        return Err(ber::Incomplete::Malformed);
    }
    Ok(header.start..header.end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_search_request_is_what_ldapsearch_sends() {
        // ldapsearch -b dc=x -s one '(&(cn=a*)(!(o>=b)))' cn, as message 2.
        let filter = Filter::parse("(&(cn=a*)(!(o>=b)))").unwrap();
        let message = envelope(2, &search("dc=x", Scope::OneLevel, &filter, &["cn".to_owned()], 0), &[]);
        let expected: &[u8] = b"\x30\x37\x02\x01\x02\x63\x32\x04\x04dc=x\x0a\x01\x01\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00\
            \xa0\x15\xa4\x09\x04\x02cn\x30\x03\x80\x01a\xa2\x08\xa5\x06\x04\x01o\x04\x01b\x30\x04\x04\x02cn";
        assert_eq!(message, expected, "{message:02x?}");
    }

    #[test]
    fn an_entry_keeps_its_values_and_their_order() {
        let operation = Writer::build(|w| {
            w.constructed(SEARCH_ENTRY, |w| {
                w.octets("cn=a");
                w.constructed(SEQUENCE, |w| {
                    w.constructed(SEQUENCE, |w| {
                        w.octets("cn;x-b");
                        w.constructed(SET, |w| {
                            w.octets(b"\xff\0");
                            w.octets("a");
                        });
                    });
                    w.constructed(SEQUENCE, |w| {
                        w.octets("sn");
                        w.constructed(SET, |_| {});
                    });
                });
            });
        });
        let controls = [Control { oid: "1.2".into(), critical: false, value: Some(vec![1]) }];
        let octets = envelope(7, &operation, &controls);
        let content = octets.get(frame(&octets).unwrap()).unwrap();
        let message = parse(content).unwrap();
        let entry = Entry {
            dn: "cn=a".into(),
            attributes: vec![
                Attribute::new("cn;x-b", vec![b"\xff\0".to_vec(), b"a".to_vec()]),
                Attribute::new("sn", vec![]),
            ],
        };
        assert_eq!(message, Message { id: 7, answer: Answer::Entry(entry), controls: controls.to_vec() });
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_a_panic(octets: Vec<u8>) {
            let parsed = parse(&octets);
            let _ = frame(&octets);
            let head = head(&octets);
            prop_assert!(parsed.is_none() || parsed.map(|m| m.id) == head.map(|h| h.id));
        }

        #[test]
        fn a_truncated_message_is_no_message(cut in 0_usize..40) {
            let operation = Writer::build(|w| w.constructed(SEARCH_DONE, |w| {
                w.integer(ENUMERATED, 4096);
                w.octets("dc=x");
                w.octets("text");
            }));
            let octets = envelope(1, &operation, &[]);
            let content = &octets[frame(&octets).unwrap()];
            let cut = cut.min(content.len() - 1);
            prop_assert_eq!(parse(&content[..cut]), None);
            prop_assert!(parse(content).is_some());
        }
    }
}
