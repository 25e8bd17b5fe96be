//! Evaluation of a filter against an entry (RFC 4511 section 4.5.1.7): true, false, or Undefined.

use super::Filter;
use super::active_directory::{category_class, is_anr, is_category_of};
use crate::dn::Dn;
use crate::entry::{Attribute, Entry, base_type};
use crate::oid;
use crate::schema::{Equality, Schema};

/// Active Directory's bitwise rules for integers ([MS-ADTS] 3.1.1.3.4.4).
const BIT_AND: (&str, &str) = (oid::BIT_AND_MATCH, "integerBitAndMatch");
const BIT_OR: (&str, &str) = (oid::BIT_OR_MATCH, "integerBitOrMatch");

impl Filter {
    /// Returns whether the entry matches; `None` is Undefined. A search returns only entries with `Some(true)`.
    ///
    /// A comparison is Undefined if neither the schema nor the entry has the attribute, if the value violates the
    /// attribute's syntax, or if the rule is unknown or has no such comparison.
    ///
    /// ```
    /// use ldap_directory::entry::{Attribute, Entry};
    /// use ldap_directory::filter::Filter;
    /// use ldap_directory::schema::Schema;
    ///
    /// let entry = Entry {
    ///     dn: "uid=ada,dc=example".into(),
    ///     attributes: vec![Attribute::new("sn", vec![b"Lovelace".to_vec()])],
    /// };
    /// let matches = |text: &str| Filter::parse(text).map(|filter| filter.matches(&entry, Schema::standard()));
    /// assert_eq!(matches("(surname=LOVE*)")?, Some(true));
    /// assert_eq!(matches("(mail=*)")?, Some(false));
    /// assert_eq!(matches("(noSuchAttribute=x)")?, None);
    /// # Ok::<(), ldap_directory::filter::FilterError>(())
    /// ```
    pub fn matches(&self, entry: &Entry, schema: &Schema) -> Option<bool> {
        match self {
            Self::And(filters) => all(filters.iter().map(|f| f.matches(entry, schema))),
            Self::Or(filters) => any(filters.iter().map(|f| f.matches(entry, schema))),
            Self::Not(inner) => inner.matches(entry, schema).map(|m| !m),
            // Approximate match is equality here, as RFC 4511 allows.
            Self::Equality { attribute, value } | Self::Approx { attribute, value } => {
                if schema.is_subtype(attribute, "objectClass") {
                    return object_class(entry, value, schema);
                }
                each_value(entry, attribute, schema, |a, v| equal_by_own_rule(a, v, value, schema))
            }
            // Every entry has an object class (RFC 4512 section 2.4.1), even if a file lacks the attribute: a file holds
            // the attributes that were requested when it was written.
            Self::Present(attribute) if schema.is_subtype(attribute, "objectClass") => Some(true),
            Self::Present(attribute) => Some(selected(entry, attribute, schema).next().is_some()),
            Self::GreaterOrEqual { attribute, value } => each_value(entry, attribute, schema, |a, v| {
                Some(schema_order(a, schema).compare(v, value, schema)?.is_ge())
            }),
            Self::LessOrEqual { attribute, value } => each_value(entry, attribute, schema, |a, v| {
                Some(schema_order(a, schema).compare(v, value, schema)?.is_le())
            }),
            Self::Substring { attribute, initial, any, last } => {
                each_value(entry, attribute, schema, |a, v| {
                    substring(rule_of(a, schema), v, (initial.as_deref(), any, last.as_deref()), schema)
                })
            }
            Self::Extensible { rule, attribute, dn, value } => {
                let compare = comparison(rule.as_deref(), attribute.as_deref(), schema)?;
                let named = if *dn { Dn::parse(&entry.dn).unwrap_or_default() } else { Dn::default() };
                let wanted = |name: &str| attribute.as_deref().is_none_or(|a| describes(a, name, schema));
                let of_name =
                    named.rdns.iter().flat_map(|r| &r.avas).map(|a| (a.attribute.as_str(), &a.value));
                let of_entry = entry
                    .attributes
                    .iter()
                    .flat_map(|a| a.values.iter().map(|v| (a.description.as_str(), v)));
                let results = of_entry.chain(of_name).filter(|(name, _)| wanted(name));
                any(results.map(|(name, v)| compare.holds(name, v, value, schema)))
            }
        }
    }
}

/// Returns the conjunction of three-valued truths: false wins over Undefined, Undefined over true.
fn all(results: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut out = Some(true);
    for result in results {
        match result {
            Some(false) => return Some(false),
            None => out = None,
            Some(true) => {}
        }
    }
    out
}

/// Returns the disjunction of three-valued truths: true wins over Undefined, Undefined over false.
fn any(results: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    all(results.map(|r| r.map(|m| !m))).map(|m| !m)
}

/// Returns whether a description in a filter selects an attribute of the entry (RFC 4512 section 2.5): the same type or a
/// subtype, with at least the same options.
fn describes(asserted: &str, description: &str, schema: &Schema) -> bool {
    let options = || description.split(';').skip(1);
    schema.is_subtype(description, asserted)
        && asserted.split(';').skip(1).all(|wanted| options().any(|o| o.eq_ignore_ascii_case(wanted)))
}

fn selected<'e>(entry: &'e Entry, asserted: &str, schema: &Schema) -> impl Iterator<Item = &'e Attribute> {
    entry
        .attributes
        .iter()
        .filter(move |a| !a.values.is_empty() && describes(asserted, &a.description, schema))
}

/// Returns whether the comparison is true for any value of the attribute. A missing attribute is false if the schema defines
/// it, and Undefined otherwise.
fn each_value(
    entry: &Entry,
    asserted: &str,
    schema: &Schema,
    holds: impl Fn(&str, &[u8]) -> Option<bool>,
) -> Option<bool> {
    if is_anr(asserted) {
        return None;
    }
    let mut attributes = selected(entry, asserted, schema).peekable();
    if attributes.peek().is_none() && schema.attribute_type(asserted).is_none() {
        return None;
    }
    any(attributes.flat_map(|a| a.values.iter().map(|v| holds(&a.description, v))))
}

/// Returns the rule by which values compare; case-insensitive text for attributes that the schema does not define (in an LDIF
/// file).
fn rule_of(attribute: &str, schema: &Schema) -> Equality {
    schema.naming(attribute).1
}

fn schema_order(attribute: &str, schema: &Schema) -> Equality {
    if schema.attribute_type(attribute).is_some() { schema.ordering(attribute) } else { Equality::CaseIgnore }
}

/// Compares with a value by the attribute's own rule.
fn equal_by_own_rule(attribute: &str, value: &[u8], asserted: &[u8], schema: &Schema) -> Option<bool> {
    if let Some(class) = category_class(attribute, asserted) {
        return is_category_of(value, class, schema);
    }
    equal(rule_of(attribute, schema), value, asserted, schema)
}

fn equal(rule: Equality, value: &[u8], asserted: &[u8], schema: &Schema) -> Option<bool> {
    // A stored value that violates the rule's syntax is not an error: an entry may hold it.
    let asserted = rule.normalize_valid(asserted, schema)?;
    Some(rule.normalize(value, schema) == asserted)
}

/// Compares with a class of the entry or one of its superclasses (RFC 4512 section 2.4). A class that the schema does not
/// define is compared by its spelling, and is Undefined if the entry does not have it.
fn object_class(entry: &Entry, asserted: &[u8], schema: &Schema) -> Option<bool> {
    let asserted = std::str::from_utf8(asserted).ok()?.trim();
    let attributes = selected(entry, "objectClass", schema);
    let classes: Vec<&str> =
        attributes.flat_map(|a| &a.values).filter_map(|v| std::str::from_utf8(v).ok()).collect();
    let Some(wanted) = schema.object_class(asserted) else {
        return classes.iter().any(|c| c.trim().eq_ignore_ascii_case(asserted)).then_some(true);
    };
    Some(schema.class_closure(classes).into_iter().any(|c| std::ptr::eq(c, wanted)))
}

type Parts<'f> = (Option<&'f [u8]>, &'f [Vec<u8>], Option<&'f [u8]>);

fn substring(
    rule: Equality,
    value: &[u8],
    (initial, middle, last): Parts<'_>,
    schema: &Schema,
) -> Option<bool> {
    let normal = rule.normalize(value, schema);
    let mut rest: &[u8] = &normal;
    if let Some(initial) = initial {
        let Some(after) = rest.strip_prefix(&*rule.normalize_part(initial, true, false)?) else {
            return Some(false);
        };
        rest = after;
    }
    if let Some(last) = last {
        let Some(before) = rest.strip_suffix(&*rule.normalize_part(last, false, true)?) else {
            return Some(false);
        };
        rest = before;
    }
    for part in middle {
        let part = rule.normalize_part(part, false, false)?;
        let Some(at) = find(rest, &part) else { return Some(false) };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    Some(true)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// The comparison of an extensible filter.
enum Comparison {
    Rule(Equality),
    AttributesOwn,
    AllBits,
    AnyBits,
}

fn comparison(rule: Option<&str>, attribute: Option<&str>, schema: &Schema) -> Option<Comparison> {
    let is = |rule: &str, (oid, name): (&str, &str)| rule == oid || rule.eq_ignore_ascii_case(name);
    match rule {
        Some(rule) if is(rule, BIT_AND) => Some(Comparison::AllBits),
        Some(rule) if is(rule, BIT_OR) => Some(Comparison::AnyBits),
        Some(rule) => Equality::from_rule(rule).map(Comparison::Rule),
        None => schema.attribute_type(base_type(attribute?)).map(|_| Comparison::AttributesOwn),
    }
}

impl Comparison {
    fn holds(&self, attribute: &str, value: &[u8], asserted: &[u8], schema: &Schema) -> Option<bool> {
        match self {
            Self::Rule(rule) => equal(*rule, value, asserted, schema),
            Self::AttributesOwn => equal_by_own_rule(attribute, value, asserted, schema),
            Self::AllBits => bits(value, asserted).map(|(value, mask)| value & mask == mask),
            Self::AnyBits => bits(value, asserted).map(|(value, mask)| value & mask != 0),
        }
    }
}

/// Returns both as 64 bits: negative numbers in two's complement (groupType is -2147483646 for a global security group), and unsigned
/// masks too, which Active Directory accepts (2147483648).
fn bits(value: &[u8], mask: &[u8]) -> Option<(i64, i64)> {
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.trim().parse::<i64>().ok();
    Some((number(value)?, number(mask)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let attribute = |name: &str, values: &[&str]| {
            Attribute::new(name, values.iter().map(|v| v.as_bytes().to_vec()).collect())
        };
        Entry {
            dn: "uid=ada,ou=People,dc=example".into(),
            attributes: vec![
                attribute("objectClass", &["inetOrgPerson", "fancy"]),
                attribute("uid", &["ada"]),
                attribute("cn", &["Ada  Lovelace", "Countess"]),
                attribute("cn;lang-de", &["Gräfin"]),
                attribute("manager", &["CN=Boss, DC=example"]),
                attribute("uidNumber", &["1000"]),
                attribute("userAccountControl", &["514"]),
                attribute("groupType", &["-2147483646"]),
                attribute("modifyTimestamp", &["20200101120000Z"]),
                attribute("telephoneNumber", &["+1 555 0100"]),
                attribute("jpegPhoto", &["\u{1}\u{2}"]),
                attribute("madeUp", &["Some Thing"]),
                attribute("objectCategory", &["CN=Person,CN=Schema,CN=Configuration,DC=example"]),
            ],
        }
    }

    #[test]
    fn three_values() {
        let (yes, no, undefined) = (Some(true), Some(false), None);
        for (filter, expected) in [
            ("(cn=ada lovelace)", yes),
            ("(CN=countess)", yes),
            ("(2.5.4.3=Countess)", yes),
            ("(cn=nobody)", no),
            ("(name=countess)", yes),
            ("(cn=gräfin)", yes),
            ("(cn;lang-de=gräfin)", yes),
            ("(cn;lang-de=countess)", no),
            ("(cn;lang-fr=gräfin)", no),
            ("(sn=x)", no),
            ("(sn=*)", no),
            ("(name=*)", yes),
            ("(madeUp=some thing)", yes),
            ("(madeUp=other)", no),
            ("(unheardOf=x)", undefined),
            ("(!(unheardOf=x))", undefined),
            ("(unheardOf=*)", no),
            ("(objectClass=*)", yes),
            ("(objectClass=person)", yes),
            ("(objectClass=2.5.6.6)", yes),
            ("(objectClass=top)", yes),
            ("(objectClass=device)", no),
            ("(objectClass=FANCY)", yes),
            ("(objectClass=noSuchClass)", undefined),
            ("(manager=cn=boss,dc=EXAMPLE)", yes),
            ("(manager=no name)", undefined),
            ("(uidNumber=01000)", yes),
            ("(uidNumber=x)", undefined),
            ("(uidNumber>=999)", yes),
            ("(uidNumber>=1001)", no),
            ("(uidNumber<=1000)", yes),
            ("(uidNumber=10*)", undefined),
            ("(modifyTimestamp>=20200101115959.5Z)", yes),
            ("(modifyTimestamp<=20200101130000+0200)", no),
            ("(manager>=cn=a)", undefined),
            ("(cn=ada*)", yes),
            ("(cn=*LACE)", yes),
            ("(cn=a*love*e)", yes),
            ("(cn=a*e*love*)", no),
            ("(cn=*ada love*)", yes),
            ("(cn=ada*ada*)", no),
            ("(telephoneNumber=*555-01*)", yes),
            ("(telephoneNumber=+15550100)", yes),
            ("(cn~=countess)", yes),
            ("(userAccountControl:1.2.840.113556.1.4.803:=2)", yes),
            ("(userAccountControl:1.2.840.113556.1.4.803:=3)", no),
            ("(userAccountControl:1.2.840.113556.1.4.804:=3)", yes),
            ("(groupType:1.2.840.113556.1.4.803:=2147483648)", yes),
            ("(groupType:1.2.840.113556.1.4.804:=12)", no),
            ("(cn:caseExactMatch:=countess)", no),
            ("(cn:caseExactMatch:=Countess)", yes),
            ("(cn:noSuchMatch:=x)", undefined),
            ("(ou:dn:=people)", yes),
            ("(ou:=people)", no),
            ("(dc:dn:2.5.13.2:=EXAMPLE)", yes),
            ("(:dn:caseIgnoreMatch:=people)", yes),
            ("(:caseExactMatch:=Countess)", yes),
            ("(objectCategory=person)", yes),
            ("(objectCategory=User)", yes),
            ("(objectCategory=contact)", yes),
            ("(objectCategory:=inetOrgPerson)", yes),
            ("(objectCategory=group)", no),
            ("(objectCategory=noSuchClass)", undefined),
            ("(!(objectCategory=noSuchClass))", undefined),
            ("(objectCategory=cn=person,cn=schema,cn=configuration,dc=EXAMPLE)", yes),
            ("(objectCategory=cn=group,cn=schema,cn=configuration,dc=example)", no),
            ("(anr=ada)", undefined),
            ("(!(anr=ada))", undefined),
            ("(anr=ad*)", undefined),
            ("(&)", yes),
            ("(|)", no),
            ("(&(cn=countess)(unheardOf=x))", undefined),
            ("(&(cn=nobody)(unheardOf=x))", no),
            ("(|(cn=countess)(unheardOf=x))", yes),
            ("(|(cn=nobody)(unheardOf=x))", undefined),
            ("(!(cn=nobody))", yes),
        ] {
            let parsed = Filter::parse(filter).unwrap();
            assert_eq!(parsed.matches(&entry(), Schema::standard()), expected, "{filter}");
        }
    }
}
