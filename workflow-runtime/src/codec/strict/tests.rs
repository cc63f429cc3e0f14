use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Deserialize, Serialize};

use super::{DEPTH_MAX, to_json};

/// Asserts that the text is that of `serde_json`, and that it decodes to the same value.
fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
    let json = to_json(&value).unwrap_or_else(|refused| panic!("{value:?}: {refused}"));
    assert_eq!(*json, serde_json::to_string(&value).unwrap());
    assert_eq!(serde_json::from_str::<T>(&json).unwrap_or_else(|error| panic!("{json}: {error}")), value);
}

fn refused<T: Serialize>(value: T) -> String {
    to_json(&value).expect_err("this is not to be stored").to_string()
}

#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Clone, Copy, Serialize, Deserialize)]
enum Currency {
    Eur,
    #[serde(rename = "\"us\\d\"")]
    Usd,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Nothing,
    Circle(f64),
    Pair(i8, String),
    Box { width: f32, inner: Option<Box<Shape>> },
}

#[derive(Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Id(u128);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Maybe(Option<u8>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Empty {}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Point(i64, i64);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Item {
    #[serde(rename = "the \"price\"")]
    price: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Tagged {
    One { n: u64 },
    Two,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    items: Vec<Item>,
    #[serde(flatten)]
    rest: BTreeMap<String, Tagged>,
}

#[test]
fn scalars_survive() {
    for number in [0, 1, -1, i64::MIN, i64::MAX] {
        survives(number);
    }
    survives((u8::MAX, i8::MIN, u16::MAX, i16::MIN, u32::MAX, i32::MIN));
    survives((u64::MAX, i128::MIN, i128::MAX, u128::MAX));
    survives((true, false, ()));
    for letter in ['a', '"', '\\', '\0', '\u{7f}', 'é', '\u{10ffff}'] {
        survives(letter);
    }
}

#[test]
fn floats_survive_to_the_last_bit() {
    let table =
        [0.0, 0.1, 1.0, 1e21, 1e-7, 123456789.0e300, f64::MIN, f64::MAX, f64::EPSILON, f64::MIN_POSITIVE, 5e-324];
    for value in table.into_iter().flat_map(|value| [value, -value]) {
        survives(value);
        let back: f64 = serde_json::from_str(&to_json(&value).unwrap()).unwrap();
        assert_eq!(back.to_bits(), value.to_bits());
    }
    for value in [0.1_f32, f32::MAX, f32::MIN_POSITIVE, 1e-45, 16_777_216.0, -0.0] {
        let back: f32 = serde_json::from_str(&to_json(&value).unwrap()).unwrap();
        assert_eq!(back.to_bits(), value.to_bits());
    }
}

#[test]
fn strings_survive_with_every_control_character() {
    survives((0..=0x9f_u8).map(char::from).collect::<String>());
    survives("\0".to_owned());
    survives("\u{2028}\u{2029}\u{feff}😀 \" \\ / </script>".to_owned());
    survives(String::new());
    survives("null".to_owned());
    survives(Some("null".to_owned()));
}

#[test]
fn compounds_survive() {
    survives(vec![Some(1), None]);
    survives((Vec::<u8>::new(), BTreeMap::<String, u8>::new(), Empty {}, Unit, [0_u8; 0]));
    survives(Point(-1, 1));
    survives(Maybe(None));
    survives(Some(Maybe(Some(1))));
    survives(vec![
        Shape::Nothing,
        Shape::Circle(-0.0),
        Shape::Pair(-128, "x".into()),
        Shape::Box { width: 0.1, inner: Some(Box::new(Shape::Pair(1, String::new()))) },
    ]);
    survives(Some(Shape::Nothing));
    survives(Order {
        items: vec![Item { price: 0.3, note: None }, Item { price: 1e308, note: Some("n".into()) }],
        rest: BTreeMap::from([("a".into(), Tagged::One { n: u64::MAX }), ("b".into(), Tagged::Two)]),
    });
    survives((std::time::Duration::from_nanos(u64::MAX), Ok::<u8, String>(1), Err::<u8, String>("e".into())));
    survives(std::net::IpAddr::from([127, 0, 0, 1]));
    survives(serde_json::json!({"a": [1, -1, 1.5, null, {"b": "c"}], "": {}}));
}

#[test]
fn bytes_are_an_array_of_numbers() {
    struct Bytes(&'static [u8]);
    impl Serialize for Bytes {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }
    assert_eq!(&*to_json(&(Bytes(b"\0\xff"), Bytes(b""))).unwrap(), "[[0,255],[]]");
}

#[test]
fn keys_that_json_can_hold_survive() {
    survives(HashMap::from([(0_u32, 1), (u32::MAX, 2)]));
    survives(BTreeMap::from([(i128::MIN, 1), (0, 2), (i128::MAX, 3)]));
    survives(HashMap::from([(Id(u128::MAX), 1)]));
    survives(BTreeMap::from([(true, 1), (false, 2)]));
    survives(BTreeMap::from([('"', 1), ('\0', 2)]));
    survives(BTreeMap::from([(Currency::Eur, 1), (Currency::Usd, 2)]));
    survives(BTreeMap::from([("\0\" \\".to_owned(), 1), (String::new(), 2)]));
    survives(BTreeMap::from([(Some(1_u8), 1)]));
    survives(HashMap::from([(std::net::Ipv4Addr::LOCALHOST, 1)]));
}

#[test]
fn stored_json_is_written_unchanged() {
    let raw = serde_json::value::RawValue::from_string(r#"{"a" : 1}"#.to_owned()).unwrap();
    assert_eq!(&*to_json(&(1, &raw, Some(&raw))).unwrap(), r#"[1,{"a" : 1},{"a" : 1}]"#);
}

#[test]
fn text_that_is_passed_as_json_has_to_be_json() {
    struct Claims(&'static str);
    impl Serialize for Claims {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut raw = serializer.serialize_struct(super::RAW, 1)?;
            raw.serialize_field(super::RAW, self.0)?;
            raw.end()
        }
    }
    assert_eq!(&*to_json(&[Claims("{}")]).unwrap(), "[{}]");
    assert!(refused([Claims("{")]).contains("it did not encode as JSON"));
    assert!(refused(Claims("1 2")).contains("it did not encode as JSON"));
}

#[test]
fn a_map_whose_keys_and_values_do_not_alternate_is_refused() {
    struct Entries(&'static str);
    impl Serialize for Entries {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            for entry in self.0.chars() {
                match entry {
                    'k' => map.serialize_key("k")?,
                    _ => map.serialize_value("v")?,
                }
            }
            map.end()
        }
    }
    assert_eq!(&*to_json(&Entries("kvkv")).unwrap(), r#"{"k":"v","k":"v"}"#);
    for entries in ["k", "v", "kk", "kvv", "kvk"] {
        assert!(refused([Entries(entries)]).ends_with("do not alternate"), "{entries}");
    }
}

#[test]
fn nan_and_infinite_floats_are_refused_with_their_path() {
    #[derive(Serialize)]
    struct Cart {
        items: Vec<Priced>,
    }
    #[derive(Serialize)]
    struct Priced {
        price: f32,
    }
    let cart = Cart { items: vec![Priced { price: 1.0 }, Priced { price: f32::NAN }] };
    assert_eq!(refused(cart), "at .items[1].price: NaN is no JSON number (it would come back as null)");
    assert_eq!(refused(f64::NAN), "NaN is no JSON number (it would come back as null)");
    assert_eq!(refused((1, f64::INFINITY)), "at [1]: infinity is no JSON number (it would come back as null)");
    assert_eq!(
        refused(BTreeMap::from([("a", 1.0), ("b\"", f64::NEG_INFINITY)])),
        r#"at ["b\""]: -infinity is no JSON number (it would come back as null)"#
    );
    assert!(refused(Shape::Circle(f64::NAN)).starts_with("at .Circle: NaN"));
    assert!(refused(vec![Shape::Box { width: f32::NAN, inner: None }]).starts_with("at [0].Box.width: NaN"));
}

#[test]
fn the_path_of_an_error_has_only_open_segments() {
    let value = (vec![vec![1]], BTreeMap::from([(1, vec![Some(())])]));
    assert!(refused(value).starts_with(r#"at [1]["1"][0]: `Some` of a value that is null"#));
}

#[test]
fn a_some_that_would_come_back_as_none_is_refused() {
    for message in [
        refused(Some(())),
        refused(Some(Unit)),
        refused(Some(None::<u8>)),
        refused(Some(Some(None::<u8>))),
        refused(Some(Maybe(None))),
        refused(Some(std::marker::PhantomData::<u8>)),
        refused(Some(serde_json::Value::Null)),
    ] {
        assert_eq!(message, "`Some` of a value that is null in JSON (it would come back as None)");
    }
}

#[test]
fn keys_that_json_cannot_hold_are_refused() {
    assert!(refused(BTreeMap::from([((1, 2), 3)])).starts_with("a tuple of 2 cannot be the key of a map"));
    assert!(refused(BTreeMap::from([(vec![1], 3)])).starts_with("a sequence cannot"));
    assert!(refused(BTreeMap::from([((), 3)])).starts_with("`()` cannot"));
    assert!(refused(BTreeMap::from([(None::<u8>, 3)])).starts_with("`None` cannot"));
    assert!(refused(vec![BTreeMap::from([(Ok::<u8, u8>(1), 3)])]).starts_with("at [0]: the variant `Result::Ok`"));
}

#[test]
fn an_error_of_a_serialize_implementation_has_the_path() {
    struct Picky;
    impl Serialize for Picky {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }
    assert_eq!(refused(BTreeMap::from([("k", vec![Picky])])), r#"at ["k"][0]: not today"#);
}

#[test]
fn a_display_that_fails_is_an_error_and_not_a_panic() {
    struct Mute;
    impl std::fmt::Display for Mute {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            Err(std::fmt::Error)
        }
    }
    impl Serialize for Mute {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }
    assert_eq!(refused([Mute]), "at [0]: its Display failed");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nested(Vec<Nested>);

fn nested(levels: usize) -> Nested {
    (1..levels).fold(Nested(Vec::new()), |inner, _| Nested(vec![inner]))
}

#[test]
fn a_value_too_deep_to_be_read_back_is_refused() {
    survives(nested(DEPTH_MAX));
    let one_more = serde_json::to_string(&nested(DEPTH_MAX + 1)).unwrap();
    assert!(serde_json::from_str::<Nested>(&one_more).is_err(), "the limit is lower than need be");
    for levels in [DEPTH_MAX + 1, 10_000] {
        let message = refused(nested(levels));
        assert!(
            message.ends_with("it is nested more than 127 levels deep, and deeper JSON is not read back"),
            "{message}"
        );
    }
}
