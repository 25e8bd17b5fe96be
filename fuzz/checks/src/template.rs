//! Templates of a rule: the first line is the template, the second what every name in it stands for.

use ldap_directory::dn::{self, Dn};
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use target_ldap::rules::template::{DnTemplate, FilterTemplate, Rendered, Syntax, Template, ValueTemplate};

/// A harmless value.
const PLAIN: &str = "x";

/// What a DN template makes of any record is a name with as many levels and the same attributes as of a harmless one, and
/// what a filter template makes a filter of the same shape: a value decides nothing but itself.
pub fn template(data: &[u8]) {
    let Some(text) = super::text(data) else { return };
    let (template, value) = text.split_once('\n').unwrap_or((text, "a,dc=b)(cn=*"));
    let nasty = |_: &str| Some(vec![value.to_owned()]);
    let plain = |_: &str| Some(vec![PLAIN.to_owned()]);

    // An optional part may be missing, and these filters make as many RDNs as a value says.
    let decides = ["{?", "ou_path", "dn"].iter().any(|part| template.contains(part));
    if let Ok(text) = Template::parse(template) {
        assert!(text.names().all(|name| !name.is_empty()));
        // `default` and `date` may repeat what the template says, nothing else makes a value longer than five times.
        if let Ok(Rendered::Text(out)) = text.render(&nasty) {
            let most = template.len() + 16 * text.names().count() * (value.len() + template.len() + 16);
            // `replace` has a limit of its own.
            assert!(out.len() <= most.max(64) * 4 || template.contains("replace"), "{}", out.len());
        }
        for syntax in [Syntax::Dn, Syntax::NameAndUid, Syntax::DnBinary, Syntax::DnString] {
            let Ok(of_name) = ValueTemplate::new(&text, syntax) else { continue };
            let (Ok(Rendered::Text(nasty)), Ok(Rendered::Text(plain))) =
                (of_name.render(&nasty), of_name.render(&plain))
            else {
                continue;
            };
            // A template that is one placeholder is the whole name.
            if syntax == Syntax::Dn && text.names().count() != 1 && !decides {
                let nasty = Dn::parse(&nasty).expect("what a template makes is a name");
                let plain = Dn::parse(&plain).expect("what a template makes is a name");
                assert_eq!(attributes(&nasty), attributes(&plain));
            }
        }
    }
    if let Ok(name) = DnTemplate::parse(template) {
        if let (Ok(nasty), Ok(plain)) = (name.render(&nasty), name.render(&plain)) {
            let nasty = Dn::parse(&nasty).expect("what a template makes is a name");
            let plain = Dn::parse(&plain).expect("what a template makes is a name");
            if !decides {
                assert_eq!(attributes(&nasty), attributes(&plain));
            }
        }
        if template == "cn={a},dc=x" && !value.trim().is_empty() {
            let expected = format!("cn={},dc=x", dn::escape_value(value.as_bytes()));
            assert_eq!(name.render(&nasty), Ok(expected));
        }
    }
    if let Ok(filter) = FilterTemplate::parse(template) {
        if let (Ok(nasty), Ok(plain)) = (filter.render(&nasty), filter.render(&plain)) {
            let nasty = Filter::parse(&nasty).expect("what a template makes is a filter");
            let plain = Filter::parse(&plain).expect("what a template makes is a filter");
            assert_eq!(shape(&nasty), shape(&plain));
        }
        filter.attributes();
        if let Ok(filter) = filter.with_schema(Schema::standard())
            && let (Ok(nasty), Ok(plain)) = (filter.render(&nasty), filter.render(&plain))
        {
            assert_eq!(
                shape(&Filter::parse(&nasty).expect("what a template makes is a filter")),
                shape(&Filter::parse(&plain).expect("what a template makes is a filter"))
            );
        }
        if let Some((all, _)) = filter.of_all() {
            Filter::parse(&all).expect("the filter that finds all is one");
        }
    }
}

fn attributes(name: &Dn) -> Vec<Vec<&str>> {
    name.rdns.iter().map(|rdn| rdn.avas.iter().map(|ava| ava.attribute.as_str()).collect()).collect()
}

/// A filter without its values.
fn shape(filter: &Filter) -> String {
    let all = |filters: &[Filter]| filters.iter().map(shape).collect::<String>();
    match filter {
        Filter::And(filters) => format!("(&{})", all(filters)),
        Filter::Or(filters) => format!("(|{})", all(filters)),
        Filter::Not(inner) => format!("(!{})", shape(inner)),
        Filter::Equality { attribute, .. } => format!("({attribute}=)"),
        Filter::Substring { attribute, initial, any, last } => {
            format!("({attribute}={}*{}*{})", initial.is_some(), any.len(), last.is_some())
        }
        Filter::GreaterOrEqual { attribute, .. } => format!("({attribute}>=)"),
        Filter::LessOrEqual { attribute, .. } => format!("({attribute}<=)"),
        Filter::Present(attribute) => format!("({attribute}=*)"),
        Filter::Approx { attribute, .. } => format!("({attribute}~=)"),
        Filter::Extensible { rule, attribute, dn, .. } => format!("({attribute:?}:{dn}:{rule:?}:=)"),
    }
}
