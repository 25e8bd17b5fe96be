//! BATCH messages: records in files of their own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use ldap_tests::memory::peak_kib;
use ldap_tests::run::{Output, Run, read_text};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{assert_untouched, done, lines, no_panic, states, target_config, unit, with};

const USERS: &str = "ou=users,dc=example,dc=test";

fn slapd() -> Slapd {
    Slapd::start(SlapdOptions::default().seed(unit(USERS)))
}

fn config(slapd: &Slapd) -> Value {
    with(
        &target_config(slapd),
        &json!({"default_base_dn": USERS, "mapping_rules": {"users": {
            "dn_template": format!("uid={{uid}},{USERS}"), "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": "uid", "name": ["cn", "sn"], "note": "description"}}}}),
    )
}

fn schema() -> Value {
    let text = json!({"type": ["string", "null"]});
    json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"],
        "schema": {"type": "object", "properties": {"id": text, "name": text, "note": text, "pad": text}}})
}

fn person(id: &str, note: &str) -> Value {
    json!({"id": id, "name": id, "note": note})
}

fn record(record: &Value) -> Value {
    json!({"type": "RECORD", "stream": "users", "record": record})
}

fn state(n: u32) -> Value {
    json!({"type": "STATE", "value": {"n": n}})
}

fn batch(compression: &Value, files: &[&Path]) -> Value {
    let manifest: Vec<String> = files.iter().map(|f| format!("file://{}", f.display())).collect();
    json!({"type": "BATCH", "stream": "users", "encoding": {"format": "jsonl", "compression": compression},
        "manifest": manifest})
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn run(config: &Value, messages: &[Value]) -> Output {
    let output = Run::target(config).messages(messages).run();
    no_panic(&output);
    output
}

#[test]
fn records_are_taken_where_their_batch_stands() {
    let (slapd, by_record) = (slapd(), slapd());
    let dir = scratch();
    // The SDK writes the second one's path as it is; that it could be an encoded one is not known.
    let [plain, packed] = ["a%20b c.jsonl", "d%20e.jsonl.gz"].map(|name| dir.path().join(name));
    let first = [person("a", "2"), person("b", "2")];
    let second = [person("a", "3"), person("c", "3")];
    std::fs::write(&plain, lines(&first)).unwrap();
    // Two members one after the other, as `cat` makes them, and no line feed at the end.
    let halves = second.each_ref().map(|r| gzip(&format!("\n{r}"))).concat();
    std::fs::write(&packed, [gzip(&first[1].to_string()), halves].concat()).unwrap();
    let url = format!("file://localhost{}/a%2520b%20c.jsonl", dir.path().display());
    let mut unpacked = batch(&json!("none"), &[]);
    unpacked["manifest"] = json!([url]);
    let (before, after) = (record(&person("a", "1")), record(&person("b", "4")));
    done(run(
        &config(&slapd),
        &[
            schema(),
            before.clone(),
            unpacked,
            // Without any compression named: the Meltano SDK packs all the same.
            batch(&json!(null), &[&packed]),
            after.clone(),
            batch(&json!("gzip"), &[]),
            state(1),
        ],
    ))
    .stream_counts(
        "users",
        &[("added", 3), ("modified", 3), ("renamed", 0), ("deleted", 0), ("unchanged", 1)],
    );
    let all =
        [vec![schema(), before], first.iter().map(record).collect(), second.iter().map(record).collect()];
    done(run(&config(&by_record), &[all.concat(), vec![after, state(1)]].concat()));
    let trees = (slapd.dump(), by_record.dump());
    ldap_tests::ldif::assert_same("by batches", &trees.0, "by records", &trees.1);
    assert!(trees.0[&format!("uid=b,{USERS}")]["description"].contains(b"4".as_slice()));
}

#[test]
fn a_state_waits_for_the_whole_batch_and_a_bad_record_is_named() {
    let slapd = slapd();
    let dir = scratch();
    let file = dir.path().join("people.jsonl.gz");
    std::fs::write(
        &file,
        gzip(&lines(&[person("a", "x"), person("b", "x"), person(" ", "x"), person("c", "x")])),
    )
    .unwrap();
    let messages = [schema(), record(&person("z", "x")), state(1), batch(&json!("gzip"), &[&file]), state(2)];
    let output = run(&config(&slapd), &messages).exits(1);
    assert_eq!(states(&output), [state(1)["value"].clone()]);
    let place = format!("{}, line 3", file.display());
    output.reports(&json!({"line": 4, "stream": "users"})).says(&place);
    let left = slapd.dump();
    assert!(left.contains_key(&format!("uid=b,{USERS}")), "what came before it is written");
    assert!(!left.contains_key(&format!("uid=c,{USERS}")));

    // The directory refuses it.
    std::fs::write(&file, gzip(&lines(&[person("a", "x"), json!({"id": "d", "name": null})]))).unwrap();
    run(&config(&slapd), &messages)
        .exits(1)
        .reports(&json!({"line": 4, "code": 65}))
        .says("jsonl.gz, line 2");
}

#[test]
fn a_bad_record_of_a_batch_can_be_left_out_and_fed_again() {
    let slapd = slapd();
    let dir = scratch();
    let [file, rejects] = ["people.jsonl", "rejects.jsonl"].map(|name| dir.path().join(name));
    let people = [
        person("a", "x"),
        json!({"id": "", "name": "E"}),
        json!({"id": "b", "name": null}),
        person("c", "x"),
    ];
    std::fs::write(&file, lines(&people)).unwrap();
    let skip = with(&config(&slapd), &json!({"on_error": "skip", "reject_file": rejects}));
    let output = run(&skip, &[schema(), batch(&json!(null), &[&file]), state(1)]).exits(4);
    assert_eq!(states(&output), [json!({"n": 1})]);
    let text = read_text(&rejects);
    let kept: Vec<Value> = text.lines().skip(1).map(|l| serde_json::from_str(l).unwrap()).collect();
    let places: Vec<[&Value; 4]> =
        kept.iter().map(|k| [&k["line"], &k["file"], &k["file_line"], &k["record"]["id"]]).collect();
    let file = json!(file);
    assert_eq!(
        places,
        [[&json!(2), &file, &json!(2), &json!("")], [&json!(2), &file, &json!(3), &json!("b")]]
    );
    let corrected = text.replace("\"name\":null", "\"name\":\"B\"").replace("\"id\":\"\"", "\"id\":\"e\"");
    let again = with(&skip, &json!({"reject_file": dir.path().join("again.jsonl")}));
    Run::target(&again).raw_file("--input", corrected.as_bytes()).arg("--retry-rejects").run().succeeds();
    let left = slapd.dump();
    for id in ["a", "b", "c", "e"] {
        assert!(left.contains_key(&format!("uid={id},{USERS}")), "{id}");
    }
}

#[test]
fn a_batch_is_rehearsed_limited_and_counted_for_its_version_too() {
    let slapd = slapd();
    let dir = scratch();
    let file = dir.path().join("people.jsonl");
    std::fs::write(&file, lines(&[person("a", "x"), person("b", "x")])).unwrap();
    let activate = json!({"type": "ACTIVATE_VERSION", "stream": "users", "version": 7});
    let messages = [schema(), batch(&json!(null), &[&file]), activate, state(1)];
    let mut config = with(&config(&slapd), &json!({"process_activate_version": true}));
    config["mapping_rules"]["users"]["scope_base"] = json!(USERS);
    slapd.ldapadd(format!("dn: uid=old,{USERS}\nobjectClass: inetOrgPerson\nuid: old\ncn: x\nsn: x\n"));
    let before = slapd.change_marks();
    let plan = Run::target(&config).messages(&messages).arg("--dry-run").run().succeeds().stdout_text();
    assert!(plan.contains(&format!("# users, line 2: id=b ({}, line 2)", file.display())), "{plan}");
    let over = with(&config, &json!({"max_changes": 2}));
    run(&over, &messages).exits(1).reports_setting("max_changes");
    assert_untouched(&slapd, &before);
    done(run(&with(&config, &json!({"max_changes": 3})), &messages)).counts(&[
        ("added", 2),
        ("modified", 0),
        ("renamed", 0),
        ("deleted", 1),
    ]);
    let before = slapd.change_marks();
    done(run(&config, &messages));
    assert_untouched(&slapd, &before);
}

#[test]
fn what_cannot_be_read_is_named_and_nothing_of_it_is_written() {
    let slapd = slapd();
    let dir = scratch();
    let path = |name: &str| dir.path().join(name);
    let good = path("good.jsonl");
    std::fs::write(&good, lines(&[person("a", "x")])).unwrap();
    let none = json!(null);
    let of = |mut batch: Value, pointer: &str, value: Value| {
        *batch.pointer_mut(pointer).unwrap() = value;
        batch
    };
    let before = slapd.change_marks();
    for (batch, says) in [
        (of(batch(&none, &[&good]), "/encoding/format", json!("parquet")), "`parquet`, and only `jsonl`"),
        (batch(&json!("zstd"), &[&good]), "`zstd`, and only `gzip` and `none`"),
        (of(batch(&none, &[&good]), "/manifest", json!(["s3://bucket/a.jsonl"])), "`s3://bucket/a.jsonl`"),
        (of(batch(&none, &[&good]), "/manifest", json!([good])), "file:///"),
        (of(batch(&none, &[&good]), "/manifest", json!("x")), "not a BATCH message"),
        // The first one is there, and is not begun.
        (batch(&none, &[&good, &path("none.jsonl")]), "none.jsonl: No such file"),
        (batch(&none, &[&good, dir.path()]), "directory"),
    ] {
        let output = run(&config(&slapd), &[schema(), batch, state(1)]).exits(1).reports_line(2).says(says);
        assert!(output.stdout.is_empty(), "no STATE");
        assert_untouched(&slapd, &before);
    }
    run(&config(&slapd), &[batch(&none, &[&good])]).exits(1).reports(&json!({"line": 1, "stream": "users"}));
    assert_untouched(&slapd, &before);
}

#[test]
fn a_file_that_breaks_off_is_named_with_the_line() {
    let slapd = slapd();
    let dir = scratch();
    let file = dir.path().join("broken");
    let whole = gzip(&lines(&[person("a", "x"), person("b", "x")]));
    for (content, compression, says) in [
        (whole[..whole.len() - 9].to_vec(), json!("gzip"), "broken, line "),
        (b"{}".to_vec(), json!("gzip"), "broken, line 1: the batch file cannot be read on"),
        (
            lines(&[person("a", "x"), json!([])]).into_bytes(),
            json!("none"),
            "broken, line 2: not a JSON object",
        ),
        (b"{\"id\":\"a\",\"name\":\"a\"}\n\n".to_vec(), json!("none"), "broken, line 2: the line is empty"),
        (b"{\"id\":\"a\",\"na".to_vec(), json!("none"), "broken, line 1: not a JSON object: EOF"),
    ] {
        std::fs::write(&file, content).unwrap();
        let skip = json!({"on_error": "skip", "reject_file": dir.path().join("rejects.jsonl")});
        // The file is at fault, not a record: it is not left out.
        for config in [config(&slapd), with(&config(&slapd), &skip)] {
            let output =
                run(&config, &[schema(), batch(&compression, &[&file]), state(1)]).exits(1).says(says);
            assert!(output.stdout.is_empty(), "no STATE: {says}");
        }
    }
}

#[test]
fn an_empty_batch_is_no_record() {
    let slapd = slapd();
    slapd.ldapadd(format!("dn: uid=old,{USERS}\nobjectClass: inetOrgPerson\nuid: old\ncn: x\nsn: x\n"));
    let dir = scratch();
    let [plain, packed] = ["empty.jsonl", "empty.jsonl.gz"].map(|name| dir.path().join(name));
    std::fs::write(&plain, "").unwrap();
    std::fs::write(&packed, gzip("")).unwrap();
    let mut config = with(&config(&slapd), &json!({"process_activate_version": true}));
    config["mapping_rules"]["users"]["scope_base"] = json!(USERS);
    let activate = json!({"type": "ACTIVATE_VERSION", "stream": "users", "version": 7});
    let before = slapd.change_marks();
    let batch = batch(&json!(null), &[&plain, &packed]);
    done(run(&config, &[schema(), batch, activate, state(1)])).reports(&json!({"stream": "users"}));
    assert_untouched(&slapd, &before);
}

#[test]
fn a_file_that_stalls_stops_neither_writes_nor_signals() {
    let slapd = slapd();
    let dir = scratch();
    let pipe = dir.path().join("pipe.jsonl");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let messages = [schema(), record(&person("a", "x")), state(1), batch(&json!("none"), &[&pipe]), state(2)];
    let mut running = Run::target(&config(&slapd)).spawn();
    running.write_stdin(lines(&messages).as_bytes());
    let mut stdout = BufReader::new(running.take_stdout());
    let mut next = || {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        line
    };
    assert_eq!(next(), "{\"n\":1}\n", "what came before is written, and said");
    let mut end = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    end.write_all(lines(&[person("b", "x")]).as_bytes()).unwrap();
    let started = Instant::now();
    while !slapd.dump().contains_key(&format!("uid=b,{USERS}")) {
        assert!(started.elapsed() < Duration::from_secs(30), "a line that is there is taken");
        sleep(Duration::from_millis(5));
    }
    running.signal(rustix::process::Signal::TERM);
    let (code, stderr, _) = running.wait(Duration::from_secs(10));
    assert_eq!(code, 143, "{stderr}");
    assert_eq!(next(), "", "the batch is not at its end");
    drop(end);
}

#[test]
fn a_batch_is_never_in_memory() {
    let dir = scratch();
    let peak = |records: usize| {
        let file = dir.path().join("many.jsonl.gz");
        let pad = "x".repeat(3000);
        let line = |n: usize| format!("{{\"id\":\"p{}\",\"name\":\"n\",\"pad\":\"{pad}\"}}\n", n % 50);
        std::fs::write(&file, gzip(&(0..records).map(line).collect::<String>())).unwrap();
        let ldif = dir.path().join(format!("d{records}.ldif"));
        let url = format!("ldif:{}", ldif.display());
        std::fs::write(
            &ldif,
            format!("dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n{}", unit(USERS)),
        )
        .unwrap();
        let rule = json!({"users": {"dn_template": format!("uid={{uid}},{USERS}"), "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": "uid", "name": ["cn", "sn"]}}});
        let config = json!({"server_url": url, "mapping_rules": rule, "validate_records": false});
        let input = lines(&[schema(), batch(&json!("gzip"), &[&file]), state(1)]);
        let mut running = Run::target(&config).raw_file("--input", input.as_bytes()).spawn();
        let mut peak = 0;
        // It only grows, and is gone when the process is.
        while let Some(now) = peak_kib(running.child().id()) {
            peak = now;
            sleep(Duration::from_millis(1));
        }
        let (code, stderr, _) = running.wait(Duration::from_secs(10));
        assert_eq!(code, 0, "{stderr}");
        stderr.counts(&[("added", 50), ("modified", 0), ("deleted", 0), ("unchanged", records as u64 - 50)]);
        peak
    };
    let (small, large) = (peak(1_000), peak(10_000));
    assert!(large <= small + 8 * 1024, "{small} KiB for 1,000 records, {large} KiB for 10,000 of 30 MiB");
}
