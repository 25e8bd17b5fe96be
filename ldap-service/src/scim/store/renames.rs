//! Attributes that the writer's rule has made of a name.

use serde_json::{Map, Value};

use super::{Found, Kind, Store, writer_kind};
use crate::error::ApiError;

impl Store<'_> {
    /// Adds the attributes that the writer's rule has made of the name, and that clients do not see: they follow a new name as long as they
    /// are the old one, which nobody else could have otherwise (`sAMAccountName` of groups).
    ///
    /// # Errors
    /// The entry cannot be read.
    pub(super) async fn follow_name(
        &self,
        kind: &Kind,
        found: &Found,
        record: &mut Map<String, Value>,
    ) -> Result<(), ApiError> {
        let schema = self.schema();
        let rule = self.service.writer.rule(writer_kind(kind.mapping.resource), &self.directory)?;
        let is = |a: &str, b: &str| schema.same_description(a, b);
        let new = record.iter().find(|(name, _)| is(name, &rule.naming)).map(|(_, value)| value.clone());
        let Some(new @ Value::String(_)) = new.filter(|_| rule.rule.attribute_mapping.is_none()) else {
            return Ok(());
        };
        let mut unseen = rule.filled(schema);
        unseen.retain(|name| {
            !is(name, &rule.naming)
                && !kind.mapping.fields.iter().any(|field| is(&field.attribute, name))
                && !record.keys().any(|known| is(known, name))
        });
        if unseen.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = unseen.iter().copied().chain([rule.naming.as_str()]).collect();
        let Some(entry) = self.directory.read(&found.entry.dn, &names).await? else { return Ok(()) };
        let [old] = schema.values_of(&entry, &rule.naming) else { return Ok(()) };
        for name in unseen {
            if schema.values_of(&entry, name) == std::slice::from_ref(old) {
                record.insert(name.to_owned(), new.clone());
            }
        }
        Ok(())
    }
}
