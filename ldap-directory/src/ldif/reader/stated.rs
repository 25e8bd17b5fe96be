//! What a file states about its content: the search that it was made by, and what was left out of it.
//!
//! Known are the heads of OpenLDAP's `ldapsearch` (`# base <dc=x> with scope subtree`, `# filter: (uid=a*)`, `# requesting: uid cn`) and of an
//! export of `ldap-service` (`# base: dc=x`, `# filter: …`), and the lines at the end of such an export
//! (`# left out: userPassword of 4 entries`).

use crate::entry::base_type;
use crate::filter::Filter;
use crate::schema::Schema;

/// The most statements that are kept.
const MOST: usize = 1_000;

/// A search that a file was made by, as far as it limits the entries: its base, scope or filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatedSearch {
    /// The line.
    pub line: u64,
    /// What it says, in one spelling, such as `filter (uid=a*)`.
    pub text: String,
    /// Whether entries below the base are certainly not in the file: it has a filter, or not the whole subtree.
    pub is_part: bool,
}

/// What a file states about its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stated {
    searches: Vec<StatedSearch>,
    /// The lists of requested attributes, one for each search.
    requested: Vec<(u64, Vec<String>)>,
    left_out: Vec<(u64, String)>,
    /// The last line of a head, whose lines follow each other, if there was one.
    head: Option<u64>,
}

impl Stated {
    /// Returns the searches that the file was made by. A filter that every entry matches is not one of them.
    pub fn searches(&self) -> &[StatedSearch] {
        &self.searches
    }

    /// Returns the line that says that an attribute is not in the file for all entries that have it; `None` if there is none. An entry that
    /// shows no value of it may have one.
    pub fn missing(&self, attribute: &str, schema: &Schema) -> Option<u64> {
        let name = base_type(attribute);
        let is_it = |other: &str| schema.same_description(base_type(other), name);
        let left_out = self.left_out.iter().find(|(_, other)| is_it(other)).map(|(line, _)| *line);
        let is_without = |(_, names): &&(u64, Vec<String>)| !names.iter().any(|n| requests(n, name, schema));
        left_out.or_else(|| self.requested.iter().find(is_without).map(|(line, _)| *line))
    }

    /// Returns whether nothing is stated to be missing.
    pub fn has_all_attributes(&self) -> bool {
        self.left_out.is_empty() && self.requested.is_empty()
    }

    /// Evaluates a comment.
    pub(super) fn comment(&mut self, line: u64, text: &str) {
        if let Some(name) = left_out(text) {
            if self.left_out.len() < MOST {
                self.left_out.push((line, name.to_owned()));
            }
            return;
        }
        let begins = matches!(text, "extended LDIF" | "LDAPv3" | "ldap-service export");
        // An entry may have a DN that reads like a line of a head.
        if !begins && self.head.is_none_or(|last| last + 1 != line) {
            return;
        }
        self.head = Some(line);
        if begins || self.searches.len() >= MOST || self.requested.len() >= MOST {
            return;
        }
        if let Some(names) = text.strip_prefix("requesting:") {
            let names = names.split_whitespace().map(|n| if n == "ALL" { "*" } else { n }.to_owned());
            self.requested.push((line, names.collect()));
        } else if let Some(filter) = text.strip_prefix("filter:").or(text.strip_prefix("filter pattern:")) {
            let filter = filter.trim();
            let parsed = Filter::parse(filter).or_else(|_| Filter::parse(&format!("({filter})")));
            if !parsed.as_ref().is_ok_and(is_all) {
                let text = parsed.map_or_else(|_| filter.to_owned(), |filter| filter.to_string());
                self.searches.push(StatedSearch { line, text: format!("filter {text}"), is_part: true });
            }
        } else if let Some(base) = text.strip_prefix("base:") {
            let text = format!("base {}", base.trim());
            self.searches.push(StatedSearch { line, text, is_part: false });
        } else if let Some((base, scope)) = text
            .strip_prefix("base <")
            .and_then(|rest| rest.rsplit_once(" with scope "))
            .and_then(|(base, scope)| Some((base.rsplit_once('>')?.0, scope)))
        {
            let is_part = !scope.starts_with("sub");
            let scope = if is_part { format!(" scope {scope}") } else { String::new() };
            self.searches.push(StatedSearch { line, text: format!("base {base}{scope}"), is_part });
        }
    }
}

/// Returns the attribute of `left out: NAME of N entries`, whatever reason follows in parentheses.
fn left_out(text: &str) -> Option<&str> {
    let text = text.strip_prefix("left out: ")?;
    let text = match text.strip_suffix(')') {
        Some(rest) => rest.rsplit_once(" (")?.0,
        None => text,
    };
    let (name, entries) = text.strip_suffix(" entries")?.split_once(" of ")?;
    (entries.bytes().all(|b| b.is_ascii_digit()) && super::is_description(name)).then_some(name)
}

/// Returns whether every entry matches a filter.
fn is_all(filter: &Filter) -> bool {
    match filter {
        Filter::Present(name) => name.eq_ignore_ascii_case("objectClass"),
        Filter::And(parts) => parts.iter().all(is_all),
        Filter::Or(parts) => parts.iter().any(is_all),
        _ => false,
    }
}

/// Returns whether an element of a list of requested attributes (RFC 4511 section 4.5.1.8, RFC 4529) asks for an attribute.
fn requests(element: &str, name: &str, schema: &Schema) -> bool {
    match element {
        "*" => !schema.is_operational(name),
        "+" => schema.is_operational(name),
        _ => {
            if let Some(class) = element.strip_prefix('@') {
                let (must, may) = schema.must_may([class]);
                return must.iter().chain(&may).any(|of| schema.same_description(of, name));
            }
            // An option asks for a part of the values.
            !element.contains(';') && schema.is_subtype(name, element)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(lines: &[&str]) -> Stated {
        let mut stated = Stated::default();
        for (n, text) in lines.iter().enumerate().filter(|(_, text)| **text != "|") {
            stated.comment(u64::try_from(n + 1).unwrap(), text);
        }
        stated
    }

    #[test]
    fn a_head_says_what_was_searched_and_requested() {
        let schema = Schema::standard();
        let head = [
            "extended LDIF",
            "",
            "LDAPv3",
            "base <dc=x> with scope subtree",
            "filter: (uid=x*)",
            "requesting: objectClass uid name @organization ",
        ];
        let found = stated(&head);
        let texts: Vec<_> = found.searches().iter().map(|s| (s.line, s.text.as_str(), s.is_part)).collect();
        assert_eq!(texts, [(4, "base dc=x", false), (5, "filter (uid=x*)", true)]);
        for (name, is_missing) in [
            ("uid", false),
            ("UserID", false),
            ("cn", false),
            ("o", false),
            ("mail", true),
            ("userPassword", false),
            ("entryUUID", true),
            ("mail;lang-de", true),
        ] {
            assert_eq!(found.missing(name, schema).is_some(), is_missing, "{name}");
        }
        let all = stated(&[
            "LDAPv3",
            "base <> (default) with scope oneLevel",
            "filter: objectclass=*",
            "requesting: ALL",
        ]);
        let texts: Vec<_> = all.searches().iter().map(|s| (s.text.as_str(), s.is_part)).collect();
        assert_eq!(texts, [("base  scope oneLevel", true)]);
        assert!(all.missing("mail", schema).is_none() && all.missing("createTimestamp", schema).is_some());
        let all = stated(&["LDAPv3", "requesting: * + "]);
        assert!(all.missing("mail", schema).is_none() && all.missing("createTimestamp", schema).is_none());
    }

    #[test]
    fn the_end_of_an_export_says_what_was_left_out() {
        let schema = Schema::standard();
        let found = stated(&[
            "ldap-service export",
            "base: ou=people,dc=x",
            "base: ou=groups,dc=x",
            "filter: (objectClass=*)",
            "|",
            "left out: userPassword of 4 entries",
            "left out: mail;x-a of 1 entries (may not be read)",
        ]);
        let missing = ["userPassword", "mail", "cn"].map(|name| found.missing(name, schema));
        assert_eq!(missing, [Some(6), Some(7), None]);
        assert_eq!(found.searches().len(), 2);
    }

    #[test]
    fn the_name_of_an_entry_is_not_a_head() {
        let text =
            ["LDAPv3", "|", "filter: (uid=x*)", "left out: mail of 3 entries, people, x", "requesting: uid"];
        assert_eq!(stated(&text), Stated { head: Some(1), ..Stated::default() });
        for text in ["filter: (uid=x*)", "requesting: uid", "base: dc=x"] {
            assert_eq!(stated(&[text]), Stated::default(), "the first line of a file");
        }
    }
}
