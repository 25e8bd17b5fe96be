//! The schema of a directory: attribute types and object classes (RFC 4512 section 4), and how values compare.

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

/// Attribute types and object classes, found by name, alias or OID without regard to case.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    types: Vec<AttributeType>,
    classes: Vec<ObjectClass>,
    type_index: Index,
    class_index: Index,
    /// What is asked of a type for every value, worked out at the first time. By position.
    derived: Vec<OnceLock<Derived>>,
    /// Matching rules by OID and names, in small letters; none where they are not published.
    rules: HashSet<String>,
    /// By the position of their structural class.
    content_rules: HashMap<usize, ContentRule>,
    /// The syntaxes whose values go over the wire with `;binary` (RFC 4522), by OID.
    binary_transfer: HashSet<String>,
    /// Active Directory publishes no EQUALITY at all, which says nothing about what its attributes can do.
    publishes_equality: bool,
    /// Whether it stands in for one that cannot be read.
    is_assumed: bool,
    coverage: Coverage,
}

/// What it means that a schema does not have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Coverage {
    /// Nothing: the schema is the built-in one, and the directory publishes none.
    #[default]
    BuiltIn,
    /// Little: the directory published it, but some definitions could not be read.
    Part,
    /// The directory does not know the name, unless it hides it.
    Whole,
}

/// Positions by OID and names, as they are spelt and in small letters. What is looked up comes from the server's own
/// answers and the configuration, a dozen times for each entry.
type Index = HashMap<String, usize, BuildHasherDefault<FxHasher>>;

/// What follows from a type and those it is derived from.
#[derive(Debug, Clone, Copy)]
struct Derived {
    equality: Equality,
    kind: ValueKind,
}

/// The built-in definitions, one a line: `attribute ( … )` or `class ( … )`.
const STANDARD: [&str; 3] = [
    include_str!("standard-types.schema"),
    include_str!("standard-classes.schema"),
    include_str!("vendors.schema"),
];

impl Schema {
    /// A schema of the definitions that can be read (RFC 4512 section 4.1), and what was wrong with the rest.
    /// Where a name is defined twice, the first definition has it.
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

    /// Adds DIT content rules (Active Directory lists its attributes in them). Gives what was wrong with the rest.
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

    /// Adds matching rules (RFC 4512 section 4.1.3). Gives what was wrong with the rest.
    pub fn add_matching_rules<'a>(
        &mut self,
        rules: impl IntoIterator<Item = &'a str>,
    ) -> Vec<DefinitionError> {
        let mut errors = Vec::new();
        for definition in rules {
            // They are written as attribute types are, with fewer parts.
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

    /// Adds what is published of syntaxes (RFC 4512 section 4.1.5): whether their values need `;binary`, as OpenLDAP says it.
    pub fn add_syntaxes<'a>(&mut self, syntaxes: impl IntoIterator<Item = &'a str>) {
        let needs_it = |definition: &&str| definition.contains("X-BINARY-TRANSFER-REQUIRED 'TRUE'");
        let oids = syntaxes.into_iter().filter(needs_it).filter_map(|one| AttributeType::parse(one).ok());
        self.binary_transfer.extend(oids.map(|syntax| syntax.oid));
    }

    /// A description as it goes over the wire: as [`Self::spell`], with `;binary` where the server demands it (RFC 4522
    /// section 3, RFC 4523 section 2).
    pub fn spell_for_transfer(&self, description: &str) -> String {
        let name = self.spell(description);
        let has_it = name.split(';').skip(1).any(|option| option.eq_ignore_ascii_case("binary"));
        let needs_it = || self.syntax(base_type(&name)).is_some_and(|oid| self.binary_transfer.contains(oid));
        if has_it || self.binary_transfer.is_empty() || !needs_it() { name } else { format!("{name};binary") }
    }

    /// Whether matching rules are published.
    pub fn publishes_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Whether a matching rule of this name or OID is published.
    pub fn has_rule(&self, name_or_oid: &str) -> bool {
        self.rules.contains(&name_or_oid.to_ascii_lowercase())
    }

    /// Adds attribute types that the schema lacks. One that it has stays as it is.
    pub fn add_attribute_types(&mut self, attributes: impl IntoIterator<Item = AttributeType>) {
        for attribute in attributes {
            self.publishes_equality |= attribute.equality.is_some();
            index(&mut self.type_index, &attribute.oid, &attribute.names, self.types.len());
            self.types.push(attribute);
        }
        // Each may be what another one is derived from. Once for all of them: a server may have 40,000.
        self.derived = vec![OnceLock::new(); self.types.len()];
        #[cfg(test)]
        tests::FORGOTTEN.with(|count| count.set(count.get() + self.types.len()));
    }

    fn add_class(&mut self, class: ObjectClass) {
        index(&mut self.class_index, &class.oid, &class.names, self.classes.len());
        self.classes.push(class);
    }

    /// The built-in schema: what the RFCs define for everyone, and the attributes of OpenLDAP, 389 DS and Active
    /// Directory that are met most.
    pub fn standard() -> &'static Self {
        static STANDARD_SCHEMA: OnceLock<Schema> = OnceLock::new();
        STANDARD_SCHEMA.get_or_init(|| standard_with_errors().0)
    }

    /// The same where a server's own schema cannot be read: what is not in it may well exist.
    #[must_use]
    pub fn assumed(self) -> Self {
        Self { is_assumed: true, ..self }
    }

    /// Whether the directory may have definitions that are not here.
    pub fn is_assumed(&self) -> bool {
        self.is_assumed
    }

    /// Sets what it means that the schema lacks a name.
    #[must_use]
    pub fn with_coverage(self, coverage: Coverage) -> Self {
        Self { coverage, ..self }
    }

    /// Returns what it means that the schema lacks a name.
    pub fn coverage(&self) -> Coverage {
        self.coverage
    }

    /// Whether nothing is defined.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty() && self.classes.is_empty()
    }

    /// All attribute types, in the order they were given.
    pub fn attribute_types(&self) -> &[AttributeType] {
        &self.types
    }

    /// All object classes, in the order they were given.
    pub fn object_classes(&self) -> &[ObjectClass] {
        &self.classes
    }

    /// An attribute type by name, alias or OID; options (`;lang-de`) are left out of account.
    pub fn attribute_type(&self, name_or_oid: &str) -> Option<&AttributeType> {
        let at = lookup(&self.type_index, base_type(name_or_oid))?;
        self.types.get(at)
    }

    /// An object class by name, alias or OID.
    pub fn object_class(&self, name_or_oid: &str) -> Option<&ObjectClass> {
        self.classes.get(lookup(&self.class_index, name_or_oid)?)
    }

    /// The usual name of an attribute type; of one that is not defined, what was given. Options are left out.
    pub fn canonical_name<'a>(&'a self, name: &'a str) -> &'a str {
        let unknown = || {
            let name = base_type(name);
            as_oid(name).unwrap_or(name)
        };
        self.attribute_type(name).map_or_else(unknown, AttributeType::name)
    }

    /// An attribute description as the schema spells its type, with the options as they are.
    pub fn spell(&self, description: &str) -> String {
        let name = base_type(description);
        let options = description.strip_prefix(name).unwrap_or_default();
        [self.canonical_name(name), options].concat()
    }

    /// Whether two descriptions name the same attribute: type by alias or OID, options in any order (RFC 4512
    /// section 2.5).
    pub fn same_description(&self, a: &str, b: &str) -> bool {
        a.eq_ignore_ascii_case(b) || self.normal_description(a) == self.normal_description(b)
    }

    /// A description in the one form that all its spellings have.
    pub fn normal_description(&self, description: &str) -> String {
        if !description.contains(';') {
            return self.canonical_name(description).to_ascii_lowercase();
        }
        let mut options: Vec<String> = description.split(';').skip(1).map(str::to_ascii_lowercase).collect();
        options.sort_unstable();
        options.insert(0, self.canonical_name(description).to_ascii_lowercase());
        options.join(";")
    }

    /// The values an entry has of an attribute, however its description is spelt.
    pub fn values_of<'e>(&self, entry: &'e Entry, description: &str) -> &'e [Vec<u8>] {
        let found = entry
            .attribute(description)
            .or_else(|| entry.attributes.iter().find(|a| self.same_description(&a.description, description)));
        found.map_or(&[], |a| a.values.as_slice())
    }

    /// A type and those it is derived from by SUP (RFC 4512 section 2.5.1). Ends where SUP goes round in a circle.
    pub fn type_chain(&self, name_or_oid: &str) -> impl Iterator<Item = &AttributeType> {
        let up = |a: &&AttributeType| a.superior.as_deref().and_then(|s| self.attribute_type(s));
        std::iter::successors(self.attribute_type(name_or_oid), up).take(self.types.len().min(32))
    }

    /// Whether `name` is the type `of` or derived from it. Types not defined are compared by their spelling.
    pub fn is_subtype(&self, name: &str, of: &str) -> bool {
        match self.attribute_type(of) {
            Some(wanted) => self.type_chain(name).any(|a| std::ptr::eq(a, wanted)),
            None => base_type(name).eq_ignore_ascii_case(base_type(of)),
        }
    }

    /// The OID of an attribute's syntax (RFC 4512 section 4.1.2), its own or inherited.
    pub fn syntax(&self, attribute: &str) -> Option<&str> {
        self.type_chain(attribute).find_map(|a| a.syntax.as_deref())
    }

    /// How values of an attribute compare: by its own or inherited EQUALITY, or else as its syntax suggests (Active
    /// Directory names no rules). Octets for an attribute that is not defined.
    pub fn equality(&self, attribute: &str) -> Equality {
        self.derived(attribute).map_or(Equality::OctetString, |d| d.equality)
    }

    /// The kind of an attribute's values, options left out of account.
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

    /// The EQUALITY rule an attribute names, its own or inherited.
    pub fn equality_name(&self, attribute: &str) -> Option<&str> {
        self.type_chain(attribute).find_map(|a| a.equality.as_deref())
    }

    /// Whether two values of an attribute are the same by its equality rule.
    pub fn values_match(&self, attribute: &str, a: &[u8], b: &[u8]) -> bool {
        let rule = self.equality(attribute);
        a == b || rule.normalize(a, self) == rule.normalize(b, self)
    }

    /// Whether an attribute has one value at most (SINGLE-VALUE). One with options has a value for each of them.
    pub fn is_single_valued(&self, attribute: &str) -> bool {
        self.attribute_type(attribute).is_some_and(|a| a.single_value)
    }

    /// Whether an attribute is operational: kept for the server's own purposes (RFC 4512 section 3.4).
    pub fn is_operational(&self, attribute: &str) -> bool {
        self.attribute_type(attribute).is_some_and(|a| a.usage != Usage::UserApplications)
    }

    /// What an attribute is called in a normal name (its OID; as it is given when it is not defined), and how its values
    /// compare there: as anywhere, but without regard to case when it is not defined.
    pub(crate) fn naming<'a>(&'a self, attribute: &'a str) -> (&'a str, Equality) {
        let at = lookup(&self.type_index, base_type(attribute));
        match at.and_then(|at| Some((self.types.get(at)?, self.derived_at(at, attribute)?))) {
            Some((known, derived)) => (&known.oid, derived.equality),
            None => (attribute, Equality::CaseIgnore),
        }
    }

    /// How values of an attribute order, if they do: by its ORDERING, or else as its equality suggests.
    pub fn ordering(&self, attribute: &str) -> Equality {
        self.type_chain(attribute)
            .find_map(|a| Equality::from_rule(a.ordering.as_deref()?))
            .unwrap_or_else(|| self.equality(attribute))
    }

    /// Whether the server can tell which of two values is larger. True for all of a schema that publishes no rules
    /// (Active Directory).
    pub fn has_ordering(&self, attribute: &str) -> bool {
        !self.publishes_equality || self.type_chain(attribute).any(|a| a.ordering.is_some())
    }

    /// Whether the server can look for parts of values. True for all of a schema that publishes no rules (Active Directory).
    pub fn has_substring(&self, attribute: &str) -> bool {
        !self.publishes_equality || self.type_chain(attribute).any(|a| a.substring.is_some())
    }

    /// Whether the server can compare single values of an attribute. Where not (jpegPhoto on OpenLDAP), values can
    /// only be replaced all at once (RFC 4511 section 4.6). True for attributes that are not defined, and for all of
    /// a schema that publishes no EQUALITY anywhere (Active Directory).
    pub fn has_equality(&self, attribute: &str) -> bool {
        !self.publishes_equality
            || self.attribute_type(attribute).is_none()
            || self.type_chain(attribute).any(|a| a.equality.is_some())
    }

    /// The classes and all those they are derived from by SUP, superiors first, each once. Unknown ones are left out.
    pub fn class_closure<'n>(&self, classes: impl IntoIterator<Item = &'n str>) -> Vec<&ObjectClass> {
        let mut seen = HashSet::new();
        let mut out = Vec::new();
        for class in classes {
            // Depth first with a stack of its own: a class is taken once those above it are.
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

    /// The attributes that entries of these classes must and may have (RFC 4512 section 2.4), inherited ones first,
    /// under their usual names, each once however spelt; what is a MUST anywhere is no MAY. What DIT content rules add
    /// comes last; what an auxiliary class demands that entries only may have is a MAY.
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
        // As it is mostly met.
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
