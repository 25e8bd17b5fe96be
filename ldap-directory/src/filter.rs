//! Search filters: parsing, building and printing (RFC 4515), and evaluation against an entry (RFC 4511 section 4.5.1.7).

pub(crate) mod active_directory;
mod matching;
mod parse;

use std::borrow::Cow;
use std::fmt;

use crate::dn::{escape_name, push_hex};

/// The filter that matches every entry (RFC 4511 section 4.5.1.7, RFC 4512 section 2.3), as text.
pub const MATCH_ALL: &str = "(objectClass=*)";

/// The maximum nesting depth of a filter.
pub const MAX_DEPTH: usize = 100;

/// A search filter (RFC 4511 section 4.5.1.7). Attributes are descriptions, with options; values are decoded.
///
/// What [`Filter::parse`] refuses, such as an attribute with parentheses, a built filter may have; a search with it fails, and nothing is
/// sent ([`Filter::check`]). A nesting of thousands overflows the stack when it is cloned or dropped, as any tree of boxes does.
///
/// ```
/// use ldap_directory::filter::Filter;
///
/// let filter = Filter::And(vec![Filter::Present("mail".into()), Filter::equality("sn", "O*Hara")]);
/// assert_eq!(filter.to_string(), r"(&(mail=*)(sn=O\2AHara))");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Filter {
    /// `(&…)`; true if empty (RFC 4526).
    And(Vec<Filter>),
    /// `(|…)`; false if empty (RFC 4526).
    Or(Vec<Filter>),
    /// `(!…)`
    Not(Box<Filter>),
    /// `(cn=x)`
    Equality {
        /// The attribute description.
        attribute: String,
        /// The value asserted.
        value: Vec<u8>,
    },
    /// `(cn=a*b*c)`; from [`Filter::parse`], it has at least one part, and no part is empty.
    Substring {
        /// The attribute description.
        attribute: String,
        /// The part at the beginning of the value.
        initial: Option<Vec<u8>>,
        /// The parts in between, in this order.
        any: Vec<Vec<u8>>,
        /// The part at the end of the value.
        last: Option<Vec<u8>>,
    },
    /// `(cn>=x)`
    GreaterOrEqual {
        /// The attribute description.
        attribute: String,
        /// The value asserted.
        value: Vec<u8>,
    },
    /// `(cn<=x)`
    LessOrEqual {
        /// The attribute description.
        attribute: String,
        /// The value asserted.
        value: Vec<u8>,
    },
    /// `(cn=*)`
    Present(String),
    /// `(cn~=x)`
    Approx {
        /// The attribute description.
        attribute: String,
        /// The value asserted.
        value: Vec<u8>,
    },
    /// `(cn:dn:2.5.13.5:=x)`; a rule, an attribute or both.
    Extensible {
        /// The matching rule, by name or OID.
        rule: Option<String>,
        /// The attribute description; `None` means all attributes.
        attribute: Option<String>,
        /// Whether the assertions of the entry's DN are matched too.
        dn: bool,
        /// The value asserted.
        value: Vec<u8>,
    },
}

/// Why a text is not a filter (RFC 4515 section 3). Offsets are bytes into the text, from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The text has something other than what the grammar expects.
    #[error("filter, byte {at}: {expected} expected")]
    Expected {
        /// The offset.
        at: usize,
        /// The expected element.
        expected: &'static str,
    },
    /// An attribute description or matching rule with invalid characters.
    #[error("filter, byte {0}: an attribute (letters, digits, `-`, `;`) expected before the operator")]
    BadAttribute(usize),
    /// A backslash without two hex digits.
    #[error("filter, byte {0}: `\\` must be followed by two hex digits; a backslash itself is `\\5c`")]
    BadEscape(usize),
    /// A character that must be escaped in a value.
    #[error("filter, byte {at}: {found:?} in a value must be written `\\{code:02x}`", code = u32::from(*found))]
    Unescaped {
        /// The offset.
        at: usize,
        /// The character.
        found: char,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("filter, byte {0}: nested deeper than {MAX_DEPTH}")]
    TooDeep(usize),
    /// A filter that was built is nested deeper than [`MAX_DEPTH`].
    #[error("filter: nested deeper than {MAX_DEPTH}")]
    BuiltTooDeep,
    /// A filter that was built has an attribute description or a matching rule with invalid characters.
    #[error("filter: {0:?} is no attribute or matching rule (letters, digits, `-`, `;`)")]
    BuiltOfNoAttribute(String),
}

impl Filter {
    /// Parses a filter (RFC 4515 section 3). Beyond the RFC, it accepts white space between parentheses, and a single
    /// comparison without parentheses.
    ///
    /// # Errors
    /// Fails if the text is not a filter, or is nested deeper than [`MAX_DEPTH`]; the error has the offset.
    ///
    /// ```
    /// use ldap_directory::filter::{Filter, FilterError};
    ///
    /// let filter = Filter::parse("(&(objectClass=person)(!(mail=*)))")?;
    /// assert_eq!(filter.attributes(), ["objectClass", "mail"]);
    /// assert_eq!(Filter::parse("(cn=a)(sn=b)"), Err(FilterError::Expected { at: 6, expected: "the end" }));
    /// # Ok::<(), FilterError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parse::parse(text)
    }

    /// Checks a filter that was built: its depth, attributes and matching rules. One from [`Self::parse`] is valid.
    ///
    /// # Errors
    /// Fails if it is nested deeper than [`MAX_DEPTH`], or has an attribute or a rule with characters that none has.
    ///
    /// ```
    /// use ldap_directory::filter::{Filter, FilterError};
    ///
    /// let odd = Filter::equality("uid=*)(x", "y");
    /// assert_eq!(odd.check(), Err(FilterError::BuiltOfNoAttribute("uid=*)(x".into())));
    /// assert_eq!(odd.to_string(), r"(uid\3D\2A\29\28x=y)");
    /// ```
    pub fn check(&self) -> Result<(), FilterError> {
        self.check_below(MAX_DEPTH)
    }

    fn check_below(&self, depth: usize) -> Result<(), FilterError> {
        let depth = depth.checked_sub(1).ok_or(FilterError::BuiltTooDeep)?;
        let word = |text: &str| {
            if parse::is_word(text) { Ok(()) } else { Err(FilterError::BuiltOfNoAttribute(text.to_owned())) }
        };
        match self {
            Self::And(filters) | Self::Or(filters) => filters.iter().try_for_each(|f| f.check_below(depth)),
            Self::Not(inner) => inner.check_below(depth),
            Self::Equality { attribute, .. }
            | Self::Substring { attribute, .. }
            | Self::GreaterOrEqual { attribute, .. }
            | Self::LessOrEqual { attribute, .. }
            | Self::Present(attribute)
            | Self::Approx { attribute, .. } => word(attribute),
            Self::Extensible { attribute, rule, .. } => {
                attribute.iter().chain(rule).try_for_each(|text| word(text))
            }
        }
    }

    /// Returns whether this is [`MATCH_ALL`], in its spelling.
    pub(crate) fn is_match_all(&self) -> bool {
        matches!(self, Self::Present(name) if name == "objectClass")
    }

    /// Whether the filter has an approximate comparison, for which each server has an algorithm of its own (RFC 4511 section 4.5.1.7.6).
    pub fn is_approximate(&self) -> bool {
        match self {
            Self::And(filters) | Self::Or(filters) => filters.iter().any(Self::is_approximate),
            Self::Not(inner) => inner.is_approximate(),
            Self::Approx { .. } => true,
            _ => false,
        }
    }

    /// Returns the attributes in the filter, in order, with repetitions.
    pub fn attributes(&self) -> Vec<&str> {
        match self {
            Self::And(filters) | Self::Or(filters) => filters.iter().flat_map(Self::attributes).collect(),
            Self::Not(inner) => inner.attributes(),
            Self::Equality { attribute, .. }
            | Self::Substring { attribute, .. }
            | Self::GreaterOrEqual { attribute, .. }
            | Self::LessOrEqual { attribute, .. }
            | Self::Present(attribute)
            | Self::Approx { attribute, .. } => vec![attribute],
            Self::Extensible { attribute, .. } => attribute.iter().map(String::as_str).collect(),
        }
    }

    /// Returns `(attribute=value)`. The value needs no escaping.
    ///
    /// ```
    /// use ldap_directory::filter::Filter;
    ///
    /// assert_eq!(Filter::equality("cn", "a)(uid=*").to_string(), r"(cn=a\29\28uid=\2A)");
    /// ```
    pub fn equality(attribute: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self::Equality { attribute: attribute.into(), value: value.into() }
    }
}

/// Escapes a value for a filter (RFC 4515 section 3): `*`, parentheses, `\`, control characters and bytes that are not UTF-8
/// become `\XX`.
///
/// ```
/// assert_eq!(ldap_directory::filter::escape_value(b"a*(b)"), r"a\2A\28b\29");
/// ```
pub fn escape_value(value: &[u8]) -> String {
    let mut out = String::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            if matches!(c, '*' | '(' | ')' | '\\') || c.is_control() {
                c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| push_hex(&mut out, b));
            } else {
                out.push(c);
            }
        }
        chunk.invalid().iter().for_each(|b| push_hex(&mut out, *b));
    }
    out
}

/// What stands for filters below [`MAX_DEPTH`] in a text.
const DEEPER: &str = "(…)";

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_below(MAX_DEPTH, f)
    }
}

/// Escapes an attribute or a rule that is none, so that it does not become another filter.
fn name(text: &str) -> Cow<'_, str> {
    escape_name(text, r"()*\=<>~:")
}

impl Filter {
    fn fmt_below(&self, depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(depth) = depth.checked_sub(1) else { return f.write_str(DEEPER) };
        let set = |f: &mut fmt::Formatter<'_>, operator: char, filters: &[Self]| {
            write!(f, "({operator}")?;
            filters.iter().try_for_each(|inner| inner.fmt_below(depth, f))?;
            f.write_str(")")
        };
        let simple = |f: &mut fmt::Formatter<'_>, attribute: &str, operator: &str, value: &[u8]| {
            write!(f, "({}{operator}{})", name(attribute), escape_value(value))
        };
        match self {
            Self::And(filters) => set(f, '&', filters),
            Self::Or(filters) => set(f, '|', filters),
            Self::Not(inner) => set(f, '!', std::slice::from_ref(inner)),
            Self::Equality { attribute, value } => simple(f, attribute, "=", value),
            Self::GreaterOrEqual { attribute, value } => simple(f, attribute, ">=", value),
            Self::LessOrEqual { attribute, value } => simple(f, attribute, "<=", value),
            Self::Approx { attribute, value } => simple(f, attribute, "~=", value),
            Self::Present(attribute) => write!(f, "({}=*)", name(attribute)),
            Self::Substring { attribute, initial, any, last } => {
                let end = |part: &Option<Vec<u8>>| part.as_deref().map(escape_value).unwrap_or_default();
                write!(f, "({}={}*", name(attribute), end(initial))?;
                any.iter().try_for_each(|part| write!(f, "{}*", escape_value(part)))?;
                write!(f, "{})", end(last))
            }
            Self::Extensible { rule, attribute, dn, value } => {
                write!(f, "({}", name(attribute.as_deref().unwrap_or_default()))?;
                f.write_str(if *dn { ":dn" } else { "" })?;
                rule.iter().try_for_each(|rule| write!(f, ":{}", name(rule)))?;
                write!(f, ":={})", escape_value(value))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Filter {
        Filter::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn the_examples_of_rfc_4515_section_4() {
        for text in [
            "(cn=Babs Jensen)",
            "(!(cn=Tim Howes))",
            "(&(objectClass=Person)(|(sn=Jensen)(cn=Babs J*)))",
            "(o=univ*of*mich*)",
            "(seeAlso=)",
            "(cn:caseExactMatch:=Fred Flintstone)",
            "(cn:=Betty Rubble)",
            "(sn:dn:2.4.6.8.10:=Barney Rubble)",
            "(o:dn:=Ace Industry)",
            "(:1.2.3:=Wilma Flintstone)",
            "(:dn:2.4.6.8.10:=Dino)",
            r"(o=Parens R Us \28for all your parenthetical needs\29)",
            r"(cn=*\2A*)",
            r"(bin=\00\00\00\04)",
            "(sn=Lučić)",
            "(&)",
            "(|)",
            "(cn;lang-de=*)",
            "(a>=1)",
            "(a<=1)",
            "(a~=1)",
        ] {
            assert_eq!(parse(text).to_string(), text);
        }
        assert_eq!(parse(r"(sn=Lu\c4\8di\c4\87)").to_string(), "(sn=Lučić)");
    }

    #[test]
    fn beyond_the_rfc() {
        assert_eq!(parse("uid=a"), parse("(uid=a)"));
        assert_eq!(parse(" ( & (a=b)\n  ( ! (c=d) ) ) "), parse("(&(a=b)(!(c=d)))"));
        assert_eq!(parse("(a=**)"), parse("(a=*)"));
        assert_eq!(parse("(a= x )"), Filter::equality("a", " x "), "spaces in a value count");
    }

    #[test]
    fn errors_say_where() {
        for (text, error) in [
            ("", FilterError::Expected { at: 0, expected: "a filter" }),
            ("(", FilterError::Expected { at: 1, expected: "a filter" }),
            ("()", FilterError::Expected { at: 1, expected: "a filter" }),
            ("(cn)", FilterError::Expected { at: 3, expected: "`=`, `>=`, `<=`, `~=` or `:=`" }),
            ("(cn>a)", FilterError::Expected { at: 4, expected: "`=`" }),
            ("(cn=a", FilterError::Expected { at: 5, expected: "`)`" }),
            ("(&(cn=a)", FilterError::Expected { at: 8, expected: "`)`" }),
            ("(!(a=b)(c=d))", FilterError::Expected { at: 7, expected: "`)`" }),
            ("(cn=a))", FilterError::Expected { at: 6, expected: "the end" }),
            ("(cn=a)(sn=b)", FilterError::Expected { at: 6, expected: "the end" }),
            ("(cn=(a)", FilterError::Unescaped { at: 4, found: '(' }),
            ("(cn>=a*)", FilterError::Unescaped { at: 6, found: '*' }),
            (r"(cn=\zz)", FilterError::BadEscape(4)),
            (r"(cn=\4", FilterError::BadEscape(4)),
            ("(=a)", FilterError::BadAttribute(1)),
            ("(c n=a)", FilterError::BadAttribute(1)),
            ("(:=a)", FilterError::BadAttribute(1)),
            ("(a:b:c:=a)", FilterError::BadAttribute(1)),
        ] {
            assert_eq!(Filter::parse(text), Err(error), "{text}");
        }
        assert_eq!(
            Filter::parse("(cn=(a)").unwrap_err().to_string(),
            r"filter, byte 4: '(' in a value must be written `\28`"
        );
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |n: usize| format!("{}(a=b){}", "(!".repeat(n), ")".repeat(n));
        assert!(Filter::parse(&deep(MAX_DEPTH - 1)).is_ok());
        assert!(matches!(Filter::parse(&deep(MAX_DEPTH)), Err(FilterError::TooDeep(_))));
        assert!(matches!(Filter::parse(&"(&".repeat(1_000_000)), Err(FilterError::TooDeep(_))));
    }

    #[test]
    fn what_is_built_is_checked_as_what_is_parsed() {
        let deep = |n| (0..n).fold(Filter::Present("a".into()), |inner, _| Filter::Not(Box::new(inner)));
        assert_eq!(deep(MAX_DEPTH - 1).check(), Ok(()));
        for n in [MAX_DEPTH, 5_000] {
            assert_eq!(deep(n).check(), Err(FilterError::BuiltTooDeep));
            assert_eq!(deep(n).to_string().matches('!').count(), MAX_DEPTH);
        }
        assert_eq!(parse(&deep(MAX_DEPTH - 1).to_string()), deep(MAX_DEPTH - 1));
        let equality = |name: &str| Filter::equality(name, "y");
        for name in ["uid=*)(x", "", "a b", "a:b", "a\0", "a*", "ä"] {
            for filter in [
                equality(name),
                Filter::And(vec![equality("a"), Filter::Not(Box::new(Filter::Present(name.into())))]),
                Filter::Extensible { rule: Some(name.into()), attribute: None, dn: false, value: Vec::new() },
            ] {
                assert_eq!(filter.check(), Err(FilterError::BuiltOfNoAttribute(name.into())), "{filter}");
                // It is not another filter in its text.
                assert!(Filter::parse(&filter.to_string()).is_err(), "{filter}");
            }
        }
        for name in ["cn", "2.5.4.3", "cn;lang-de", "x_y"] {
            assert_eq!(equality(name).check(), Ok(()));
        }
    }

    fn any_filter() -> impl Strategy<Value = Filter> {
        let value = || {
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..6),
                "[a*()\\\\ \0=é]{0,5}".prop_map(String::into_bytes),
            ]
        };
        let part = || value().prop_filter("empty", |v| !v.is_empty());
        let attribute = || "[a-zA-Z][a-zA-Z0-9-]{0,4}(;x-[a-z]{1,2})?";
        let leaf = prop_oneof![
            (attribute(), value()).prop_map(|(attribute, value)| Filter::Equality { attribute, value }),
            (attribute(), value()).prop_map(|(attribute, value)| Filter::GreaterOrEqual { attribute, value }),
            (attribute(), value()).prop_map(|(attribute, value)| Filter::LessOrEqual { attribute, value }),
            (attribute(), value()).prop_map(|(attribute, value)| Filter::Approx { attribute, value }),
            attribute().prop_map(Filter::Present),
            (
                attribute(),
                proptest::option::of(part()),
                proptest::collection::vec(part(), 0..3),
                proptest::option::of(part()),
            )
                .prop_filter("no part", |(_, i, any, l)| i.is_some() || l.is_some() || !any.is_empty())
                .prop_map(|(attribute, initial, any, last)| Filter::Substring {
                    attribute,
                    initial,
                    any,
                    last
                }),
            (
                proptest::option::of("[e-z][a-z]{0,3}|[0-2]\\.[0-9]"),
                proptest::option::of(attribute()),
                any::<bool>(),
                value()
            )
                .prop_filter("neither", |(rule, attribute, ..)| rule.is_some() || attribute.is_some())
                .prop_map(|(rule, attribute, dn, value)| Filter::Extensible {
                    rule,
                    attribute,
                    dn,
                    value
                }),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
                inner.prop_map(|f| Filter::Not(Box::new(f))),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_filter_survives_its_text(filter in any_filter()) {
            prop_assert_eq!(Filter::parse(&filter.to_string()).unwrap(), filter);
        }

        #[test]
        fn a_value_never_leaves_its_comparison(value in proptest::collection::vec(any::<u8>(), 0..12)) {
            let filter = Filter::parse(&format!("(&(cn={})(a=b))", escape_value(&value))).unwrap();
            prop_assert_eq!(filter, Filter::And(vec![Filter::equality("cn", value), Filter::equality("a", "b")]));
        }

        #[test]
        fn never_panics(text in prop_oneof![any::<String>(), "[()&|!a=*:<>~\\\\ é1]{0,24}"]) {
            if let Ok(filter) = Filter::parse(&text) {
                prop_assert_eq!(Filter::parse(&filter.to_string()).unwrap(), filter);
            }
        }
    }
}
