//! Records: JSON objects that are looked up a few times and then dropped.

use std::collections::HashMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// Up to this number of properties a linear search is faster than a hash table.
const FEW: usize = 32;
/// From this number of properties on, a record keeps a table of them.
const MANY: usize = 512;

/// The properties of a record in their original order, each once.
/// Of duplicates the last value is used, as usual in JSON, and the record remembers the duplicate.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    properties: Vec<(String, Value)>,
    twice: Option<Box<str>>,
    /// The index of each property, for records with many: all of them may be looked up.
    places: Option<HashMap<Box<str>, usize>>,
}

impl Record {
    fn new(properties: Vec<(String, Value)>, twice: Option<Box<str>>) -> Self {
        let places = (properties.len() >= MANY)
            .then(|| properties.iter().map(|(name, _)| name.as_str().into()).zip(0..).collect());
        Self { properties, twice, places }
    }

    /// Returns a property that occurs twice with different values (RFC 8259, section 4).
    /// Known only for records parsed from text.
    pub fn twice(&self) -> Option<&str> {
        self.twice.as_deref()
    }

    /// Returns the value of a property.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let found = match &self.places {
            Some(places) => places.get(name).and_then(|at| self.properties.get(*at)),
            None => self.properties.iter().find(|(key, _)| key == name),
        };
        found.map(|(_, value)| value)
    }

    /// Returns the properties in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.properties.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Returns the record as a JSON object.
    pub fn into_value(self) -> Value {
        Value::Object(self.properties.into_iter().collect())
    }
}

impl From<Map<String, Value>> for Record {
    fn from(object: Map<String, Value>) -> Self {
        Self::new(object.into_iter().collect(), None)
    }
}

impl TryFrom<Value> for Record {
    /// The value that is not an object.
    type Error = Value;

    fn try_from(value: Value) -> Result<Self, Value> {
        match value {
            Value::Object(object) => Ok(object.into()),
            other => Err(other),
        }
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Record;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a record, which is an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Record, A::Error> {
                let mut properties: Vec<(String, Value)> = Vec::with_capacity(FEW / 2);
                let mut twice = None;
                while let Some(name) = object.next_key::<String>()? {
                    let value = object.next_value()?;
                    // Larger records are checked for duplicates below.
                    let looked_through = if properties.len() < FEW { properties.len() } else { 0 };
                    match properties.iter_mut().take(looked_through).find(|(key, _)| *key == name) {
                        Some((name, before)) => {
                            if *before != value {
                                twice = Some(name.as_str().into());
                            }
                            *before = value;
                        }
                        None => properties.push((name, value)),
                    }
                }
                if properties.len() > FEW {
                    let mut object = Map::with_capacity(properties.len());
                    for (name, value) in properties {
                        if object.get(&name).is_some_and(|before| *before != value) {
                            twice = Some(name.as_str().into());
                        }
                        object.insert(name, value);
                    }
                    properties = object.into_iter().collect();
                }
                Ok(Record::new(properties, twice))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn record_equals_its_object(names in proptest::collection::vec("[a-c]{1,3}", 0..80)) {
            let properties: Vec<String> =
                names.iter().enumerate().map(|(n, name)| format!("\"{name}\":{n}")).collect();
            let text = format!("{{{}}}", properties.join(","));
            let object: Value = serde_json::from_str(&text).unwrap();
            let record: Record = serde_json::from_str(&text).unwrap();
            for name in &names {
                prop_assert_eq!(record.get(name), object.get(name));
            }
            prop_assert_eq!(serde_json::to_string(&record).unwrap(), object.to_string());
            prop_assert_eq!(record.into_value(), object);
        }
    }

    #[test]
    fn record_names_contradicting_duplicates() {
        let of = |text: &str| serde_json::from_str::<Record>(text).unwrap();
        assert_eq!(of(r#"{"a":1,"b":2,"a":3}"#).twice(), Some("a"));
        assert_eq!(of(r#"{"a":1,"b":2,"a":1}"#).twice(), None);
        let many: Vec<String> = (0..60).map(|n| format!("\"p{n}\":{n}")).collect();
        let many = many.join(",");
        assert_eq!(of(&format!("{{{many}}}")).twice(), None);
        assert_eq!(of(&format!("{{{many},\"p50\":0}}")).twice(), Some("p50"));
        assert_eq!(of(&format!("{{{many},\"p5\":0}}")).twice(), Some("p5"));
    }

    #[test]
    fn record_must_be_an_object() {
        let error = serde_json::from_str::<Record>("[1]").unwrap_err().to_string();
        assert!(error.contains("an object"), "{error}");
        assert!(Record::try_from(Value::from(1)).is_err());
    }
}
