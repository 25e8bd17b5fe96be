//! Paths, filters of texts and dates, optional parts, lists, and whole RDNs.

use chrono::NaiveDate;
use ldap_directory::dn::Dn;
use ldap_directory::time::Zone;
use serde_json::{Value, json};

use super::*;

/// A person as HR systems have them.
fn person() -> Value {
    json!({
        "id": "0042", "first": "Zoë", "last": "o'hara-smith", "middle": null, "none": "",
        "emails": [
            {"value": "home@example.org", "type": "home"},
            {"value": "work@example.com", "type": "work", "primary": true},
            {"value": "old@example.com", "type": "work", "primary": false}],
        "phones": {"number": "+1 555 0100"},
        "skills": [{"name": "welding"}, {"name": null}, {}, {"name": "Go, \"C\""}],
        "tags": ["a", "b"], "empty": [],
        "job": {"title": "Clerk", "dept": {"code": 7, "lead": true}},
        "org": [{"name": "Acme"}, {"name": "Sales, EMEA"}, {"name": "R+D"}],
        "path": "/Acme/Sales, EMEA/R+D/", "gap": "a//b",
        "hired": "2026-02-28", "left": "2026-03-16-07:00", "odata": "/Date(1388534400000)/", "us": "03/16/2026",
        "a.b": "literal", "urn:x:2.0": {"dept.name": "Ops"},
    })
}

/// Renders what the values are, by the ways in which a mapping does it.
fn values(template: &str) -> Result<RenderedValues, RenderError> {
    let person = person();
    let mut template = Template::parse(template).unwrap_or_else(|e| panic!("{e}"));
    template.resolve(&|name| person.get(name).is_some());
    template.set_moment(Moment { zone: Zone::Utc, today: NaiveDate::from_ymd_opt(2026, 3, 1) });
    let texts = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    };
    let paths: Vec<(String, String, Path)> =
        template.paths().map(|(key, name, path)| (key, name.to_owned(), path.clone())).collect();
    let lookup = |name: &str| -> Option<Vec<String>> {
        if let Some((_, property, path)) = paths.iter().find(|(key, _, _)| key == name) {
            let values = path.values(person.get(property)?).unwrap_or_else(|e| panic!("{name}: {e}"));
            return Some(values.into_iter().filter_map(texts).collect());
        }
        let value = person.get(name)?;
        Some(
            value
                .as_array()
                .map_or(std::slice::from_ref(value), Vec::as_slice)
                .iter()
                .filter_map(texts)
                .collect(),
        )
    };
    ValueTemplate::new(&template, Syntax::Text).unwrap().render_values(&lookup)
}

fn one(template: &str) -> String {
    match values(template).unwrap_or_else(|e| panic!("{template}: {e}")) {
        RenderedValues::Texts(texts) => texts.join("|"),
        RenderedValues::Nothing => "<nothing>".into(),
        RenderedValues::Unknown => "<unknown>".into(),
    }
}

#[test]
fn paths_pick_from_objects_and_lists() {
    for (template, expected) in [
        ("{emails[primary].value}", "work@example.com"),
        ("{emails[type=home].value}", "home@example.org"),
        ("{emails[type=work,primary!=true].value}", "old@example.com"),
        ("{emails[type=\"work\"].value|upper}", "WORK@EXAMPLE.COM"),
        ("{emails[type=none].value}", "<nothing>"),
        ("{emails[0].value}", "home@example.org"),
        ("{emails[-1].value}", "old@example.com"),
        ("{emails[9].value}", "<nothing>"),
        ("{emails[*,type=work].value}", "work@example.com|old@example.com"),
        ("smtp:{emails[].value|upper}", "smtp:HOME@EXAMPLE.ORG|smtp:WORK@EXAMPLE.COM|smtp:OLD@EXAMPLE.COM"),
        ("{skills[].name}", "welding|Go, \"C\""),
        ("{skills[].name|join:; }", "welding; Go, \"C\""),
        ("{skills[].name|first}", "welding"),
        ("{tags[]}", "a|b"),
        ("{tags[1]}", "b"),
        ("{empty[].x}", "<nothing>"),
        ("{nobody[].x}", "<unknown>"),
        ("{nobody.x}", "<unknown>"),
        ("{nobody.x|default:y}", "y"),
        ("{middle.x}", "<nothing>"),
        ("{job.title}", "Clerk"),
        ("{job.dept.code}", "7"),
        ("{job.dept.none.deeper}", "<nothing>"),
        ("{job[dept.lead].title}", "Clerk"),
        ("{phones[].number}", "+1 555 0100"),
        ("{phones[0].number}", "+1 555 0100"),
        ("{a.b}", "literal"),
        ("{\"a.b\"}", "literal"),
        ("{\"urn:x:2.0\".\"dept.name\"}", "Ops"),
        ("{ \"urn:x:2.0\" . \"dept.name\" | lower }", "ops"),
    ] {
        assert_eq!(one(template), expected, "{template}");
    }
    for (path, property) in [
        ("emails.value", "emails"),
        ("job.title.x", "job"),
        ("job", "org"),
        ("tags[x]", "tags"),
        ("emails[0]", "emails"),
        ("job.dept", "job"),
    ] {
        let template = Template::parse(&format!("{{{path}}}")).unwrap();
        let Some((_, _, path)) = template.paths().next() else { continue };
        assert!(path.values(&person()[property]).is_err(), "{path:?}");
    }
}

#[test]
fn filters_of_texts() {
    for (template, expected) in [
        ("{first|left:2}", "Zo"),
        ("{first|left:9}", "Zoë"),
        ("{first|right:1}", "ë"),
        ("{first|ascii|lower}", "zoe"),
        ("{last|title}", "O'Hara-Smith"),
        ("{id|number}", "42"),
        ("{id|replace:/^0+//}", "42"),
        ("{last|replace:/(\\w+)-(\\w+)/$2 $1/}", "o'smith hara"),
        ("{last|replace:/(?<a>[a-z]{2,})-.*/${a}$$/}", "o'hara$"),
        ("{last|replace:#-|'#/#|upper}", "O/HARA/SMITH"),
        ("{id|replace:/[\\/0]+/\\//}", "/42"),
        ("{first|replace:/.*//}", "<nothing>"),
        ("{none|left:1}", "<nothing>"),
    ] {
        assert_eq!(one(template), expected, "{template}");
    }
    assert!(matches!(values("{first|number}"), Err(RenderError::Number { .. })));
    let long = format!("{{first{}}}", "|replace:/./0123456789/".repeat(9));
    assert!(matches!(values(&long), Err(RenderError::TooLong { .. })));
}

#[test]
fn dates_of_a_run_on_one_day() {
    for (template, expected) in [
        ("{today}", "2026-03-01"),
        ("{today|date:%d.%m.%y}", "01.03.26"),
        ("{hired|days_since}", "1"),
        ("{left|days_until}", "15"),
        ("{left|date:%Y%m%d%H%M%S.0%z}", "20260316000000.0-0700"),
        ("{hired|add:1d}", "2026-03-01"),
        ("{hired|add:-2w}", "2026-02-14"),
        ("{hired|add:1m|add:12y}", "2038-03-28"),
        ("{odata|read_date:epoch_ms|date:%F}", "2014-01-01"),
        ("{us|read_date:%m/%d/%Y}", "2026-03-16"),
        ("{us|read_date:%m/%d/%Y|add:1y|epoch}", "1805155200"),
        ("{hired|epoch:filetime}", "134167104000000000"),
        ("{hired|epoch:filetime|read_date:filetime|date:%F}", "2026-02-28"),
        ("{none|add:1d}", "<nothing>"),
    ] {
        assert_eq!(one(template), expected, "{template}");
    }
    for template in ["{first|days_since}", "{us|add:1d}", "{hired|read_date:%m/%d/%Y}"] {
        assert!(matches!(values(template), Err(RenderError::Date { .. })), "{template}");
    }
    let undated = Template::parse("{today|default:x}").unwrap();
    assert_eq!(
        undated.render(&|name| (name == "today").then(|| vec!["y".into()])),
        Ok(Rendered::Text("y".into()))
    );
}

#[test]
fn an_optional_part_is_left_out_as_a_whole() {
    for (template, expected) in [
        ("{first}{? {middle|left:1}.?} {last}", "Zoë o'hara-smith"),
        ("{first}{? ({job.title}, {id})?}", "Zoë (Clerk, 0042)"),
        ("{first}{? ({job.title}, {middle})?}!", "Zoë!"),
        ("{?{middle}?}{?{none}?}", "<nothing>"),
        ("{first}{? {nobody}?}", "<unknown>"),
        ("{first}{? {nobody|default:}?}", "Zoë"),
        ("{first}{?{{{id}}}?}", "Zoë{0042}"),
        ("{first}?{?{id}??}", "Zoë?0042?"),
    ] {
        assert_eq!(one(template), expected, "{template}");
    }
}

#[test]
fn what_is_wrong_with_the_language() {
    for (template, at, part) in [
        ("a {b.}", 3, "a name is missing"),
        ("{b[x}", 5, "`[` is not closed"),
        ("{b[x=]y}", 1, "comes `.`"),
        ("{b[0,x]}", 1, "stands alone"),
        ("{b[=x]}", 1, "a condition is"),
        ("{b[x y=z].w}{c[].d} {e[].f}", 21, "second list"),
        ("x{? y{a[].b}?}", 6, "within an optional part"),
        ("x{? y?}", 2, "without a placeholder"),
        ("x{? {y}", 2, "is not closed"),
        ("x{?{y}{?{z}?}?}", 7, "within another one"),
        ("{a|left}", 4, "from 1"),
        ("{a|left:0}", 4, "from 1"),
        ("{a|lower|titel}", 10, "no filter \"titel\""),
        ("{a|replace:/(/x/}", 4, "not a regular expression"),
        ("{a|replace:/a/$1/}", 4, "no group"),
        ("{a|replace:/a/${x}/}", 4, "no group"),
        ("{a|replace:/a/b}", 4, "closing `/`"),
        ("{a|replace:/a/b/g}", 17, "comes `|`"),
        ("{a|replace:xaxbx}", 4, "wants a pattern"),
        ("{a|replace:/(?:\\w{1000}){1000}//}", 4, "not a regular expression"),
        ("{a|add:5}", 4, "days, weeks"),
        ("{a|read_date:%Q}", 4, "strftime"),
        ("{a|epoch:days}", 4, "seconds since 1970"),
        ("{a|ou_path:/|lower}", 4, "comes last"),
        ("{a|dn|lower}", 4, "comes last"),
        ("{\"a\"b}", 1, "comes `.`"),
    ] {
        let error = Template::parse(template).map(|t| panic!("{t:?}")).unwrap_err();
        assert!(error.at == at && error.message.contains(part), "{template}: {error}");
    }
    let error = Template::parse("{a|titel}").unwrap_err();
    assert_eq!(error.nearest.as_deref(), Some("title"));
}

fn dn(template: &str, value: &str, other: &str) -> Result<String, RenderError> {
    let template = DnTemplate::parse(template).unwrap_or_else(|e| panic!("{e}"));
    template.render(&record(&[("v", &[value]), ("w", &[other]), ("list", &["Acme", "Sales, EMEA"])]))
}

#[test]
fn a_path_of_units_is_as_deep_as_its_value_and_no_deeper() {
    for (template, value, other, expected) in [
        (
            "cn={v},{w|ou_path:/},dc=x",
            "a",
            "Acme/Sales, EMEA/R+D",
            "cn=a,ou=R\\+D,ou=Sales\\, EMEA,ou=Acme,dc=x",
        ),
        ("cn={v},{w|ou_path: > },dc=x", "a", "/ > b", "cn=a,ou=b,ou=/,dc=x"),
        ("cn={v},{w|ou_path:/},dc=x", "a", "/x/ ", "cn=a,ou=x,dc=x"),
        ("cn={v},{?{w|ou_path:/},?}dc=x", "a", " ", "cn=a,dc=x"),
        ("{w|ou_path:/},dc=x", "a", "b/c", "ou=c,ou=b,dc=x"),
        ("cn={v},{list|ou_path},dc=x", "a", "", "cn=a,ou=Sales\\, EMEA,ou=Acme,dc=x"),
        ("cn={v},{w|dn}", "a,b", "ou=y,dc=x", "cn=a\\,b,ou=y,dc=x"),
        ("cn={v},{w|dn},dc=x", "a", "ou=z,ou=y", "cn=a,ou=z,ou=y,dc=x"),
        ("cn={v}{?,ou={w}?},dc=x", "a", "", "cn=a,dc=x"),
        ("cn={v}{?,ou={w}?},dc=x", "a", "b,c", "cn=a,ou=b\\,c,dc=x"),
        ("cn={v}{? {w}?},dc=x", "a", "b", "cn=a b,dc=x"),
    ] {
        assert_eq!(dn(template, value, other).as_deref(), Ok(expected), "{template} {other}");
    }
    assert!(matches!(dn("cn={v},{w|ou_path:/},dc=x", "a", "b//c"), Err(RenderError::Gap { .. })));
    assert!(matches!(dn("cn={v},{w|ou_path:/},dc=x", "a", "/"), Err(RenderError::Missing { .. })));
    assert!(matches!(
        dn("cn={v},{w|ou_path:/},dc=x", "a", &"a/".repeat(40)),
        Err(RenderError::TooLong { .. })
    ));
    assert!(matches!(dn("cn={v},{w|dn},dc=x", "a", "people"), Err(RenderError::NotDn { .. })));
    for (template, part) in [
        ("cn={v}{w|ou_path:/},dc=x", "whole RDNs"),
        ("cn={v},ou={w|ou_path:/},dc=x", "whole RDNs"),
        ("cn={v},{w|ou_path:/}x,dc=x", "whole RDNs"),
        ("{w|dn}", "for what stands above"),
        ("{?cn={v},?}ou={w},dc=x", "first RDN is not optional"),
        ("cn=a{?,ou=?{v}?}{w},dc=x", "x"),
        ("cn={list[]},dc=x", "one value is needed"),
        ("cn={v}{?,{w}?},dc=x", "goes into a value"),
    ] {
        let parsed = DnTemplate::parse(template);
        if template.contains("ou=?") {
            assert!(parsed.is_ok(), "{parsed:?}");
            continue;
        }
        let error = parsed.map(|t| panic!("{t:?}")).unwrap_err();
        assert!(error.message.contains(part), "{template}: {error}");
    }
    for template in ["(cn={v[].x})", "(cn={v}{?x{w}?})"] {
        assert!(FilterTemplate::parse(template).is_err(), "{template}");
    }
    let template = DnTemplate::parse("cn={v},{w|ou_path:/},ou=people,dc=x").unwrap();
    assert_eq!(template.common_suffix().as_deref(), Some("ou=people,dc=x"));
    assert_eq!(template.naming_attributes(), ["cn"]);
}

proptest! {
    #[test]
    fn a_part_of_a_path_stays_a_part(parts in proptest::collection::vec(hostile(), 1..5)) {
        let parts: Vec<String> = parts.iter().map(|part| part.replace('/', "").trim().to_owned()).collect();
        prop_assume!(parts.iter().all(|part| !part.is_empty()));
        let dn = dn("cn={v},{w|ou_path:/},dc=x", "a", &parts.join("/")).unwrap();
        let dn = Dn::parse(&dn).unwrap();
        let made: Vec<String> = dn.rdns.iter().skip(1).take(parts.len()).rev()
            .map(|rdn| String::from_utf8(rdn.avas[0].value.clone()).unwrap()).collect();
        prop_assert_eq!(dn.depth(), parts.len() + 2);
        prop_assert_eq!(made, parts);
    }

    #[test]
    fn a_value_of_an_optional_part_stays_a_value(value in hostile()) {
        let dn = Dn::parse(&dn("cn={v}{?,ou={w}?},dc=x", "a", &value).unwrap()).unwrap();
        prop_assert_eq!(dn.depth(), 3);
        prop_assert_eq!(&dn.rdns[1], &Rdn::single("ou", value));
    }

    #[test]
    fn any_text_of_the_language_parses_or_says_where(text in "[a.\\[\\]{}?|:,=\"0*/$()-]{0,24}|\\{a\\|replace:[a-z$(){}/\\\\]{0,16}\\}") {
        match Template::parse(&text) {
            Err(error) => prop_assert!(error.at >= 1 && error.at <= text.chars().count() + 1 && !error.message.is_empty()),
            Ok(template) => {
                let _ = template.render(&|_| Some(vec!["a/b,c".into()]));
                let _ = DnTemplate::parse(&text).map(|t| {
                    if let Ok(dn) = t.render(&|_| Some(vec!["a/b,c".into()])) {
                        assert!(Dn::parse(&dn).is_ok(), "{dn}");
                    }
                });
            }
        }
    }
}
