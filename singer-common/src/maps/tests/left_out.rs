//! Records without a property that a filter names.

use super::*;

/// The tap leaves a value out that it cannot read: its record is answered with null, not dropped without a word.
#[test]
fn a_filter_on_a_property_that_is_left_out() {
    let passes = |filter: &str, record: &Value| {
        let mut maps = maps(&json!({"stream_maps": {"users": {"__filter__": filter}}}));
        maps.schema("users", &schema(), &["id".into()]).unwrap();
        !maps.record("users", record).unwrap().is_empty()
    };
    let record = json!({"id": "1"});
    assert!(passes("n != 5", &record) && passes("n is None", &record));
    assert!(!passes("n > 5", &record) && !passes("n == 5", &record));
}
