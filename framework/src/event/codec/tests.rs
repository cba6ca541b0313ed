//! Tests the codec against every shape of variant, every kind of malformed text, and random input.
//!
//! Stored events outlive the program, so the names and bodies asserted here are a file format.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CodecError, EventCodec, Upcaster};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Happened {
    Nothing,
    Renamed(String),
    Moved(i64, i64),
    Opened {
        owner: String,
        limit: Option<u64>,
    },
    Empty {},
    #[serde(rename = "account.closed")]
    Closed {
        reason: String,
    },
    Nested(Value),
}

fn codec() -> EventCodec<Happened> {
    EventCodec::new(Vec::new())
}

fn decode(event_type: &str, payload: &str) -> Result<Happened, CodecError> {
    codec().decode_parts(event_type, 1, payload)
}

#[test]
fn every_shape_of_variant_has_its_stored_form_and_comes_back() {
    let opened = |limit| Happened::Opened { owner: "Ada \"ü\"\n".into(), limit };
    let table = [
        (Happened::Nothing, "Nothing", "null"),
        (Happened::Renamed("\0🦀".into()), "Renamed", r#""\u0000🦀""#),
        (
            Happened::Moved(i64::MIN, i64::MAX),
            "Moved",
            "[-9223372036854775808,9223372036854775807]",
        ),
        (opened(Some(7)), "Opened", r#"{"owner":"Ada \"ü\"\n","limit":7}"#),
        (opened(None), "Opened", r#"{"owner":"Ada \"ü\"\n","limit":null}"#),
        (Happened::Empty {}, "Empty", "{}"),
        (Happened::Closed { reason: "".into() }, "account.closed", r#"{"reason":""}"#),
        (Happened::Nested(serde_json::json!({"a": [1, null]})), "Nested", r#"{"a":[1,null]}"#),
    ];
    for (event, event_type, payload) in table {
        let encoded = codec().encode(&event).unwrap();
        assert_eq!((encoded.event_type, &*encoded.payload), (event_type, payload));
        assert_eq!(encoded.schema_version, 1);
        assert_eq!(decode(event_type, payload), Ok(event));
    }
}

#[test]
fn a_name_no_variant_has_is_an_unknown_event_type() {
    for name in ["Closed", "nothing", "", "Opened ", "\0"] {
        assert_eq!(decode(name, "null"), Err(CodecError::UnknownEventType(name.to_owned())));
    }
}

#[test]
fn a_body_that_does_not_fit_is_malformed() {
    let bodies = [
        ("Nothing", "1"),
        ("Nothing", ""),
        ("Nothing", "{}"),
        ("Nothing", "null null"),
        ("Renamed", "5"),
        ("Renamed", "\"unended"),
        ("Renamed", "\"a\" x"),
        ("Renamed", "\"\\ud800\""),
        ("Moved", "[1]"),
        ("Moved", "[1,2,3]"),
        ("Moved", "[1,9223372036854775808]"),
        ("Moved", "[1,2.5]"),
        ("Opened", "{\"owner\":\"a\"}}"),
        ("Opened", "{\"limit\":1}"),
        ("Opened", "{\"owner\":\"a\",\"owner\":\"b\"}"),
        ("Opened", "{\"owner\":\"a\",\"limit\":-1}"),
        ("Opened", "null"),
        ("Opened", "\u{feff}{\"owner\":\"a\"}"),
    ];
    for (event_type, payload) in bodies {
        let decoded = decode(event_type, payload);
        assert!(matches!(decoded, Err(CodecError::Malformed(_))), "{payload:?}: {decoded:?}");
    }
}

#[test]
fn ten_thousand_levels_are_an_error_and_no_crash() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
        assert!(matches!(decode("Nested", &deep), Err(CodecError::Malformed(_))));
        assert!(matches!(decode("Opened", &deep), Err(CodecError::Malformed(_))));
        let upcast = upcasting().decode_parts("Renamed", 1, &deep);
        assert!(matches!(upcast, Err(CodecError::Malformed(_))));
    }
}

fn upcasting() -> EventCodec<Happened> {
    EventCodec::new(vec![
        Upcaster::new("Renamed", |body| {
            Ok(format!("{}+first", body.as_str().unwrap_or("?")).into())
        }),
        Upcaster::new("Nothing", |_| Err("refused".into())),
        Upcaster::new("Renamed", |body| {
            Ok(format!("{}+second", body.as_str().unwrap_or("?")).into())
        }),
    ])
}

#[test]
fn upcasters_run_in_order_from_the_stored_version_on() {
    let codec = upcasting();
    let read = |version| codec.decode_parts("Renamed", version, "\"a\"");
    assert_eq!(read(1), Ok(Happened::Renamed("a+first+second".into())));
    assert_eq!(read(2), Ok(Happened::Renamed("a+second".into())));
    assert_eq!(read(3), Ok(Happened::Renamed("a".into())));
    assert_eq!(codec.encode(&Happened::Renamed("a".into())).unwrap().schema_version, 3);
    assert_eq!(codec.encode(&Happened::Empty {}).unwrap().schema_version, 1);
    let refused = codec.decode_parts("Nothing", 1, "null");
    assert_eq!(refused, Err(CodecError::Malformed("refused".into())));
}

#[test]
fn a_schema_version_this_program_does_not_know_is_newer() {
    for (codec, known) in [(codec(), 1), (upcasting(), 3)] {
        for found in [0, known + 1, u32::MAX] {
            let read = codec.decode_parts("Renamed", found, "\"a\"");
            let event_type = "Renamed".to_owned();
            assert_eq!(read, Err(CodecError::NewerSchema { event_type, found, known }));
        }
    }
}

#[test]
fn what_is_no_externally_tagged_enum_is_named() {
    #[derive(Serialize, Deserialize)]
    struct Plain {
        a: u8,
    }
    #[derive(Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Internal {
        A { a: u8 },
    }
    #[derive(Serialize, Deserialize)]
    #[serde(tag = "type", content = "body")]
    enum Adjacent {
        A { a: u8 },
    }
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        A { a: u8 },
    }
    fn refuses<E: Serialize + serde::de::DeserializeOwned>(event: &E) {
        let codec = EventCodec::<E>::new(Vec::new());
        assert!(matches!(codec.encode(event), Err(CodecError::NotAnEnum(_))));
        let read = codec.decode_parts("A", 1, "{\"a\":1}").map(drop);
        assert!(matches!(read, Err(CodecError::NotAnEnum(_))), "{read:?}");
    }
    refuses(&Plain { a: 1 });
    refuses(&Internal::A { a: 1 });
    refuses(&Adjacent::A { a: 1 });
    refuses(&Untagged::A { a: 1 });
    refuses(&Some(Happened::Nothing));
    refuses(&"text".to_owned());
    refuses(&7u64);
}

#[test]
fn no_text_makes_the_codec_panic() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let words = [
        "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u", "d800", "null", "1", "-", "1e999", "ü",
        "\0", "owner", "🦀",
    ];
    let names = ["Nothing", "Renamed", "Moved", "Opened", "Empty", "account.closed", "Nested", "?"];
    let (mut read, mut refused) = (0, 0);
    for _ in 0..5000 {
        let good = ["null", "\"ü\"", "[1,2]", "{\"owner\":\"a\",\"limit\":1}", "{}"];
        let mut text = good[next(good.len())].to_owned();
        for _ in 0..next(4) {
            let (word, at) = (words[next(words.len())], next(text.len() + 1));
            let at = text.floor_char_boundary(at);
            match next(2) {
                0 => text.insert_str(at, word),
                _ => text.truncate(at),
            }
        }
        for codec in [codec(), upcasting()] {
            let version = 1 + next(3) as u32;
            match codec.decode_parts(names[next(names.len())], version, &text) {
                Ok(_) => read += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(
        read > 100 && refused > 5000,
        "the noise tells nothing: {read} read, {refused} refused"
    );
}

#[test]
fn an_upcaster_that_leads_to_no_variant_is_found() {
    let with = |event_types: &[&'static str]| {
        let steps = event_types.iter().map(|event_type| Upcaster::new(event_type, Ok));
        EventCodec::<Happened>::new(steps.collect()).orphaned_upcaster()
    };
    let all = ["Nothing", "Renamed", "Moved", "Opened", "Empty", "account.closed", "Nested"];
    assert_eq!(with(&all), None);
    assert_eq!(with(&["Renamed", "Renamed"]), None, "a chain of two");
    assert_eq!(with(&["Renamed", "Rennamed"]), Some("Rennamed"));
    // The check uses the stored name, not the name in the code.
    assert_eq!(with(&["Closed"]), Some("Closed"));
}
