//! Filters mean what resources show. A search compares every value of an attribute, also under an option or a subtype; a resource shows one
//! of several, or those without an option. Entries of which these differ are looked at again, one by one.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};

use ldap_directory::Scope;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;

use super::links::Reference;
use super::{Kind, Store};
use crate::error::ApiError;
use crate::filter::SafeFilter;
use crate::lookup::find;
use crate::members;
use crate::scim::error::ScimError;
use crate::scim::filter::{Expr, parse_filter};
use crate::scim::mapping::{Field, Mapping};
use crate::scim::resource::{holds, shown};
use crate::scim::translate::{Translator, Truth, references, within};

/// A filter of a query, with what it compares.
pub(super) struct Asked {
    expr: Expr,
    found: HashMap<String, Reference>,
    /// The search for its entries.
    pub(super) filter: SafeFilter,
    /// The fields that it compares, each once, and whether a resource shows one value alone.
    fields: Vec<(Field, bool)>,
    /// The comparisons with them.
    leaves: Vec<Filter>,
}

impl Asked {
    /// Returns the attributes that are compared, with their subtypes.
    pub(super) fn attributes<'a>(&'a self, schema: &'a Schema) -> impl Iterator<Item = &'a str> {
        let names: BTreeSet<&str> = self.fields.iter().map(|(field, _)| field.attribute.as_str()).collect();
        names.into_iter().flat_map(|name| members::with_subtypes(name, schema))
    }
}

impl Store<'_> {
    /// Translates the text of a filter, and asks for the DNs that it needs. `None`: nothing can match.
    pub(super) async fn asked(&self, kind: &Kind, text: &str) -> Result<Option<Asked>, ApiError> {
        let expr = parse_filter(text, self.filter_limits()).map_err(|e| ScimError::filter(&e))?;
        let found = self.references(&references(&kind.mapping, &expr)).await?;
        let (fields, leaves) = (RefCell::new(Vec::<(Field, bool)>::new()), RefCell::new(Vec::new()));
        let note = |field: &Field, is_one: bool, leaf: &Filter| {
            let mut fields = fields.borrow_mut();
            // Many comparisons may be with one of them.
            if !fields.iter().any(|(known, of_one)| known == field && *of_one == is_one) {
                fields.push((field.clone(), is_one));
            }
            leaves.borrow_mut().push(leaf.clone());
            None
        };
        let truth = self.translated(&kind.mapping, &expr, &found, &note)?;
        let (fields, leaves) = (fields.into_inner(), leaves.into_inner());
        let filter = within(&kind.filter, truth, &self.directory)?;
        Ok(filter.map(|filter| Asked { expr, found, filter, fields, leaves }))
    }

    fn translated(
        &self,
        mapping: &Mapping,
        expr: &Expr,
        found: &HashMap<String, Reference>,
        shown: &dyn Fn(&Field, bool, &Filter) -> Option<bool>,
    ) -> Result<Truth, ApiError> {
        let dn_of = |id: &str| found.get(id).map(|found| found.dn.clone());
        let uids_of = |id: &str| found.get(id).map(|found| found.uids.clone()).unwrap_or_default();
        let sids_of = |id: &str| {
            let found = found.get(id);
            (found.and_then(|found| found.primary.clone()), found.and_then(|found| found.sid.clone()))
        };
        let (schema, vendor) = (self.schema(), self.directory.root_dse().vendor);
        let (dn_of, uids_of, sids_of) = (&dn_of, &uids_of, &sids_of);
        Ok(Translator { mapping, schema, vendor, dn_of, uids_of, sids_of, shown }.translate(expr)?)
    }

    /// Whether a search compares other values of an entry than its resource shows.
    pub(super) fn is_odd(&self, asked: &Asked, entry: &Entry) -> bool {
        let schema = self.schema();
        asked.fields.iter().any(|(field, is_one)| {
            let names = [field.attribute.as_str()];
            let compared = members::attributes(entry, &names, schema);
            let compared: usize = compared.iter().map(|attribute| attribute.values.len()).sum();
            compared != shown(schema, field, *is_one, entry).len()
        })
    }

    /// Whether the resource of an entry matches a filter.
    pub(super) async fn matches(&self, kind: &Kind, asked: &Asked, entry: &Entry) -> Result<bool, ApiError> {
        let schema = self.schema();
        let known =
            |field: &Field, is_one: bool, leaf: &Filter| Some(holds(leaf, field, is_one, entry, schema));
        match self.translated(&kind.mapping, &asked.expr, &asked.found, &known)? {
            Truth::Always => Ok(true),
            Truth::Never => Ok(false),
            // What is not about shown values is left to the server.
            Truth::Filter(rest) => {
                let found = find(&self.directory, &entry.dn, Scope::Base, rest, &["1.1"], 1).await?;
                Ok(!found.is_empty())
            }
        }
    }

    /// Returns the search for entries that the filter may leave out though their resources match it: those of which a search finds a value
    /// that is not shown. `None`: nothing is negated, so that it leaves out none.
    pub(super) fn left_out(&self, kind: &Kind, asked: &Asked) -> Result<Option<SafeFilter>, ApiError> {
        if asked.leaves.is_empty() || !asked.expr.negates() {
            return Ok(None);
        }
        within(&kind.filter, Truth::Filter(Filter::Or(asked.leaves.clone())), &self.directory)
    }
}

/// The ids of entries that were looked at.
pub(super) type Looked = HashSet<Vec<u8>>;
