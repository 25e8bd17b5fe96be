//! A record, as it was written: an object of JSON that is looked up a few times and then let go.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// Up to so many properties, looking through them is quicker than a table of hashes.
const FEW: usize = 32;

/// The properties of a record in the order they were written, each once; of two with the same name the later value counts,
/// as elsewhere in JSON.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record(Vec<(String, Value)>);

impl Record {
    /// The value of a property.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The properties in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The same as an object.
    pub fn into_value(self) -> Value {
        Value::Object(self.0.into_iter().collect())
    }
}

impl From<Map<String, Value>> for Record {
    fn from(object: Map<String, Value>) -> Self {
        Self(object.into_iter().collect())
    }
}

impl TryFrom<Value> for Record {
    /// What is no object.
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
                while let Some(name) = object.next_key::<String>()? {
                    let value = object.next_value()?;
                    let few = properties.len() < FEW;
                    match properties.iter_mut().find(|(key, _)| few && *key == name) {
                        Some((_, before)) => *before = value,
                        None => properties.push((name, value)),
                    }
                }
                if properties.len() > FEW {
                    return Ok(properties.into_iter().collect::<Map<String, Value>>().into());
                }
                Ok(Record(properties))
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
        fn a_record_is_what_its_object_is(names in proptest::collection::vec("[a-c]{1,3}", 0..80)) {
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
    fn what_is_no_object_is_no_record() {
        let error = serde_json::from_str::<Record>("[1]").unwrap_err().to_string();
        assert!(error.contains("an object"), "{error}");
        assert!(Record::try_from(Value::from(1)).is_err());
    }
}
