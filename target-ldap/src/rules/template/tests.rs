//! Tests of the templates.

use ldap_directory::dn::{Dn, Rdn};
use ldap_directory::filter::Filter;
use proptest::prelude::*;

use ldap_directory::schema::Schema;

use super::*;

mod language;

/// A record: `v` is the value under test.
fn record(values: &[(&str, &[&str])]) -> impl Fn(&str) -> Option<Vec<String>> {
    let values: Vec<(String, Vec<String>)> =
        values.iter().map(|(n, vs)| ((*n).into(), vs.iter().map(|v| (*v).into()).collect())).collect();
    move |name| values.iter().find(|(n, _)| n == name).map(|(_, vs)| vs.clone())
}

fn plain(template: &str, values: &[&str]) -> Result<Option<String>, RenderError> {
    let rendered = Template::parse(template).unwrap().render(&record(&[("v", values), ("empty", &[""])]))?;
    Ok(if let Rendered::Text(text) = rendered { Some(text) } else { None })
}

fn text(template: &str, value: &str) -> String {
    plain(template, &[value]).unwrap().unwrap()
}

fn message<T>(result: Result<T, TemplateError>) -> String {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn plain_text() {
    assert_eq!(text("{v}", "Ann"), "Ann");
    assert_eq!(text("{{{v}}} {{x}} }}{{", "Ann"), "{Ann} {x} }{");
    assert_eq!(text("no placeholder", "-"), "no placeholder");
    assert_eq!(text("{v|left:2}{v|left:9}", "\u{e4}\u{f6}\u{fc}"), "\u{e4}\u{f6}\u{e4}\u{f6}\u{fc}");
    for wrong in ["left", "left:", "left:0", "left:x", "left:-1"] {
        assert!(Template::parse(&format!("{{v|{wrong}}}")).is_err(), "{wrong}");
    }
    assert_eq!(text("{ v | lower | trim }@x.com", " Ann "), "ann@x.com");
    for missing in ["{none}", "a {none} b", "{empty}", "{v}{empty}", "{empty|upper}", "", "{empty|default:}"]
    {
        assert_eq!(plain(missing, &["x"]), Ok(None), "{missing}");
    }
    assert_eq!(text("{none|default: x: y }", ""), " x: y ");
    assert_eq!(text("{empty|default:a|upper}", ""), "A");
    let template = Template::parse("{a} {b|lower} {a}").unwrap();
    assert_eq!(template.names().collect::<Vec<_>>(), ["a", "b", "a"]);
}

#[test]
fn several_values() {
    let several = plain("{v}", &["a", "b"]).unwrap_err();
    assert!(several.to_string().contains("has 2 values") && several.to_string().contains("`|first`"));
    assert_eq!(plain("{v|upper|first}", &["", "a", "b"]), Ok(Some("A".into())));
    assert_eq!(plain("{v|first|upper}", &["a", "b"]), Ok(Some("A".into())));
    assert_eq!(plain("{v|first}", &[]), Ok(None));
    assert_eq!(plain("{v}", &["", ""]), Ok(None));
}

#[test]
fn filters() {
    for (template, value, expected) in [
        ("{v|lower}", "ÄB", "äb"),
        ("{v|upper}", "aß", "ASS"),
        ("{v|trim}", " \ta\u{a0}", "a"),
        ("{v|ascii}", "Zoë Weiß \u{e000}", "Zoe Weiss "),
        ("{v|slug}", "Zoë & Weiß, Ltd.", "zoe-weiss-ltd"),
        ("{v|date:%Y}", "2024-05-17T10:11:12.5+02:00", "2024"),
        ("{v|date:%d.%m.%Y %H:%M}", "2024-05-17 10:11:12Z", "17.05.2024 10:11"),
        ("{v|date:%FT%T}", "2024-05-17T10:11:12", "2024-05-17T10:11:12"),
        ("{v|date:%FT%T%z}", "2024-05-17", "2024-05-17T00:00:00+0000"),
        ("{v|date:%FT%T%z}", "20240517101112Z", "2024-05-17T10:11:12+0000"),
        ("{v|date:%FT%T%z}", "20240517101160.25-0130", "2024-05-17T10:11:60-0130"),
        ("{v|date:%FT%T%.3f}", "2024051710,5+02", "2024-05-17T10:30:00.000"),
        ("{v|date:%T%.3f}", "202405171011.0125Z", "10:11:00.750"),
    ] {
        assert_eq!(text(template, value), expected, "{template} {value}");
    }
}

#[test]
fn not_a_date_is_an_error_that_keeps_the_value_to_itself() {
    for bad in [
        "secret",
        "20240517Z",
        "20240517101112",
        "2024051710111Z",
        "20240517101112.Z",
        "20240517101162Z",
        "20241317101112Z",
        "20240517101112+9900",
        "20240517101112+0160",
        "+024051710Z",
        "2024-02-30",
        "é024051710Z",
    ] {
        let error = plain("{v|date:%Y}", &[bad]).unwrap_err();
        assert!(matches!(error, RenderError::Date { .. }), "{bad}");
        assert!(!error.to_string().contains(bad), "{error}");
    }
    assert_eq!(plain("{v|date:%Y}", &[""]), Ok(None));
    // "Never" is no day, and no error.
    for never in ["0", "9223372036854775807"] {
        assert_eq!(plain("{v|read_date:filetime|date:%Y}", &[never]), Ok(None));
        assert_eq!(text("{v|read_date:filetime|default:9999-12-31}", never), "9999-12-31");
    }
    assert!(plain("{v|read_date:filetime}", &["x"]).is_err());
}

#[test]
fn what_is_wrong_with_a_template() {
    for (template, parts) in [
        ("a{b", ["position 2", "`{{`"]),
        ("äa}b", ["position 3", "`}}`"]),
        ("{a{b}}", ["position 3", "inside a placeholder"]),
        ("x{}", ["position 2", "without a name"]),
        ("{|lower}", ["position 1", "without a name"]),
        ("{a|loewer}", ["there is no filter \"loewer\"", "`lower`, `upper`"]),
        ("{a|}", ["there is no filter \"\"", "`lower`"]),
        ("{a|lower:x}", ["takes no argument", "`|lower`"]),
        ("{a|default}", ["wants a text", "`default:none`"]),
        ("{a|date}", ["wants a format", "%Y"]),
        ("{a|date:%Y-%Q}", ["`%Y-%Q` is not a strftime format", "`%d`"]),
    ] {
        let message = message(Template::parse(template));
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn what_is_wrong_with_a_dn_template() {
    for (template, parts) in [
        ("", ["empty name", "uid={uid}"]),
        ("  ", ["empty name", "uid={uid}"]),
        ("{dn}", ["position 1: `{dn}` stands where an attribute type", "leave the template out"]),
        ("uid={a},{parent}", ["position 9: `{parent}`", "goes into a value"]),
        ("{type}=x", ["position 1", "goes into a value"]),
        ("uid={a}+{b}=x", ["position 9", "goes into a value"]),
        ("uid={a};{b}", ["position 9", "goes into a value"]),
        ("uid=\"{a}\"", ["position 6", "leave the quotes out"]),
        ("uid=#{a}", ["position 6", "`\\#`"]),
        ("uid=\\{a}", ["position 6", "escaped without it"]),
        ("uid=\\4{a}", ["position 7", "escaped without it"]),
        ("uid={a},people", ["not a distinguished name", "`=`"]),
        ("uid={a},", ["not a distinguished name", "type"]),
        ("uid={a|default: }", ["position 5", "`default:text`"]),
    ] {
        let message = message(DnTemplate::parse(template));
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn what_is_wrong_with_a_filter_template() {
    for (template, parts) in [
        ("({a}=x)", ["position 2", "goes into a value"]),
        ("(uid={a}){b}", ["position 10", "goes into a value"]),
        ("{a}", ["position 1", "goes into a value"]),
        ("(uid={a}", ["not a search filter", "`x`"]),
        ("", ["not a search filter", "`x`"]),
        ("(uid=\\{a})", ["position 7", "escaped without it"]),
        ("(uid=\\2{a})", ["position 8", "escaped without it"]),
    ] {
        let message = message(FilterTemplate::parse(template));
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    for good in
        ["(&(a=b)(!(uid={a}))(|(cn={b}*)(cn:2.5.13.5:={c})(n>={d})(s=\\2a{e}\\29)))", "(objectClass=*)"]
    {
        assert!(FilterTemplate::parse(good).is_ok(), "{good}");
    }
}

#[test]
fn a_name_needs_one_value() {
    let template = DnTemplate::parse("uid={v},ou={w|first|default:none},dc=x").unwrap();
    let dn = |v: &[&str], w: &[&str]| template.render(&record(&[("v", v), ("w", w)]));
    assert_eq!(dn(&["a,b"], &["#", "y"]), Ok("uid=a\\,b,ou=\\#,dc=x".into()));
    assert_eq!(dn(&["a"], &[" "]), Ok("uid=a,ou=none,dc=x".into()));
    for missing in [&[] as &[&str], &[""], &["  "], &["\t\u{a0}"], &["", " "]] {
        let error = dn(missing, &[]).unwrap_err();
        assert!(matches!(&error, RenderError::Missing { placeholder, .. } if placeholder == "v"), "{error}");
    }
    assert!(matches!(dn(&["a", "b"], &[]).unwrap_err(), RenderError::Several { count: 2, .. }));
    let filter = FilterTemplate::parse("(uid={v})").unwrap();
    assert_eq!(filter.render(&record(&[("v", &["*)(a=\\"])])), Ok("(uid=\\2A\\29\\28a=\\5C)".into()));
    assert!(matches!(filter.render(&record(&[])).unwrap_err(), RenderError::Missing { .. }));
}

#[test]
fn literal_text_of_a_name_is_left_as_written() {
    let template = DnTemplate::parse("CN=\\20{{{v}}}\\2C, OU = People ,dc=x").unwrap();
    let dn = template.render(&record(&[("v", &["a"])])).unwrap();
    assert_eq!(dn, "CN=\\20{a}\\2C, OU = People ,dc=x");
}

type Change = fn(&str) -> String;

/// Values that try to escape from their place.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a ,+\"\\\\;<>=#\0*()|&!:{}\u{a0}\u{2028}é-]{1,12}",
        "(,|\\+|;|\\)|\\\\|\\\\2|\\\\,|\"| |#|\\*)?(dc=evil|\\(uid=\\*\\)|04|2C|a)(,| |\\\\|\"|=|\\))*",
    ]
    .prop_filter("blank values are refused", |value| !value.trim().is_empty())
}

fn one(template: &str, value: &str) -> String {
    DnTemplate::parse(template).unwrap().render(&record(&[("v", &[value])])).unwrap()
}

proptest! {
    #[test]
    fn a_value_stays_a_value_in_a_name(value in hostile()) {
        let cases: [(&str, &str, Change); 6] = [
            ("uid={v},ou=people,dc=x", "ou=people,dc=x", str::to_owned),
            ("uid = {v} , ou=people;dc=x", "ou=people,dc=x", str::to_owned),
            ("uid={v}", "", str::to_owned),
            ("uid={v|upper},ou=a\\,b", "ou=a\\,b", str::to_uppercase),
            ("uid=a {v} z,dc=x", "dc=x", |v| format!("a {v} z")),
            ("uid=\\23{v}\\20{v}\\2C,dc=x", "dc=x", |v| format!("#{v} {v},")),
        ];
        for (template, parent, expected) in cases {
            let dn = Dn::parse(&one(template, &value)).unwrap();
            prop_assert_eq!(dn.rdn(), Some(&Rdn::single("uid", expected(&value))));
            prop_assert_eq!(dn.parent(), Some(Dn::parse(parent).unwrap()));
        }
        let dn = Dn::parse(&one("cn={v}+sn=b{v},ou={v},dc=x", &value)).unwrap();
        let values: Vec<Vec<_>> = dn.rdns.iter().map(|r| r.avas.iter().map(|a| a.value.clone()).collect()).collect();
        let (value, b) = (value.clone().into_bytes(), format!("b{value}").into_bytes());
        prop_assert_eq!(values, vec![vec![value.clone(), b], vec![value], vec![b"x".to_vec()]]);
    }

    #[test]
    fn a_value_stays_a_value_in_a_filter(value in hostile()) {
        let render = |template: &str| {
            let template = FilterTemplate::parse(template).unwrap();
            Filter::parse(&template.render(&record(&[("v", &[&value])])).unwrap()).unwrap()
        };
        let equality = |value: &str| Filter::equality("uid", value);
        prop_assert_eq!(render("(uid={v})"), equality(&value));
        prop_assert_eq!(render("uid={v}"), equality(&value));
        prop_assert_eq!(render("(uid={v|lower})"), equality(&value.to_lowercase()));
        prop_assert_eq!(render("(uid=\\2a{v}\\5C={v} )"), equality(&format!("*{value}\\={value} ")));
        prop_assert_eq!(
            render("(&(uid=a)(!(uid={v}))(uid={v}*))"),
            Filter::And(vec![
                equality("a"),
                Filter::Not(Box::new(equality(&value))),
                Filter::Substring {
                    attribute: "uid".into(),
                    initial: Some(value.clone().into_bytes()),
                    any: vec![],
                    last: None,
                },
            ])
        );
    }

    #[test]
    fn any_text_parses_or_says_why(text in "[a={},\\\\\"#()&|*:x]{0,20}", value in hostile()) {
        let lookup = |_: &str| Some(vec![value.clone()]);
        for error in [
            Template::parse(&text).map(|t| { let _ = t.render(&lookup); }),
            DnTemplate::parse(&text).map(|t| {
                if let Ok(dn) = t.render(&lookup) {
                    let shape = |dn: Dn| dn.rdns.iter().map(|r| r.avas.len()).collect::<Vec<_>>();
                    let innocent = t.render(&|_| Some(vec!["x".into()])).unwrap();
                    assert_eq!(shape(Dn::parse(&dn).unwrap()), shape(Dn::parse(&innocent).unwrap()));
                }
            }),
            FilterTemplate::parse(&text).map(|t| {
                if let Ok(filter) = t.render(&lookup) {
                    assert!(Filter::parse(&filter).is_ok());
                }
            }),
        ] {
            if let Err(error) = error {
                prop_assert!(!error.message.is_empty() && error.at >= 1);
            }
        }
    }

    #[test]
    fn plain_text_is_put_together_as_it_is(a in any::<String>(), b in hostile()) {
        let literal = a.replace('{', "{{").replace('}', "}}");
        prop_assert_eq!(text(&format!("{literal}{{v}}{literal}"), &b), format!("{a}{b}{a}"));
    }
}

fn of_name(template: &str, syntax: Syntax, value: &str) -> Result<Rendered, RenderError> {
    let template = ValueTemplate::new(&Template::parse(template).unwrap(), syntax).unwrap();
    template.render(&record(&[("v", &[value]), ("bits", &["0101"]), ("hex", &["AABB"])]))
}

fn value_of(template: &str, syntax: Syntax, value: &str) -> String {
    match of_name(template, syntax, value).unwrap() {
        Rendered::Text(text) => text,
        other => panic!("{template}: {other:?}"),
    }
}

#[test]
fn a_value_of_a_name_is_as_its_syntax_says() {
    for (template, syntax, value, expected) in [
        ("cn={v},dc=x", Syntax::Text, "a,b", "cn=a,b,dc=x"),
        ("cn={v|escape_dn},dc=x", Syntax::Text, "a,b", "cn=a\\,b,dc=x"),
        ("cn={v},dc=x", Syntax::Dn, "a,b", "cn=a\\,b,dc=x"),
        ("cn={v|escape_dn},dc=x", Syntax::Dn, "a,b", "cn=a\\,b,dc=x"),
        ("cn=x,dc={v}", Syntax::NameAndUid, "a#'01'B", "cn=x,dc=a\\23'01'B"),
        ("cn={v},dc=x#'01'B", Syntax::NameAndUid, "a,b", "cn=a\\,b,dc=x#'01'B"),
        ("B:4:{hex}:cn={v}", Syntax::DnBinary, "a:b,c", "B:4:AABB:cn=a:b\\,c"),
        ("S:5:h:l:o:cn={v}", Syntax::Text, "a", "S:5:h:l:o:cn=a"),
        ("S:5:hello:cn={v},dc=x", Syntax::DnString, "a,b", "S:5:hello:cn=a\\,b,dc=x"),
        ("{v}", Syntax::Dn, "cn=a\\,b,dc=x", "cn=a\\,b,dc=x"),
        ("{v}", Syntax::NameAndUid, "cn=a#'01'B", "cn=a#'01'B"),
        ("{v}", Syntax::DnString, "S:3:a:b:cn=x", "S:3:a:b:cn=x"),
        ("cn=nobody", Syntax::Dn, "", "cn=nobody"),
    ] {
        assert_eq!(value_of(template, syntax, value), expected, "{template} {value}");
    }
    for (template, syntax, value) in [
        ("{v}", Syntax::Dn, "Lovelace, Ada"),
        ("{v}", Syntax::DnBinary, "B:3:AAB:cn=x"),
        ("{v}", Syntax::DnBinary, "cn=x"),
        ("S:2:{v}:cn=x", Syntax::DnString, "a:cn=evil"),
        ("B:4:{v}:cn=x", Syntax::DnBinary, "AABB:cn=evil"),
    ] {
        let error = of_name(template, syntax, value).unwrap_err();
        assert!(
            matches!(error, RenderError::NotDn { .. }) && !error.to_string().contains("evil"),
            "{template} {value}"
        );
    }
    for (template, syntax) in [
        ("{v} x", Syntax::Dn),
        ("uid=a,{v}", Syntax::Dn),
        ("cn={v}", Syntax::DnBinary),
        ("cn={v|default: },dc=x", Syntax::Dn),
    ] {
        assert!(ValueTemplate::new(&Template::parse(template).unwrap(), syntax).is_err(), "{template}");
    }
    assert_eq!(of_name("cn={v},dc=x", Syntax::Dn, " "), Ok(Rendered::Nothing));
    assert_eq!(of_name("cn={none},dc=x", Syntax::Dn, " "), Ok(Rendered::Unknown));
}

#[test]
fn the_syntax_of_an_attribute_is_the_schemas() {
    let definitions = [
        "( 1.1.1 NAME 'dnb' SYNTAX '1.2.840.113556.1.4.903' )",
        "( 1.1.2 NAME 'dns' SYNTAX '1.2.840.113556.1.4.904' )",
        "( 1.1.3 NAME 'uni' SYNTAX 1.3.6.1.4.1.1466.115.121.1.34 )",
        "( 1.1.4 NAME 'named' SYNTAX 1.3.6.1.4.1.1466.115.121.1.12 )",
        "( 1.1.5 NAME 'sub' SUP named )",
    ];
    let (schema, errors) = Schema::parse(definitions, []);
    assert!(errors.is_empty(), "{errors:?}");
    let of = |name| Syntax::of(&schema, name);
    assert_eq!(
        [of("dnb"), of("dns"), of("uni"), of("named"), of("sub"), of("none")],
        [Syntax::DnBinary, Syntax::DnString, Syntax::NameAndUid, Syntax::Dn, Syntax::Dn, Syntax::Text]
    );
}

#[test]
fn what_a_record_does_not_have_is_not_what_it_has_as_null() {
    let render = |template: &str, values: &[(&str, &[&str])]| {
        Template::parse(template).unwrap().render(&record(values)).unwrap()
    };
    let text = |text: &str| Rendered::Text(text.to_owned());
    let none: &[&str] = &[];
    let full: [(&str, &[&str]); 3] = [("a", &["A"]), ("b", &["B"]), ("c", &["C"])];
    let null: [(&str, &[&str]); 3] = [("a", &["A"]), ("b", none), ("c", &["C"])];
    let absent: [(&str, &[&str]); 2] = [("a", &["A"]), ("c", &["C"])];
    for (template, of_full, of_null, of_absent) in [
        ("{a} {b} {c}", text("A B C"), Rendered::Nothing, Rendered::Unknown),
        ("{a} {b|default:}{c}", text("A BC"), text("A C"), text("A C")),
        ("{a} {b|suffix: }{c}", text("A B C"), text("A C"), Rendered::Unknown),
        ("{a}{b|prefix: |default:} {c}", text("A B C"), text("A C"), text("A C")),
        ("{a} {b|default:x|suffix:!}", text("A B!"), text("A x!"), text("A x!")),
        ("{b}", text("B"), Rendered::Nothing, Rendered::Unknown),
        ("{b|default:}", text("B"), Rendered::Nothing, Rendered::Unknown),
        ("{b|prefix:<}", text("<B"), Rendered::Nothing, Rendered::Unknown),
    ] {
        assert_eq!(render(template, &full), of_full, "{template}");
        assert_eq!(render(template, &null), of_null, "{template}");
        assert_eq!(render(template, &absent), of_absent, "{template}");
    }
    let name = DnTemplate::parse("cn={a}{b|prefix: },ou={c|prefix:x|suffix:y},dc=x").unwrap();
    assert_eq!(name.render(&record(&null)), Ok("cn=A,ou=xCy,dc=x".into()));
    let missing: [(&str, &[&str]); 3] = [("a", &["A"]), ("b", none), ("c", none)];
    assert!(name.render(&record(&missing)).is_err(), "never a name with an empty value");
    for bad in ["{a|escape_dn|lower}", "{a|prefix}", "{a|suffix:}", "{a|escape_dn:x}"] {
        assert!(Template::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_filter_with_a_dn_in_it_escapes_for_both() {
    let render = |template: &str, value: &str| {
        let template = FilterTemplate::parse(template).unwrap().with_schema(Schema::standard()).unwrap();
        template.render(&record(&[("v", &[value])]))
    };
    assert_eq!(render("(manager=uid={v},dc=x)", "a,b*"), Ok("(manager=uid=a\\5C,b\\2A,dc=x)".into()));
    assert_eq!(render("(manager={v})", "uid=a\\,b"), Ok("(manager=uid=a\\5C,b)".into()));
    assert_eq!(render("(cn={v})", "a,b"), Ok("(cn=a,b)".into()));
    assert!(matches!(render("(manager={v})", "Ada"), Err(RenderError::NotDn { .. })));
    let wrong = FilterTemplate::parse("(manager={v} x)").unwrap().with_schema(Schema::standard());
    assert!(wrong.is_err());
    let part =
        FilterTemplate::parse("(manager=uid={v},dc=x)").unwrap().with_schema(Schema::standard()).unwrap();
    assert_eq!(part.of_all(), None, "a part of a DN is nothing that can be looked for");
}

proptest! {
    #[test]
    fn a_value_stays_a_value_in_a_value_that_is_a_name(value in hostile()) {
        for (template, syntax, before) in [
            ("cn={v},ou=t,dc=x", Syntax::Dn, ""),
            ("cn={v},ou=t,dc=x", Syntax::NameAndUid, ""),
            ("B:4:AABB:cn={v},ou=t,dc=x", Syntax::DnBinary, "B:4:AABB:"),
            ("S:1:x:cn={v},ou=t,dc=x", Syntax::DnString, "S:1:x:"),
        ] {
            let text = value_of(template, syntax, &value);
            let dn = Dn::parse(text.strip_prefix(before).unwrap()).unwrap();
            prop_assert_eq!(dn.rdn(), Some(&Rdn::single("cn", value.clone())));
            prop_assert_eq!(dn.parent(), Some(Dn::parse("ou=t,dc=x").unwrap()));
        }
    }
}
