use super::*;

fn to_json(kind: ValueKind, value: &[u8]) -> Result<String, InvalidValue> {
    let mut out = Vec::new();
    kind.write_json(value, &mut out).map(|()| String::from_utf8(out).unwrap())
}

#[test]
fn what_is_written_is_read_back_to_the_same_octets() {
    let guid: Vec<u8> = (0..16).collect();
    let sid = b"\x01\x05\0\0\0\0\0\x05\x15\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\xf4\x01\0\0";
    let cases: &[(ValueKind, &[u8], &str)] = &[
        (ValueKind::Boolean, b"TRUE", "true"),
        (ValueKind::Integer, b"-12", "-12"),
        (ValueKind::Integer, b"123456789012345678901234567890", "123456789012345678901234567890"),
        (ValueKind::GeneralizedTime, b"20200229235959Z", "\"2020-02-29T23:59:59Z\""),
        (ValueKind::GeneralizedTime, b"20200229235959.0Z", "\"2020-02-29T23:59:59.0Z\""),
        (ValueKind::GeneralizedTime, b"20200229235959.123456Z", "\"2020-02-29T23:59:59.123456Z\""),
        (ValueKind::UtcTime, b"490102030405Z", "\"2049-01-02T03:04:05Z\""),
        (ValueKind::FileTime, b"132514560000000000", "\"2020-12-03T08:00:00Z\""),
        (ValueKind::FileTime, b"132514560000000001", "\"2020-12-03T08:00:00.0000001Z\""),
        (
            ValueKind::Uuid,
            b"A0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "\"A0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"",
        ),
        (ValueKind::Guid, &guid, "\"03020100-0504-0706-0809-0a0b0c0d0e0f\""),
        (ValueKind::Sid, sid, "\"S-1-5-21-1-2-3-500\""),
        (ValueKind::Binary, b"plain text", "\"cGxhaW4gdGV4dA==\""),
        (ValueKind::Binary, b"\xff\0", "\"/wA=\""),
        (ValueKind::Text, "a \"quoted\"\nline \u{1F600}".as_bytes(), "\"a \\\"quoted\\\"\\nline \u{1F600}\""),
        (ValueKind::PossiblyEmptyText, b"", "\"\""),
    ];
    for (kind, octets, json) in cases {
        assert_eq!(to_json(*kind, octets).as_deref(), Ok(*json), "{kind:?}");
        let value: Value = serde_json::from_str(json).unwrap();
        assert_eq!(kind.parse_json(&value), Ok(Some(octets.to_vec())), "{kind:?} {json}");
    }
}

#[test]
fn what_a_syntax_forbids_is_invalid() {
    let cases: &[(ValueKind, &[u8])] = &[
        (ValueKind::Boolean, b"yes"),
        (ValueKind::GeneralizedTime, b"000001010000Z"),
        (ValueKind::GeneralizedTime, b"99991231235959-0500"),
        (ValueKind::FileTime, b"2650467744000000000"),
        (ValueKind::Integer, b"007"),
        (ValueKind::Integer, b"-0"),
        (ValueKind::Integer, b""),
        (ValueKind::Integer, b"1e3"),
        (ValueKind::GeneralizedTime, b"2020"),
        (ValueKind::GeneralizedTime, b"20201301000000Z"),
        (ValueKind::GeneralizedTime, b"20200101000000"),
        (ValueKind::GeneralizedTime, b"20200101000000.Z"),
        (ValueKind::UtcTime, b"20200101000000Z"),
        (ValueKind::FileTime, b"soon"),
        (ValueKind::Uuid, b"not-a-uuid"),
        (ValueKind::Uuid, b"a0eebc999c0b4ef8bb6d6bb9bd380a11"),
        (ValueKind::Uuid, b"{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"),
        (ValueKind::Guid, b"short"),
        (ValueKind::Sid, b"\x01\x05\0\0\0\0\0\x05\x15\0\0\0"),
        (ValueKind::Text, b"\xff"),
    ];
    for (kind, octets) in cases {
        assert_eq!(to_json(*kind, octets), Err(InvalidValue), "{kind:?} {octets:?}");
    }
}

#[test]
fn a_boolean_ignores_case() {
    assert_eq!(to_json(ValueKind::Boolean, b"true").as_deref(), Ok("true"));
    assert_eq!(to_json(ValueKind::Boolean, b"False").as_deref(), Ok("false"));
}

#[test]
fn never_is_null() {
    assert_eq!(to_json(ValueKind::FileTime, b"0").as_deref(), Ok("null"));
    assert_eq!(to_json(ValueKind::FileTime, b"9223372036854775807").as_deref(), Ok("null"));
}

#[test]
fn no_value_is_told_from_an_empty_one() {
    assert_eq!(ValueKind::Text.parse_json(&json!("")), Ok(None));
    assert_eq!(ValueKind::Text.parse_json(&json!(null)), Ok(None));
    assert_eq!(ValueKind::PossiblyEmptyText.parse_json(&json!("")), Ok(Some(vec![])));
    assert_eq!(ValueKind::Binary.parse_json(&json!("")), Ok(Some(vec![])));
    assert_eq!(ValueKind::Integer.parse_json(&json!(3.0)), Ok(Some(b"3".to_vec())));
    assert_eq!(ValueKind::Binary.parse_json(&json!("not base64!")), Err(InvalidValue));
}
