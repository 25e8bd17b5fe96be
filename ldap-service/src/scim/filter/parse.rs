//! The parser of filters and paths: recursive descent, bounded in depth and number of comparisons.

use serde_json::Value;

use super::{AttrPath, Expr, FilterLimits, FilterSyntaxError, Operator, Path};

/// Parses a filter (RFC 7644 section 3.4.2.2). Operators and keywords are accepted in any case.
///
/// Beyond the RFC, it accepts several spaces, and a comparison of a sub-attribute after brackets, which Microsoft Entra sends:
/// `emails[type eq "work"].value eq "a@example.com"`.
///
/// # Errors
/// The text is not a filter, is nested deeper than the limit, or has more comparisons.
pub fn parse_filter(text: &str, limits: FilterLimits) -> Result<Expr, FilterSyntaxError> {
    let mut parser = Parser { text, at: 0, terms: 0, limits };
    let filter = parser.any_of(0, false)?;
    parser.end()?;
    Ok(filter)
}

/// Parses the path of a PATCH operation (RFC 7644 section 3.5.2).
///
/// # Errors
/// The text is not a path, or its filter exceeds the limits.
pub fn parse_path(text: &str, limits: FilterLimits) -> Result<Path, FilterSyntaxError> {
    let mut parser = Parser { text, at: 0, terms: 0, limits };
    parser.spaces();
    let attribute = parser.attribute()?;
    let (mut filter, mut sub) = (None, None);
    if parser.eat('[') {
        parser.not_below_a_sub(&attribute)?;
        filter = Some(parser.any_of(1, true)?);
        parser.expect(']')?;
        sub = parser.sub_after_brackets()?;
    }
    parser.end()?;
    Ok(Path { attribute, filter, sub })
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    terms: usize,
    limits: FilterLimits,
}

type Parsed<T> = Result<T, FilterSyntaxError>;

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn fail<T>(&self, reason: impl Into<String>) -> Parsed<T> {
        Err(FilterSyntaxError { at: self.at, reason: reason.into() })
    }

    fn spaces(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(' ').len();
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.rest().starts_with(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn expect(&mut self, wanted: char) -> Parsed<()> {
        self.spaces();
        if self.eat(wanted) { Ok(()) } else { self.fail(format!("`{wanted}` expected")) }
    }

    fn end(&mut self) -> Parsed<()> {
        self.spaces();
        if self.rest().is_empty() { Ok(()) } else { self.fail("`and`, `or` or the end expected") }
    }

    /// Returns the characters of attribute paths and keywords at the position, without consuming them.
    fn word(&self) -> &'t str {
        let rest = self.rest();
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '.' | '_' | '-' | '$');
        let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default()
    }

    /// Consumes a keyword, in any case.
    fn keyword(&mut self, wanted: &str) -> bool {
        let word = self.word();
        let found = word.eq_ignore_ascii_case(wanted);
        if found {
            self.at += word.len();
        }
        found
    }

    fn any_of(&mut self, depth: usize, in_brackets: bool) -> Parsed<Expr> {
        let mut parts = vec![self.all_of(depth, in_brackets)?];
        loop {
            self.spaces();
            if !self.keyword("or") {
                return Ok(joined(parts, Expr::Or));
            }
            parts.push(self.all_of(depth, in_brackets)?);
        }
    }

    fn all_of(&mut self, depth: usize, in_brackets: bool) -> Parsed<Expr> {
        let mut parts = vec![self.one(depth, in_brackets)?];
        loop {
            self.spaces();
            if !self.keyword("and") {
                return Ok(joined(parts, Expr::And));
            }
            parts.push(self.one(depth, in_brackets)?);
        }
    }

    fn one(&mut self, depth: usize, in_brackets: bool) -> Parsed<Expr> {
        if depth > self.limits.depth {
            return self.fail(format!("nested deeper than {}", self.limits.depth));
        }
        self.spaces();
        if self.eat('(') {
            let inner = self.any_of(depth + 1, in_brackets)?;
            self.expect(')')?;
            return Ok(inner);
        }
        let before = self.at;
        if self.keyword("not") {
            self.spaces();
            if self.eat('(') {
                let inner = self.any_of(depth + 1, in_brackets)?;
                self.expect(')')?;
                return Ok(Expr::Not(Box::new(inner)));
            }
            // An attribute of that name.
            self.at = before;
        }
        self.comparison(depth, in_brackets)
    }

    fn comparison(&mut self, depth: usize, in_brackets: bool) -> Parsed<Expr> {
        let path = self.attribute()?;
        if self.rest().starts_with('[') {
            if in_brackets {
                return self.fail("brackets cannot be nested");
            }
            self.not_below_a_sub(&path)?;
            self.eat('[');
            let inner = self.any_of(depth + 1, true)?;
            self.expect(']')?;
            let filter = match self.sub_after_brackets()? {
                Some(sub) => Expr::And(vec![inner, self.operation(AttrPath::of(&sub))?]),
                None => inner,
            };
            return Ok(Expr::Element { path, filter: Box::new(filter) });
        }
        self.operation(path)
    }

    /// Parses what follows an attribute: an operator and its value.
    fn operation(&mut self, path: AttrPath) -> Parsed<Expr> {
        self.terms += 1;
        if self.terms > self.limits.terms {
            return self.fail(format!("more than {} comparisons", self.limits.terms));
        }
        self.spaces();
        if self.keyword("pr") {
            return Ok(Expr::Present(path));
        }
        let word = self.word();
        let Some(operator) = Operator::from_keyword(word) else {
            return self.fail("one of `eq`, `ne`, `co`, `sw`, `ew`, `gt`, `ge`, `lt`, `le`, `pr` expected");
        };
        self.at += word.len();
        if !self.rest().starts_with(' ') {
            return self.fail("a space expected after the operator");
        }
        self.spaces();
        let value = self.value()?;
        Ok(Expr::Compare { path, operator, value })
    }

    fn attribute(&mut self) -> Parsed<AttrPath> {
        let word = self.word();
        match AttrPath::from_token(word) {
            Some(path) => {
                self.at += word.len();
                Ok(path)
            }
            None => self.fail("an attribute expected"),
        }
    }

    fn not_below_a_sub(&self, path: &AttrPath) -> Parsed<()> {
        if path.sub.is_none() { Ok(()) } else { self.fail("a sub-attribute has no values in brackets") }
    }

    fn sub_after_brackets(&mut self) -> Parsed<Option<String>> {
        if !self.eat('.') {
            return Ok(None);
        }
        let path = self.attribute()?;
        if path.schema.is_some() || path.sub.is_some() {
            return self.fail("one sub-attribute expected after `].`");
        }
        Ok(Some(path.name))
    }

    /// Parses a JSON literal (`compValue`): false, null, true, a number or a string.
    fn value(&mut self) -> Parsed<Value> {
        for (word, value) in
            [("true", Value::Bool(true)), ("false", Value::Bool(false)), ("null", Value::Null)]
        {
            if self.keyword(word) {
                return Ok(value);
            }
        }
        let rest = self.rest();
        let length = match rest.chars().next() {
            Some('"') => string_length(rest),
            Some('-' | '0'..='9') => {
                let is_part = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
                rest.find(|c| !is_part(c)).unwrap_or(rest.len())
            }
            _ => {
                return self.fail("a value expected: a text in double quotes, a number, true, false or null");
            }
        };
        match rest.get(..length).and_then(|literal| serde_json::from_str(literal).ok()) {
            Some(value) => {
                self.at += length;
                Ok(value)
            }
            None => self.fail("the value is not a JSON string or number"),
        }
    }
}

/// Returns the length of a JSON string with its quotes; of the whole text if it does not end.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn joined(mut parts: Vec<Expr>, join: fn(Vec<Expr>) -> Expr) -> Expr {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            join(parts)
        }
        None => join(parts),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const LIMITS: FilterLimits = FilterLimits::terms(64);

    fn parsed(text: &str) -> Expr {
        parse_filter(text, LIMITS).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn compare(path: &str, operator: Operator, value: Value) -> Expr {
        Expr::Compare { path: AttrPath::from_token(path).unwrap(), operator, value }
    }

    #[test]
    fn the_examples_of_rfc_7644() {
        use Operator::{Co, Eq, Gt, Sw};
        assert_eq!(parsed(r#"userName eq "bjensen""#), compare("userName", Eq, json!("bjensen")));
        assert_eq!(
            parsed(r#"name.familyName co "O'Malley""#),
            compare("name.familyName", Co, json!("O'Malley"))
        );
        let core = "urn:ietf:params:scim:schemas:core:2.0:User";
        let path = AttrPath { schema: Some(core.into()), name: "userName".into(), sub: None };
        assert_eq!(
            parsed(&format!(r#"{core}:userName sw "J""#)),
            Expr::Compare { path, operator: Sw, value: json!("J") }
        );
        assert_eq!(parsed("title pr"), Expr::Present(AttrPath::of("title")));
        let later = r#"meta.lastModified gt "2011-05-13T04:42:34Z""#;
        assert_eq!(parsed(later), compare("meta.lastModified", Gt, json!("2011-05-13T04:42:34Z")));
        let (title, intern) =
            (Expr::Present(AttrPath::of("title")), compare("userType", Eq, json!("Intern")));
        assert_eq!(parsed(r#"title pr or userType eq "Intern""#), Expr::Or(vec![title, intern]));
        let employee = compare("userType", Eq, json!("Employee"));
        let emails = Expr::Or(vec![
            compare("emails", Co, json!("example.com")),
            compare("emails.value", Co, json!("example.org")),
        ]);
        assert_eq!(
            parsed(
                r#"userType eq "Employee" and (emails co "example.com" or emails.value co "example.org")"#
            ),
            Expr::And(vec![employee.clone(), emails.clone()])
        );
        assert_eq!(
            parsed(
                r#"userType eq "Employee" and not(emails co "example.com" or emails.value co "example.org")"#
            ),
            Expr::And(vec![employee, Expr::Not(Box::new(emails))])
        );
        let inner =
            Expr::And(vec![compare("type", Eq, json!("work")), compare("value", Co, json!("@example.com"))]);
        let emails = Expr::Element { path: AttrPath::of("emails"), filter: Box::new(inner) };
        assert_eq!(parsed(r#"emails[type eq "work" and value co "@example.com"]"#), emails);
        assert_eq!(parsed(r#"emails[type eq "work"].value co "@example.com""#), emails, "Entra");
    }

    #[test]
    fn and_binds_more_than_or_and_keywords_have_any_case() {
        let [a, b, c] = ["a", "b", "c"].map(|n| Expr::Present(AttrPath::of(n)));
        let expected = Expr::Or(vec![a.clone(), Expr::And(vec![b.clone(), c.clone()])]);
        assert_eq!(parsed("a pr or b pr and c pr"), expected);
        assert_eq!(parsed(" a PR  OR b Pr AND c pR "), expected);
        assert_eq!(parsed("(a pr or b pr) and c pr"), Expr::And(vec![Expr::Or(vec![a, b]), c]));
        assert_eq!(parsed("x EQ TRUE"), compare("x", Operator::Eq, json!(true)));
        assert_eq!(parsed("members.$ref eq null"), compare("members.$ref", Operator::Eq, Value::Null));
        // Attributes may be named as keywords are.
        assert_eq!(parsed("not pr"), Expr::Present(AttrPath::of("not")));
        assert_eq!(parsed("or eq 1"), compare("or", Operator::Eq, json!(1)));
    }

    #[test]
    fn a_value_is_json() {
        for (text, value) in [
            (r#""a \"b\" \u00e9 (x) ] and""#, json!("a \"b\" é (x) ] and")),
            ("-1.5e3", serde_json::from_str("-1.5e3").unwrap()),
            ("18446744073709551616", serde_json::from_str("18446744073709551616").unwrap()),
            (r#""""#, json!("")),
            (r#""\\""#, json!("\\")),
        ] {
            assert_eq!(parsed(&format!("(a eq {text})")), compare("a", Operator::Eq, value));
        }
    }

    #[test]
    fn errors_say_where() {
        for (text, at) in [
            ("", 0),
            ("   ", 3),
            ("userName", 8),
            ("userName eq", 11),
            ("userName eq ", 12),
            ("userName eq bjensen", 12),
            (r#"userName eq "bjensen"#, 12),
            (r#"userName eq"x""#, 11),
            ("userName is 1", 9),
            ("(a pr", 5),
            ("a pr)", 4),
            ("a pr b pr", 5),
            ("a pr and", 8),
            ("a pr or or b pr", 11),
            ("a[b pr", 6),
            ("a[b[c pr]]", 3),
            ("a.b[c pr]", 3),
            ("a..b pr", 0),
            ("1a pr", 0),
            ("http://x:a pr", 0),
            ("a eq [1]", 5),
            ("a eq {}", 5),
            ("a[b pr].c.d pr", 11),
            ("ä pr", 0),
        ] {
            assert_eq!(parse_filter(text, LIMITS).map_err(|e| e.at), Err(at), "{text}");
        }
    }

    #[test]
    fn terms_and_depth_are_bounded() {
        let many = |n: usize| vec!["a pr"; n].join(" or ");
        assert!(parse_filter(&many(64), LIMITS).is_ok());
        assert!(parse_filter(&many(65), LIMITS).is_err());
        let deep = |n: usize| format!("{}a pr{}", "not (".repeat(n), ")".repeat(n));
        assert!(parse_filter(&deep(32), LIMITS).is_ok());
        assert!(parse_filter(&deep(33), LIMITS).is_err());
        assert!(parse_filter(&"(".repeat(1_000_000), LIMITS).is_err());
    }

    #[test]
    fn paths() {
        let path = |text: &str| parse_path(text, LIMITS).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(path("name.familyName").sub(), Some("familyName"));
        let filtered = path(r#"addresses[type eq "work"].streetAddress"#);
        assert_eq!(filtered.filter, Some(compare("type", Operator::Eq, json!("work"))));
        assert_eq!((filtered.attribute.name.as_str(), filtered.sub()), ("addresses", Some("streetAddress")));
        assert_eq!(path(r#"members[value eq "2819"]"#).sub(), None);
        let extension = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
        assert!(path(extension).attribute.is_schema(extension));
        let department = path(&format!("{extension}:department")).attribute;
        assert_eq!((department.schema.as_deref(), department.name.as_str()), (Some(extension), "department"));
        for text in ["", "a b", "a[b pr]c", "a[b pr].c.d", "a.b.c", "[a pr]", "a[", "a.", ":a"] {
            assert!(parse_path(text, LIMITS).is_err(), "{text}");
        }
    }

    /// Writes a filter back, to compare it with what was parsed.
    fn text(expr: &Expr) -> String {
        let list = |parts: &[Expr], word: &str| {
            parts.iter().map(|p| format!("({})", text(p))).collect::<Vec<_>>().join(word)
        };
        match expr {
            Expr::And(parts) => list(parts, " and "),
            Expr::Or(parts) => list(parts, " or "),
            Expr::Not(inner) => format!("not ({})", text(inner)),
            Expr::Present(path) => format!("{path} pr"),
            Expr::Compare { path, operator, value } => format!("{path} {} {value}", operator.keyword()),
            Expr::Element { path, filter } => format!("{path}[{}]", text(filter)),
        }
    }

    fn any_expr() -> impl Strategy<Value = Expr> {
        let path = "(urn:[a-z]{1,4}:2\\.0:[A-Z]{1,3}:)?[a-zA-Z][a-zA-Z0-9_-]{0,5}(\\.\\$?[a-z]{1,4})?"
            .prop_map(|token| AttrPath::from_token(&token).unwrap());
        let value = prop_oneof![
            any::<String>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            Just(Value::Null),
        ];
        let operator = proptest::sample::select(&Operator::ALL[..]);
        let leaf = prop_oneof![
            path.clone().prop_map(Expr::Present),
            (path, operator, value).prop_map(|(path, operator, value)| Expr::Compare {
                path,
                operator,
                value
            }),
        ];
        let element = ("[a-z]{1,4}", leaf.clone())
            .prop_map(|(name, inner)| Expr::Element { path: AttrPath::of(&name), filter: Box::new(inner) });
        prop_oneof![leaf, element].prop_recursive(3, 16, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 2..4).prop_map(Expr::And),
                proptest::collection::vec(inner.clone(), 2..4).prop_map(Expr::Or),
                inner.prop_map(|e| Expr::Not(Box::new(e))),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_filter_survives_its_text(expr in any_expr()) {
            prop_assert_eq!(parse_filter(&text(&expr), LIMITS).unwrap(), expr);
        }

        #[test]
        fn never_panics(text in prop_oneof![any::<String>(), "[a-c(). \\[\\]\"é:eqnotpr0-]{0,24}"]) {
            let _ = (parse_filter(&text, LIMITS), parse_path(&text, LIMITS));
        }
    }
}
