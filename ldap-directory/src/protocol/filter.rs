//! Encoding of filters (RFC 4511 section 4.5.1.7).

use super::ber::{SEQUENCE, Writer};
use crate::filter::Filter;

/// Context tags of the choices.
const AND: u8 = 0xa0;
const OR: u8 = 0xa1;
const NOT: u8 = 0xa2;
const EQUALITY: u8 = 0xa3;
const SUBSTRINGS: u8 = 0xa4;
const GREATER_OR_EQUAL: u8 = 0xa5;
const LESS_OR_EQUAL: u8 = 0xa6;
const PRESENT: u8 = 0x87;
const APPROX: u8 = 0xa8;
const EXTENSIBLE: u8 = 0xa9;

/// Encodes a filter. Its nesting is bounded by [`crate::filter::MAX_DEPTH`].
pub(crate) fn write(filter: &Filter, out: &mut Writer) {
    match filter {
        Filter::And(filters) => out.constructed(AND, |w| filters.iter().for_each(|f| write(f, w))),
        Filter::Or(filters) => out.constructed(OR, |w| filters.iter().for_each(|f| write(f, w))),
        Filter::Not(inner) => out.constructed(NOT, |w| write(inner, w)),
        Filter::Equality { attribute, value } => assertion(EQUALITY, attribute, value, out),
        Filter::GreaterOrEqual { attribute, value } => assertion(GREATER_OR_EQUAL, attribute, value, out),
        Filter::LessOrEqual { attribute, value } => assertion(LESS_OR_EQUAL, attribute, value, out),
        Filter::Approx { attribute, value } => assertion(APPROX, attribute, value, out),
        Filter::Present(attribute) => out.primitive(PRESENT, attribute.as_bytes()),
        Filter::Substring { attribute, initial, any, last } => out.constructed(SUBSTRINGS, |w| {
            w.octets(attribute);
            w.constructed(SEQUENCE, |w| {
                if let Some(v) = initial {
                    w.primitive(0x80, v);
                }
                for v in any {
                    w.primitive(0x81, v);
                }
                if let Some(v) = last {
                    w.primitive(0x82, v);
                }
            });
        }),
        Filter::Extensible { rule, attribute, dn, value } => out.constructed(EXTENSIBLE, |w| {
            if let Some(v) = rule {
                w.primitive(0x81, v.as_bytes());
            }
            if let Some(v) = attribute {
                w.primitive(0x82, v.as_bytes());
            }
            w.primitive(0x83, value);
            if *dn {
                // dnAttributes [4] BOOLEAN DEFAULT FALSE.
                w.primitive(0x84, &[0xff]);
            }
        }),
    }
}

fn assertion(tag: u8, attribute: &str, value: &[u8], out: &mut Writer) {
    out.constructed(tag, |w| {
        w.octets(attribute);
        w.octets(value);
    });
}
