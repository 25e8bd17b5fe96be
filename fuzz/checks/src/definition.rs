//! Definitions of a server's schema (RFC 4512 section 4.1).

use ldap_directory::schema::{AttributeType, ClassKind, ObjectClass, Schema};

/// A definition that was read and is written as RFC 4512 has it is read as itself; a schema of such definitions can be asked
/// anything, whatever is derived from what; and two spellings of a value that are made equal stay equal.
pub fn definition(data: &[u8]) {
    let Some(text) = super::text(data) else { return };
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines {
        if let Ok(attribute) = AttributeType::parse(line)
            && let Some(printed) = attribute_text(&attribute)
        {
            assert_eq!(AttributeType::parse(&printed).as_ref(), Ok(&attribute), "{printed}");
        }
        if let Ok(class) = ObjectClass::parse(line)
            && let Some(printed) = class_text(&class)
        {
            assert_eq!(ObjectClass::parse(&printed).as_ref(), Ok(&class), "{printed}");
        }
    }
    let (mut schema, _) = Schema::parse(lines.iter().copied(), lines.iter().copied());
    schema.add_content_rules(lines.iter().copied());
    for attribute in schema.attribute_types() {
        let name = attribute.name();
        assert!(schema.type_chain(name).count() <= schema.attribute_types().len());
        schema.syntax(name);
        schema.is_subtype(name, &attribute.oid);
        schema.is_operational(name);
        schema.has_ordering(name);
        let rule = schema.equality(name);
        for line in &lines {
            let once = rule.normalize(line.as_bytes(), &schema);
            assert!(schema.values_match(name, line.as_bytes(), line.as_bytes()));
            assert_eq!(rule.normalize(&once, &schema), once, "{rule:?} of {line:?}");
        }
    }
    for class in schema.object_classes() {
        assert!(schema.class_closure([class.name()]).len() <= schema.object_classes().len());
        schema.must_may([class.name()]);
    }
}

/// Whether a word can stand without quotes.
fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '$' | '\''))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\5C").replace('\'', "\\27"))
}

fn list(keyword: &str, values: &[String]) -> String {
    if values.is_empty() {
        return String::new();
    }
    let all: Vec<String> = values.iter().map(|v| quoted(v)).collect();
    format!(" {keyword} ( {} )", all.join(" "))
}

fn one(keyword: &str, value: Option<&String>) -> String {
    value.map(|v| format!(" {keyword} {}", quoted(v))).unwrap_or_default()
}

fn flag(keyword: &str, is_set: bool) -> String {
    if is_set { format!(" {keyword}") } else { String::new() }
}

fn attribute_text(a: &AttributeType) -> Option<String> {
    is_word(&a.oid).then(|| {
        [
            format!("( {}", a.oid),
            list("NAME", &a.names),
            one("DESC", a.description.as_ref()),
            flag("OBSOLETE", a.obsolete),
            one("SUP", a.superior.as_ref()),
            one("EQUALITY", a.equality.as_ref()),
            one("ORDERING", a.ordering.as_ref()),
            one("SUBSTR", a.substring.as_ref()),
            one("SYNTAX", a.syntax.as_ref()),
            flag("SINGLE-VALUE", a.single_value),
            flag("COLLECTIVE", a.collective),
            flag("NO-USER-MODIFICATION", a.no_user_modification),
            format!(" USAGE {} )", a.usage.keyword()),
        ]
        .concat()
    })
}

fn class_text(c: &ObjectClass) -> Option<String> {
    let kind = match c.kind {
        ClassKind::Abstract => " ABSTRACT",
        ClassKind::Structural => " STRUCTURAL",
        ClassKind::Auxiliary => " AUXILIARY",
    };
    is_word(&c.oid).then(|| {
        [
            format!("( {}", c.oid),
            list("NAME", &c.names),
            one("DESC", c.description.as_ref()),
            flag("OBSOLETE", c.obsolete),
            list("SUP", &c.superiors),
            kind.to_owned(),
            list("MUST", &c.must),
            list("MAY", &c.may),
            " )".to_owned(),
        ]
        .concat()
    })
}
