//! Comparisons that Active Directory has, and no rule of the schema.
//!
//! - `(objectCategory=user)`: a value that is not a DN is the lDAPDisplayName of a class, in place of the class's `defaultObjectCategory`
//!   ([MS-ADTS] 3.1.1.3.1.3.5).
//! - `(anr=…)`: ambiguous name resolution over a set of attributes that each server has configured ([MS-ADTS] 3.1.1.3.1.3.3).

use crate::dn::first_rdn;
use crate::entry::base_type;
use crate::schema::Schema;

/// The attribute of ambiguous name resolution, which no entry has.
const ANR: &str = "anr";
const OBJECT_CATEGORY: &str = "objectCategory";

/// Classes whose default category is that of another class (AD Schema, `defaultObjectCategory`), in lower case and without hyphens.
const DEFAULT_CATEGORIES: [(&str, &str); 5] = [
    ("contact", "person"),
    ("domain", "domaindns"),
    ("inetorgperson", "person"),
    ("organizationalperson", "person"),
    ("user", "person"),
];

/// Returns whether an attribute is that of ambiguous name resolution: only a server knows what it matches.
pub(crate) fn is_anr(attribute: &str) -> bool {
    base_type(attribute).eq_ignore_ascii_case(ANR)
}

/// Returns the class in a comparison of an object category with the name of a class; `None` for other comparisons, such as with a DN.
pub(crate) fn category_class<'v>(attribute: &str, value: &'v [u8]) -> Option<&'v str> {
    if !base_type(attribute).eq_ignore_ascii_case(OBJECT_CATEGORY) {
        return None;
    }
    let name = std::str::from_utf8(value).ok()?.trim();
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    is_name.then_some(name)
}

/// Returns whether a category, which is the DN of a class in the schema, is the default one of a class; Undefined if no class of this name
/// is known, and none has the category.
///
/// An lDAPDisplayName is the name of the class in the schema without hyphens (`Organizational-Unit`), apart from case.
pub(super) fn is_category_of(category: &[u8], class: &str, schema: &Schema) -> Option<bool> {
    let plain = |name: &str| name.replace('-', "").to_ascii_lowercase();
    let class_name = plain(class);
    let default = DEFAULT_CATEGORIES.iter().find(|(class, _)| *class == class_name);
    let wanted = default.map_or(class_name.as_str(), |(_, category)| category);
    let category = std::str::from_utf8(category).ok().and_then(|dn| first_rdn(dn).ok()?);
    let name = category.as_ref().and_then(|rdn| std::str::from_utf8(&rdn.avas.first()?.value).ok());
    if name.is_some_and(|name| plain(name) == wanted) {
        return Some(true);
    }
    (default.is_some() || schema.object_class(class).is_some()).then_some(false)
}
