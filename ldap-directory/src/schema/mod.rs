//! The schema of a directory: attribute types and object classes (RFC 4512 section 4), and how values compare.
//!
//! This module and [`dn`](crate::dn) depend on each other: distinguishedNameMatch compares DNs, and DNs compare by the matching
//! rules of their types.

pub mod conformance;
mod definition;
mod matching;
pub mod syntax;

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::sync::OnceLock;

use rustc_hash::FxHasher;

pub use definition::{AttributeType, ClassKind, ContentRule, DefinitionError, ObjectClass, Usage};
pub use matching::Equality;

use self::syntax::ValueKind;
use crate::entry::{Entry, as_oid, base_type};

/// Attribute types and object classes, found by name, alias or OID in any case.
///
/// ```
/// use ldap_directory::schema::{Equality, Schema};
///
/// let schema = Schema::standard();
/// assert_eq!(schema.canonical_name("commonName"), "cn");
/// assert_eq!(schema.equality("uidNumber"), Equality::Integer);
/// let (must, _may) = schema.must_may(["inetOrgPerson"]);
/// assert_eq!(must, ["objectClass", "sn", "cn"]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Schema {
    types: Vec<AttributeType>,
    classes: Vec<ObjectClass>,
    type_index: Index,
    class_index: Index,
    /// Properties of each type, derived at the first use. By position.
    derived: Vec<OnceLock<Derived>>,
    /// Matching rules by OID and names, in lower case; empty if none are published.
    rules: HashSet<String>,
    /// By the position of the structural class.
    content_rules: HashMap<usize, ContentRule>,
    /// The OIDs of the syntaxes whose values are transferred with `;binary` (RFC 4522).
    binary_transfer: HashSet<String>,
    /// Whether any type has an EQUALITY. Active Directory publishes none, which does not mean that values cannot be compared.
    publishes_equality: bool,
    /// Whether it replaces a schema that cannot be read.
    is_assumed: bool,
    /// The spelling of names that it does not define, by their lower case.
    pub(crate) undefined: HashMap<String, String>,
    coverage: Coverage,
}

/// What it means if a schema lacks a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Coverage {
    /// Nothing: the schema is the built-in one, because the directory publishes none.
    #[default]
    BuiltIn,
    /// Little: some definitions of the published schema could not be parsed.
    Part,
    /// The directory does not define the name, or hides it.
    Whole,
}

/// Positions by OID and names, in the published spelling and in lower case. Lookups happen a dozen times for each entry, mostly
/// with names from the server itself.
type Index = HashMap<String, usize, BuildHasherDefault<FxHasher>>;

/// Properties derived from a type and its supertypes.
#[derive(Debug, Clone, Copy)]
struct Derived {
    equality: Equality,
    kind: ValueKind,
}

/// The built-in definitions, one per line: `attribute ( … )` or `class ( … )`.
const STANDARD: [&str; 3] = [
    include_str!("standard-types.schema"),
    include_str!("standard-classes.schema"),
    include_str!("vendors.schema"),
];

impl Schema {
    /// Returns a schema of the definitions that can be parsed (RFC 4512 section 4.1), and the errors of the others. If a name is
    /// defined twice, the first definition wins.
    ///
    /// ```
    /// use ldap_directory::schema::Schema;
    ///
    /// let (schema, errors) = Schema::parse(
    ///     ["( 1.1.1 NAME ( 'badge' 'badgeNumber' ) EQUALITY integerMatch SINGLE-VALUE )", "not a definition"],
    ///     ["( 1.1.2 NAME 'employee' SUP top AUXILIARY MUST badge )"],
    /// );
    /// assert_eq!(errors.len(), 1);
    /// assert_eq!(schema.canonical_name("BADGENUMBER"), "badge");
    /// assert!(schema.is_single_valued("badge") && schema.object_class("employee").is_some());
    /// ```
    pub fn parse<'a>(
        attribute_types: impl IntoIterator<Item = &'a str>,
        object_classes: impl IntoIterator<Item = &'a str>,
    ) -> (Self, Vec<DefinitionError>) {
        let mut schema = Self::default();
        let mut errors = Vec::new();
        let read = |definition| AttributeType::parse(definition).map_err(|e| errors.push(e)).ok();
        schema.add_attribute_types(attribute_types.into_iter().filter_map(read));
        for definition in object_classes {
            ObjectClass::parse(definition).map_or_else(|e| errors.push(e), |c| schema.add_class(c));
        }
        (schema, errors)
    }

    /// Adds DIT content rules (Active Directory lists its attributes in them). Returns the errors of those that cannot be parsed.
    pub fn add_content_rules<'a>(
        &mut self,
        rules: impl IntoIterator<Item = &'a str>,
    ) -> Vec<DefinitionError> {
        let mut errors = Vec::new();
        for definition in rules {
            match ContentRule::parse(definition) {
                Ok(rule) => {
                    if let Some(at) = self.class_at(&rule.class) {
                        self.content_rules.insert(at, rule);
                    }
                }
                Err(e) => errors.push(e),
            }
        }
        errors
    }

    /// Adds matching rules (RFC 4512 section 4.1.3). Returns the errors of those that cannot be parsed.
    pub fn add_matching_rules<'a>(
        &mut self,
        rules: impl IntoIterator<Item = &'a str>,
    ) -> Vec<DefinitionError> {
        let mut errors = Vec::new();
        for definition in rules {
            // They have the form of attribute types, with fewer parts.
            match AttributeType::parse(definition) {
                Ok(rule) => {
                    let names = rule.names.iter().chain([&rule.oid]);
                    self.rules.extend(names.map(|name| name.to_ascii_lowercase()));
                }
                Err(e) => errors.push(e),
            }
        }
        errors
    }

    /// Adds syntaxes (RFC 4512 section 4.1.5): whether their values need `;binary`, as OpenLDAP publishes it.
    pub fn add_syntaxes<'a>(&mut self, syntaxes: impl IntoIterator<Item = &'a str>) {
        let needs_it = |definition: &&str| definition.contains("X-BINARY-TRANSFER-REQUIRED 'TRUE'");
        let oids = syntaxes.into_iter().filter(needs_it).filter_map(|one| AttributeType::parse(one).ok());
        self.binary_transfer.extend(oids.map(|syntax| syntax.oid));
    }

    /// Returns a description for transfer: as [`Self::spell`], with `;binary` if the server requires it (RFC 4522 section 3,
    /// RFC 4523 section 2).
    pub fn spell_for_transfer(&self, description: &str) -> String {
        let name = self.spell(description);
        let has_it = name.split(';').skip(1).any(|option| option.eq_ignore_ascii_case("binary"));
        let needs_it = || self.syntax(base_type(&name)).is_some_and(|oid| self.binary_transfer.contains(oid));
        if has_it || self.binary_transfer.is_empty() || !needs_it() { name } else { format!("{name};binary") }
    }

    /// Returns whether matching rules are published.
    pub fn publishes_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Returns whether a matching rule with this name or OID is published.
    pub fn has_rule(&self, name_or_oid: &str) -> bool {
        self.rules.contains(&name_or_oid.to_ascii_lowercase())
    }

    /// Adds attribute types. Those that the schema already has are kept.
    pub fn add_attribute_types(&mut self, attributes: impl IntoIterator<Item = AttributeType>) {
        for attribute in attributes {
            self.publishes_equality |= attribute.equality.is_some();
            index(&mut self.type_index, &attribute.oid, &attribute.names, self.types.len());
            self.types.push(attribute);
        }
        // Each may be the supertype of another one. Once for all of them: a server may have 40,000.
        self.derived = vec![OnceLock::new(); self.types.len()];
        #[cfg(test)]
        tests::FORGOTTEN.with(|count| count.set(count.get() + self.types.len()));
    }

    fn add_class(&mut self, class: ObjectClass) {
        index(&mut self.class_index, &class.oid, &class.names, self.classes.len());
        self.classes.push(class);
    }

    /// Returns the built-in schema: the definitions of the RFCs, and the common attributes of OpenLDAP, 389 DS and Active Directory.
    ///
    /// ```
    /// use ldap_directory::schema::Schema;
    ///
    /// let schema = Schema::standard();
    /// assert!(schema.is_subtype("givenName", "name"));
    /// assert!(schema.is_operational("modifyTimestamp"));
    /// ```
    pub fn standard() -> &'static Self {
        static STANDARD_SCHEMA: OnceLock<Schema> = OnceLock::new();
        STANDARD_SCHEMA.get_or_init(|| standard_with_errors().0)
    }

    /// Marks the schema as a replacement for one that cannot be read: a name that it lacks may exist.
    #[must_use]
    pub fn assumed(self) -> Self {
        Self { is_assumed: true, ..self }
    }

    /// Returns whether the directory may have definitions that are missing here.
    pub fn is_assumed(&self) -> bool {
        self.is_assumed
    }

    /// Sets what it means if the schema lacks a name.
    #[must_use]
    pub fn with_coverage(self, coverage: Coverage) -> Self {
        Self { coverage, ..self }
    }

    /// Returns what it means if the schema lacks a name.
    pub fn coverage(&self) -> Coverage {
        self.coverage
    }

    /// Returns whether nothing is defined.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty() && self.classes.is_empty()
    }

    /// Returns all attribute types, in their order.
    pub fn attribute_types(&self) -> &[AttributeType] {
        &self.types
    }

    /// Returns all object classes, in their order.
    pub fn object_classes(&self) -> &[ObjectClass] {
        &self.classes
    }

    /// Returns an attribute type by name, alias or OID; options (`;lang-de`) are ignored.
    pub fn attribute_type(&self, name_or_oid: &str) -> Option<&AttributeType> {
        let at = lookup(&self.type_index, base_type(name_or_oid))?;
        self.types.get(at)
    }

    /// Returns an object class by name, alias or OID.
    pub fn object_class(&self, name_or_oid: &str) -> Option<&ObjectClass> {
        self.classes.get(lookup(&self.class_index, name_or_oid)?)
    }

    /// Returns the canonical (first) name of an attribute type, without options; an undefined name is returned unchanged, on a file in its first spelling there.
    pub fn canonical_name<'a>(&'a self, name: &'a str) -> &'a str {
        let unknown = || {
            let name = base_type(name);
            let known = || self.undefined.get(&name.to_ascii_lowercase());
            let spelled = if self.undefined.is_empty() { None } else { known() };
            spelled.map_or_else(|| as_oid(name).unwrap_or(name), String::as_str)
        };
        self.attribute_type(name).map_or_else(unknown, AttributeType::name)
    }

    /// Returns an attribute description with the canonical name of its type, and unchanged options.
    pub fn spell(&self, description: &str) -> String {
        let name = base_type(description);
        let options = description.strip_prefix(name).unwrap_or_default();
        [self.canonical_name(name), options].concat()
    }

    /// Returns whether two descriptions name the same attribute: types by alias or OID, options in any order (RFC 4512
    /// section 2.5).
    pub fn same_description(&self, a: &str, b: &str) -> bool {
        a.eq_ignore_ascii_case(b) || self.normal_description(a) == self.normal_description(b)
    }

    /// Returns a description in the normal form that all its spellings share.
    pub fn normal_description(&self, description: &str) -> String {
        if !description.contains(';') {
            return self.canonical_name(description).to_ascii_lowercase();
        }
        let mut options: Vec<String> = description.split(';').skip(1).map(str::to_ascii_lowercase).collect();
        options.sort_unstable();
        options.insert(0, self.canonical_name(description).to_ascii_lowercase());
        options.join(";")
    }

    /// Returns the values that an entry has of an attribute, in any spelling of its description.
    pub fn values_of<'e>(&self, entry: &'e Entry, description: &str) -> &'e [Vec<u8>] {
        let found = entry
            .attribute(description)
            .or_else(|| entry.attributes.iter().find(|a| self.same_description(&a.description, description)));
        found.map_or(&[], |a| a.values.as_slice())
    }

    /// Returns a type and its supertypes (SUP, RFC 4512 section 2.5.1). Ends if SUP is circular.
    pub fn type_chain(&self, name_or_oid: &str) -> impl Iterator<Item = &AttributeType> {
        let up = |a: &&AttributeType| a.superior.as_deref().and_then(|s| self.attribute_type(s));
        std::iter::successors(self.attribute_type(name_or_oid), up).take(self.types.len().min(32))
    }

    /// Returns whether `name` is the type `of` or a subtype. Undefined types compare by their spelling.
    pub fn is_subtype(&self, name: &str, of: &str) -> bool {
        match self.attribute_type(of) {
            Some(wanted) => self.type_chain(name).any(|a| std::ptr::eq(a, wanted)),
            None => base_type(name).eq_ignore_ascii_case(base_type(of)),
        }
    }

    /// Returns the OID of an attribute's syntax (RFC 4512 section 4.1.2), its own or inherited.
    pub fn syntax(&self, attribute: &str) -> Option<&str> {
        self.type_chain(attribute).find_map(|a| a.syntax.as_deref())
    }

    /// Returns the equality rule of an attribute: its own or inherited EQUALITY, or else the rule of its syntax (Active Directory
    /// publishes no rules). Undefined attributes compare by octets.
    pub fn equality(&self, attribute: &str) -> Equality {
        self.derived(attribute).map_or(Equality::OctetString, |d| d.equality)
    }

    /// Returns the kind of an attribute's values, without regard to options.
    pub(super) fn kind(&self, attribute: &str) -> ValueKind {
        self.derived(attribute).map_or_else(|| ValueKind::derive(self, attribute), |d| d.kind)
    }

    fn derived(&self, attribute: &str) -> Option<Derived> {
        self.derived_at(lookup(&self.type_index, base_type(attribute))?, attribute)
    }

    fn derived_at(&self, at: usize, attribute: &str) -> Option<Derived> {
        let derive = || Derived {
            equality: self.derive_equality(attribute),
            kind: ValueKind::derive(self, attribute),
        };
        Some(*self.derived.get(at)?.get_or_init(derive))
    }

    fn derive_equality(&self, attribute: &str) -> Equality {
        self.type_chain(attribute)
            .find_map(|a| Equality::from_rule(a.equality.as_deref()?))
            .or_else(|| self.syntax(attribute).map(Equality::of_syntax))
            .unwrap_or(Equality::OctetString)
    }

    /// Returns the name of the EQUALITY rule of an attribute, its own or inherited.
    pub fn equality_name(&self, attribute: &str) -> Option<&str> {
        self.type_chain(attribute).find_map(|a| a.equality.as_deref())
    }

    /// Returns whether two values of an attribute are equal by its equality rule.
    ///
    /// ```
    /// use ldap_directory::schema::Schema;
    ///
    /// let schema = Schema::standard();
    /// assert!(schema.values_match("cn", b"Ada  Lovelace", b"ada lovelace"));
    /// assert!(schema.values_match("member", b"cn=Ada,dc=x", b"CN=ada, DC=X"));
    /// assert!(!schema.values_match("jpegPhoto", b"a", b"A"));
    /// ```
    pub fn values_match(&self, attribute: &str, a: &[u8], b: &[u8]) -> bool {
        let rule = self.equality(attribute);
        a == b || rule.normalize(a, self) == rule.normalize(b, self)
    }

    /// Returns whether an attribute is SINGLE-VALUE. With options, it can have one value for each description.
    pub fn is_single_valued(&self, attribute: &str) -> bool {
        self.attribute_type(attribute).is_some_and(|a| a.single_value)
    }

    /// Returns whether an attribute is operational: maintained for the server's own purposes (RFC 4512 section 3.4).
    pub fn is_operational(&self, attribute: &str) -> bool {
        self.attribute_type(attribute).is_some_and(|a| a.usage != Usage::UserApplications)
    }

    /// Returns the name of an attribute in a normalized DN (its OID, or its own spelling if undefined), and the rule of its values
    /// there (caseIgnoreMatch if undefined).
    pub(crate) fn naming<'a>(&'a self, attribute: &'a str) -> (&'a str, Equality) {
        let at = lookup(&self.type_index, base_type(attribute));
        match at.and_then(|at| Some((self.types.get(at)?, self.derived_at(at, attribute)?))) {
            Some((known, derived)) => (&known.oid, derived.equality),
            None => (attribute, Equality::CaseIgnore),
        }
    }

    /// Returns the rule by which values of an attribute are ordered: its ORDERING, or else its equality rule.
    pub fn ordering(&self, attribute: &str) -> Equality {
        self.type_chain(attribute)
            .find_map(|a| Equality::from_rule(a.ordering.as_deref()?))
            .unwrap_or_else(|| self.equality(attribute))
    }

    /// Returns whether the server can order values of an attribute. True for every attribute if the schema publishes no rules
    /// (Active Directory).
    pub fn has_ordering(&self, attribute: &str) -> bool {
        !self.publishes_equality || self.type_chain(attribute).any(|a| a.ordering.is_some())
    }

    /// Returns whether the server supports substring filters. True for every attribute if the schema publishes no rules (Active
    /// Directory).
    pub fn has_substring(&self, attribute: &str) -> bool {
        !self.publishes_equality || self.type_chain(attribute).any(|a| a.substring.is_some())
    }

    /// Returns whether the server can compare single values of an attribute. If not (jpegPhoto on OpenLDAP), its values can only be
    /// replaced together (RFC 4511 section 4.6). True for undefined attributes, and for all attributes if the schema publishes no
    /// EQUALITY (Active Directory).
    pub fn has_equality(&self, attribute: &str) -> bool {
        !self.publishes_equality
            || self.attribute_type(attribute).is_none()
            || self.type_chain(attribute).any(|a| a.equality.is_some())
    }

    /// Returns the classes and their superclasses, superclasses first, each once. Undefined ones are omitted.
    pub fn class_closure<'n>(&self, classes: impl IntoIterator<Item = &'n str>) -> Vec<&ObjectClass> {
        let mut seen = HashSet::new();
        let mut out = Vec::new();
        for class in classes {
            // Depth first with an explicit stack: a class follows its superclasses.
            let mut stack: Vec<(usize, bool)> =
                self.class_at(class).map(|at| (at, false)).into_iter().collect();
            while let Some((at, superiors_taken)) = stack.pop() {
                let Some(class) = self.classes.get(at) else { continue };
                if superiors_taken {
                    out.push(class);
                } else if seen.insert(at) {
                    stack.push((at, true));
                    let above = class.superiors.iter().rev().filter_map(|s| self.class_at(s));
                    stack.extend(above.map(|at| (at, false)));
                }
            }
        }
        out
    }

    fn class_at(&self, name: &str) -> Option<usize> {
        lookup(&self.class_index, name)
    }

    /// Returns the attributes that entries of these classes must and may have (RFC 4512 section 2.4): canonical names, inherited ones
    /// first, each once. An attribute that is a MUST anywhere is not a MAY. Additions of DIT content rules come last; a MUST of an
    /// auxiliary class that entries only may have is a MAY.
    pub fn must_may<'n>(&self, classes: impl IntoIterator<Item = &'n str>) -> (Vec<&str>, Vec<&str>) {
        let classes: Vec<&str> = classes.into_iter().collect();
        let closure = self.class_closure(classes.iter().copied());
        let rules: Vec<&ContentRule> =
            classes.iter().filter_map(|c| self.content_rules.get(&self.class_at(c)?)).collect();
        let allowed = self.class_closure(rules.iter().flat_map(|r| &r.auxiliary).map(String::as_str));
        let must = closure.iter().flat_map(|c| &c.must).chain(rules.iter().flat_map(|r| &r.must));
        let may = closure.iter().flat_map(|c| &c.may).chain(rules.iter().flat_map(|r| &r.may));
        let may = may.chain(allowed.iter().flat_map(|c| c.must.iter().chain(&c.may)));
        let refused = |name: &str| {
            rules.iter().any(|r| {
                !r.not.is_empty() && r.not.iter().any(|n| self.canonical_name(n).eq_ignore_ascii_case(name))
            })
        };
        let mut seen = HashSet::new();
        let must: Vec<&str> =
            must.map(|n| self.canonical_name(n)).filter(|n| seen.insert(n.to_ascii_lowercase())).collect();
        let may = may
            .map(|n| self.canonical_name(n))
            .filter(|n| !refused(n) && seen.insert(n.to_ascii_lowercase()))
            .collect();
        (must, may)
    }
}

fn index(map: &mut Index, oid: &str, names: &[String], at: usize) {
    for name in std::iter::once(oid).chain(names.iter().map(String::as_str)) {
        let at = *map.entry(name.to_ascii_lowercase()).or_insert(at);
        // The most common spelling.
        map.entry(name.to_owned()).or_insert(at);
    }
}

fn lookup(map: &Index, name: &str) -> Option<usize> {
    let other = || map.get(&name.trim().to_ascii_lowercase());
    map.get(name).or_else(other).or_else(|| map.get(as_oid(name)?)).copied()
}

fn standard_with_errors() -> (Schema, Vec<DefinitionError>) {
    let lines = |prefix: &'static str| {
        STANDARD.iter().flat_map(|s| s.lines()).filter_map(move |l| l.strip_prefix(prefix))
    };
    Schema::parse(lines("attribute "), lines("class "))
}

#[cfg(test)]
mod tests;
