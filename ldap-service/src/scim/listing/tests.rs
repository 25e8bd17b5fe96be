use proptest::prelude::*;
use serde_json::json;

use super::*;

fn row(id: u8, key: Option<&str>) -> Row {
    Row {
        position: Position { key: key.map(|k| k.as_bytes().to_vec()), id: vec![id] },
        dn: format!("cn={id}"),
    }
}

fn page(query: &ListQuery, rows: &[Row]) -> Page {
    let mut collector = Collector::new(query, "Users", 1000).unwrap();
    rows.iter().cloned().for_each(|row| collector.push(row));
    collector.finish()
}

fn ids(page: &Page) -> Vec<u8> {
    page.rows.iter().map(|r| r.position.id[0]).collect()
}

#[test]
fn parameters() {
    let query = ListQuery::from_url(
        "filter=a%20pr&startIndex=0&COUNT=-5&sortOrder=Descending&sortBy=userName&aadOptscim062020",
    )
    .unwrap();
    assert_eq!(query.filter.as_deref(), Some("a pr"));
    assert_eq!((query.start_index, query.count, query.descending), (Some(1), Some(0), true));
    let search = |more: Value| {
        let mut body = json!({"schemas": [SEARCH_REQUEST]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ListQuery::from_body(&body)
    };
    assert_eq!(search(json!({"startIndex": 3, "attributes": ["userName"]})).unwrap().start_index, Some(3));
    for (query, expected) in [
        ("count=ten", ScimType::InvalidValue),
        ("cursor=&count=ten", ScimType::InvalidCount),
        ("startIndex=1.5", ScimType::InvalidValue),
        ("sortOrder=up", ScimType::InvalidValue),
        ("count=1&count=2", ScimType::InvalidValue),
        ("attributes=a&excludedAttributes=b", ScimType::InvalidValue),
        ("attributes=a%20b", ScimType::InvalidValue),
        ("cursor=&startIndex=1", ScimType::InvalidCursor),
        ("fliter=a%20pr", ScimType::InvalidValue),
        ("filter=", ScimType::InvalidFilter),
        ("filter=%20", ScimType::InvalidFilter),
    ] {
        assert_eq!(ListQuery::from_url(query).map_err(|e| e.scim_type), Err(expected), "{query}");
    }
    for body in [
        json!({"count": []}),
        json!({"filter": 5}),
        json!({"attributes": [5]}),
        json!({"attributes": {}}),
        json!({"fliter": "a pr"}),
    ] {
        assert_eq!(search(body.clone()).map_err(|e| e.scim_type), Err(ScimType::InvalidValue), "{body}");
    }
    assert!(ListQuery::from_body(&json!({"filter": "a pr"})).is_err(), "no schemas");
    for (query, expected) in [
        ("cursor=nonsense", ScimType::InvalidCursor),
        ("cursor=AAAA", ScimType::InvalidCursor),
        ("cursor=&count=0", ScimType::InvalidCount),
        ("startIndex=200000", ScimType::TooMany),
    ] {
        let collector = Collector::new(&ListQuery::from_url(query).unwrap(), "Users", 1000);
        assert_eq!(collector.map(|_| ()).map_err(|e| e.scim_type), Err(expected), "{query}");
    }
}

#[test]
fn trap_24_a_cursor_belongs_to_its_query() {
    let rows: Vec<Row> = (0..9).map(|id| row(id, None)).collect();
    let first = page(&ListQuery::from_url("cursor=&count=4").unwrap(), &rows);
    let cursor = first.next_cursor.unwrap();
    let with = |more: &str| ListQuery::from_url(&format!("cursor={cursor}&{more}")).unwrap();
    assert_eq!(ids(&page(&with("count=3"), &rows)), [4, 5, 6]);
    for more in ["filter=a%20pr", "sortBy=title", "sortOrder=descending"] {
        assert!(Collector::new(&with(more), "Users", 1000).is_err(), "{more}");
    }
    assert!(Collector::new(&with(""), "Groups", 1000).is_err());
}

#[test]
fn missing_values_sort_last_and_first_in_descending_order() {
    let rows = [row(1, None), row(2, Some("b")), row(3, Some("a")), row(4, Some("a"))];
    assert_eq!(ids(&page(&ListQuery::default(), &rows)), [3, 4, 2, 1]);
    assert_eq!(ids(&page(&ListQuery { descending: true, ..ListQuery::default() }, &rows)), [1, 2, 4, 3]);
}

#[test]
fn sort_keys() {
    use ldap_directory::Vendor;

    use crate::scim::mapping::ResourceType;
    let users = crate::scim::translate::tests::mapping(
        ResourceType::User,
        Vendor::OpenLdap,
        &[("urn:x:B:n", "uidNumber"), ("photos", "jpegPhoto")],
    );
    let schema = Schema::standard();
    let of = |name: &str| SortKey::of(&users, schema, name);
    let attribute = |name: &str| of(name).unwrap().map(|k| k.attribute);
    assert_eq!(attribute("id"), None);
    assert_eq!(attribute("USERNAME").as_deref(), Some("uid"));
    assert_eq!(attribute("name.familyName").as_deref(), Some("sn"));
    assert_eq!(attribute("emails").as_deref(), Some("mail"));
    assert_eq!(attribute("meta.lastModified").as_deref(), Some("modifyTimestamp"));
    for name in ["nickName", "name", "active", "password", "groups", "no such", "emails.display"] {
        assert!(of(name).is_err(), "{name}");
    }
    let number = of("urn:x:B:n").unwrap().unwrap();
    let key = |text: &str| number.key(&[text.as_bytes().to_vec()], schema).unwrap();
    let order = ["-100", "-99", "-1", "0", "7", "10", "123456789012345678901234567890"];
    assert!(order.windows(2).all(|pair| key(pair[0]) < key(pair[1])));
    let name = of("userName").unwrap().unwrap();
    assert_eq!(name.key(&[b"Zoe".to_vec(), b"ADA".to_vec()], schema), Some(b"ada".to_vec()));
}

proptest! {
    /// Pages by cursor have each entry that is there all the time exactly once, whatever comes and goes in between.
    #[test]
    fn trap_24_pages_by_cursor_have_each_entry_once(
        stable in proptest::collection::btree_map(0u8..200, proptest::option::of("[a-c]"), 0..40),
        comings in proptest::collection::vec(proptest::collection::vec((200u8.., "[a-c]"), 0..5), 1..8),
        count in 1usize..7,
        descending: bool,
    ) {
        let mut query = ListQuery { count: Some(count), cursor: Some(String::new()), descending, ..ListQuery::default() };
        let mut seen = Vec::new();
        for turn in 0.. {
            prop_assert!(turn < 300);
            let mut now: Vec<Row> = stable.iter().map(|(id, key)| row(*id, key.as_deref())).collect();
            now.extend(comings[turn % comings.len()].iter().map(|(id, key)| row(*id, Some(key))));
            let total = now.len();
            let found = page(&query, &now);
            prop_assert_eq!(found.total, total);
            prop_assert!(found.rows.len() <= count);
            seen.extend(ids(&found).into_iter().filter(|id| *id < 200));
            match found.next_cursor {
                Some(cursor) => query.cursor = Some(cursor),
                None => break,
            }
        }
        seen.sort_unstable();
        prop_assert_eq!(seen, stable.keys().copied().collect::<Vec<_>>());
    }

    #[test]
    fn pages_by_index_are_the_slices_of_the_order(
        keys in proptest::collection::vec(proptest::option::of("[a-c]"), 0..120),
        start in 1usize..100,
        count in 0usize..50,
    ) {
        let rows: Vec<Row> = (0u8..).zip(&keys).map(|(id, key)| row(id, key.as_deref())).collect();
        let all = page(&ListQuery { count: Some(1000), ..ListQuery::default() }, &rows);
        let one = page(&ListQuery { start_index: Some(start), count: Some(count), ..ListQuery::default() }, &rows);
        let expected: Vec<u8> = ids(&all).into_iter().skip(start - 1).take(count).collect();
        prop_assert_eq!(ids(&one), expected);
        prop_assert_eq!((one.total, one.start_index, one.next_cursor), (rows.len(), Some(start), None));
    }
}
