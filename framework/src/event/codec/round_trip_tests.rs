//! Tests that each event comes back equal or is refused: floats, integers, strings, and every serde
//! attribute that loses data.
//!
//! The values come from a generator with a fixed seed, so a failure can be reproduced.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::same::is_same_json;
use super::{CodecError, EventCodec, Upcaster};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Measured {
    Float(f64),
    Single(f32),
    Wide { unsigned: u128, signed: i128 },
    Long { unsigned: u64, signed: i64 },
    Text(String),
    Nested { list: Vec<Option<f64>>, by_name: BTreeMap<String, u128> },
}

/// xorshift64*: enough for tests, and the same everywhere.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn wide(&mut self) -> u128 {
        let wide = u128::from(self.next()) << 64 | u128::from(self.next());
        wide >> (self.next() % 128)
    }

    /// Returns any finite float, or in half of the cases an amount such as a price.
    fn float(&mut self) -> f64 {
        let any = f64::from_bits(self.next());
        match self.next() % 2 {
            0 if any.is_finite() => any,
            _ => (self.next() % 100_000_000) as f64 * 1.1 / 100.0,
        }
    }

    fn text(&mut self) -> String {
        let marks = ["\u{e000}number:1", "\"", "\\", "\\ue000", "1e5", "\u{0}", "🦀", "\u{2028}"];
        let mut text = String::new();
        for _ in 0..self.next() % 6 {
            match self.next() % 2 {
                0 => text.push_str(marks[self.next() as usize % marks.len()]),
                _ => text.extend(char::from_u32(self.next() as u32 % 0x11_0000)),
            }
        }
        text
    }

    fn event(&mut self) -> Measured {
        match self.next() % 6 {
            0 => Measured::Float(self.float()),
            1 => {
                let single = f32::from_bits(self.next() as u32);
                Measured::Single(if single.is_finite() { single } else { 0.1 })
            }
            2 => Measured::Wide {
                unsigned: self.wide(),
                signed: (self.wide() as i128).wrapping_sub(self.wide() as i128),
            },
            3 => Measured::Long { unsigned: self.next(), signed: self.next() as i64 },
            4 => Measured::Text(self.text()),
            _ => Measured::Nested {
                list: (0..self.next() % 4).map(|n| (n > 0).then(|| self.float())).collect(),
                by_name: (0..self.next() % 4).map(|_| (self.text(), self.wide())).collect(),
            },
        }
    }
}

fn codec<E: Serialize + DeserializeOwned>() -> EventCodec<E> {
    EventCodec::new(Vec::new())
}

/// Two upcasters for each variant that change nothing: everything a `Value` cannot hold has to
/// survive.
fn upcasting() -> EventCodec<Measured> {
    let types = ["Float", "Single", "Wide", "Long", "Text", "Nested"];
    let steps = types.iter().chain(&types).map(|of| Upcaster::new(of, Ok));
    EventCodec::new(steps.collect())
}

#[test]
fn every_number_and_text_comes_back_equal_also_through_upcasters() {
    let mut seeded = Seeded(0x0123_4567_89ab_cdef);
    for _ in 0..20_000 {
        let event = seeded.event();
        let (encoded, decoded) = codec().round_trip(&event).unwrap();
        assert_eq!(decoded, event);
        let upcast = upcasting().decode_parts(encoded.event_type, 1, &encoded.payload).unwrap();
        assert_eq!(upcast, event, "{}", encoded.payload);
    }
}

#[test]
fn the_ends_of_every_number_come_back_equal() {
    let floats = [512_737.448_300_000_05, f64::MIN, f64::MAX, f64::MIN_POSITIVE, 5e-324, -0.0, 0.1];
    let floats = floats.map(Measured::Float);
    let singles = [f32::MIN, f32::MAX, f32::MIN_POSITIVE, 1e-45, -0.0, 0.1, 16_777_217.0];
    let wide = [0, 1, u128::from(u64::MAX), u128::from(u64::MAX) + 1, u128::MAX];
    let wide = wide.map(|unsigned| [i128::MIN, -1, i128::MAX].map(|signed| (unsigned, signed)));
    let wide = wide.iter().flatten().map(|&(unsigned, signed)| Measured::Wide { unsigned, signed });
    for event in floats.into_iter().chain(singles.map(Measured::Single)).chain(wide) {
        let (encoded, decoded) = codec().round_trip(&event).unwrap();
        let upcast = upcasting().decode_parts(encoded.event_type, 1, &encoded.payload);
        assert_eq!((&decoded, upcast.as_ref()), (&event, Ok(&event)));
        let sign = |event: &Measured| match event {
            Measured::Float(float) => float.is_sign_negative(),
            Measured::Single(float) => float.is_sign_negative(),
            _ => false,
        };
        assert_eq!(sign(&decoded), sign(&event));
    }
}

#[test]
fn an_upcaster_moves_a_number_that_it_cannot_hold() {
    let codec = EventCodec::<Measured>::new(vec![Upcaster::new("Wide", |body| {
        Ok(serde_json::json!({ "unsigned": body["amount"], "signed": body["list"][1] }))
    })]);
    let max = u128::MAX;
    let payload = format!("{{\"amount\":{max},\"list\":[\"\u{e000}number:7\",-{max}0]}}");
    // The second number is too large for any field, so it must not arrive as a rounded one.
    assert!(codec.decode_parts("Wide", 1, &payload).is_err());
    let payload = format!("{{\"amount\":{max},\"list\":[\"\u{e000}number:7\",-5]}}");
    let read = codec.decode_parts("Wide", 1, &payload);
    assert_eq!(read, Ok(Measured::Wide { unsigned: max, signed: -5 }));
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Lossy {
    Float(f64),
    MaybeFloat(Option<f64>),
    Single(Vec<f32>),
    Nested(Option<Option<u8>>),
    MaybeUnit(Option<()>),
    Skipped {
        #[serde(skip)]
        cache: u8,
    },
    NotRead {
        #[serde(skip_deserializing)]
        field: u8,
    },
    NotWritten {
        #[serde(skip_serializing, default)]
        field: u8,
    },
    OtherDefault {
        #[serde(skip_serializing_if = "is_zero", default = "five")]
        field: u8,
    },
    Keys(HashMap<(u8, u8), u8>),
    MaybeKeys(BTreeMap<Option<u8>, u8>),
    Whole(#[serde(with = "whole")] f64),
    #[serde(rename(serialize = "Written", deserialize = "Read"))]
    Renamed,
    Deep(serde_json::Value),
    Two {
        id: u8,
        #[serde(flatten)]
        rest: BTreeMap<String, u8>,
    },
}

fn is_zero(number: &u8) -> bool {
    *number == 0
}

fn five() -> u8 {
    5
}

/// Rounds, like a timestamp stored in seconds.
mod whole {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(*number as i64)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        i64::deserialize(from).map(|number| number as f64)
    }
}

#[test]
fn an_event_that_would_not_come_back_equal_is_refused() {
    let deep = (0..200).fold(serde_json::Value::Null, |deep, _| serde_json::json!([deep]));
    let refused = [
        Lossy::Float(f64::NAN),
        Lossy::Float(f64::INFINITY),
        Lossy::MaybeFloat(Some(f64::NAN)),
        Lossy::MaybeFloat(Some(f64::NEG_INFINITY)),
        Lossy::Single(vec![1.0, f32::NAN]),
        Lossy::Nested(Some(None)),
        Lossy::MaybeUnit(Some(())),
        Lossy::Skipped { cache: 1 },
        Lossy::NotRead { field: 1 },
        Lossy::NotWritten { field: 1 },
        Lossy::OtherDefault { field: 0 },
        Lossy::Keys([((1, 2), 3)].into()),
        Lossy::MaybeKeys([(None, 3)].into()),
        Lossy::Whole(1.5),
        Lossy::Renamed,
        Lossy::Deep(deep),
        Lossy::Two { id: 1, rest: [("id".to_owned(), 2)].into() },
    ];
    for event in refused {
        let trip = codec().round_trip(&event);
        assert!(trip.is_err(), "{event:?} is stored as {trip:?}");
    }
    let stored = [
        Lossy::MaybeFloat(None),
        Lossy::Nested(Some(Some(1))),
        Lossy::Nested(None),
        Lossy::Skipped { cache: 0 },
        Lossy::NotRead { field: 0 },
        Lossy::OtherDefault { field: 5 },
        Lossy::Whole(2.0),
        Lossy::Two { id: 1, rest: [("other".to_owned(), 2)].into() },
    ];
    for event in stored {
        assert_eq!(codec().round_trip(&event).unwrap().1, event);
    }
}

#[test]
fn the_order_of_a_hash_set_refuses_nothing() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Tagged {
        With(HashSet<u32>, HashMap<String, u32>),
    }
    for n in 0..100 {
        let names = (0..n).map(|n| (n.to_string(), n)).collect();
        let event = Tagged::With((0..n).collect(), names);
        assert_eq!(codec().round_trip(&event).unwrap().1, event);
    }
}

#[test]
fn a_type_that_cannot_be_stored_is_found_without_an_event() {
    #[derive(PartialEq, Serialize, Deserialize)]
    enum Quoted {
        #[serde(rename = "said \"no\"")]
        Said,
    }
    #[derive(Serialize, Deserialize)]
    enum Unnamed {
        #[serde(rename = "")]
        Empty,
    }
    #[derive(Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Tagged {
        A { a: u8 },
    }
    #[derive(Serialize, Deserialize)]
    struct Plain {
        a: u8,
    }
    for checked in [codec::<Quoted>().check(), codec::<Unnamed>().check()] {
        assert!(matches!(checked, Err(CodecError::InvalidEventType(_))), "{checked:?}");
    }
    for checked in [codec::<Tagged>().check(), codec::<Plain>().check()] {
        assert!(matches!(checked, Err(CodecError::NotAnEnum(_))), "{checked:?}");
    }
    assert_eq!(codec::<Measured>().check(), Ok(()));
    assert!(codec().round_trip(&Quoted::Said).is_err_and(|e| e.to_string().contains("quote")));
}

impl PartialEq for QuotedAlways {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Event with a raw text that serde must keep unchanged, including its number.
#[derive(Debug, Serialize, Deserialize)]
enum QuotedAlways {
    Raw(Box<RawValue>),
}

#[test]
fn a_decimal_with_many_digits_survives_an_upcaster() {
    let codec = EventCodec::<QuotedAlways>::new(vec![Upcaster::new("Raw", Ok)]);
    for number in ["0.1234567890123456789012345", "1.50", "123456789012345678901234567890"] {
        let QuotedAlways::Raw(read) = codec.decode_parts("Raw", 1, number).unwrap();
        let same = [read.get(), number].map(|text| text.trim_end_matches('0').to_owned());
        assert_eq!(same[0], same[1]);
    }
}

#[test]
fn json_is_compared_by_what_it_holds() {
    for (one, other) in [
        ("{\"a\":1,\"b\":[1,2]}", "{\"b\":[2,1],\"a\":1}"),
        ("[]", "[]"),
        ("[{\"a\":1},2]", "[2,{\"a\":1}]"),
    ] {
        assert!(is_same_json(one, other), "{one} {other}");
    }
    for (one, other) in [
        ("340282366920938463463374607431768211455", "340282366920938463463374607431768211454"),
        ("{\"a\":1}", "{\"a\":1,\"b\":null}"),
        ("[1,1,2]", "[1,2,2]"),
        ("\"1\"", "1"),
        ("null", "0"),
    ] {
        assert!(!is_same_json(one, other), "{one} {other}");
    }
}
