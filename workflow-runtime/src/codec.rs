//! Converts values to JSON and back. A value that JSON would change is refused.
//!
//! `serde_json` changes some values: NaN becomes `null`, `Some(None)` becomes `None`. A replay would then see
//! another value than the first execution, so [`encode`] refuses them and names the path inside the value.

pub(crate) mod exact;
pub(crate) mod schema;
mod strict;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use self::strict::RAW;
use crate::error::{Code, Error};
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::text::excerpt;

/// An encoded value: JSON text, cheap to clone.
#[derive(Clone)]
pub struct Payload(Arc<str>);

impl Payload {
    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `null`.
    pub(crate) fn null() -> Self {
        Payload(Arc::from("null"))
    }

    /// Changes the value.
    pub(crate) fn change(&mut self, change: &mut dyn FnMut(&mut serde_json::Value)) -> Result<(), Error> {
        let mut value = decode("the payload", self)?;
        change(&mut value);
        *self = encode("the payload", &value)?;
        Ok(())
    }

    /// SHA-256 of the value, regardless of the order of the keys in its objects.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        match Node::of(self.as_str()) {
            Some(node) => node.hash(&mut hash),
            None => hash.update(self.as_str()),
        }
        hash.finalize().into()
    }

    /// Whether both are the same value, regardless of the order of the keys in their objects and
    /// of the elements of a set: hash maps and hash sets are iterated in another order by every
    /// process. The type may have changed since one was recorded, if the recorded value decodes
    /// as this one: a new field may have a default. `recode` recodes the type of both values.
    pub(crate) fn same_value(&self, recorded: &Payload, recode: Recode) -> bool {
        if self == recorded {
            return true;
        }
        let (Some(found), Some(expected)) = (Node::of(self.as_str()), Node::of(recorded.as_str())) else {
            return false;
        };
        let as_now = || recode(recorded).is_some_and(|again| Node::of(again.as_str()).as_ref() == Some(&found));
        found == expected || as_now() || (has_sets(recorded, &expected, recode) && found.sorted() == expected.sorted())
    }
}

impl Payload {
    /// Whether both may be published by the same code: as a state, a chunk, metadata. Nothing that the run does
    /// later depends on such a value, and its type need not be decodable, so only the JSON is compared:
    /// regardless of the order of keys and elements, and of fields that only one of them has, provided they share some. A
    /// deploy may add fields to a state and remove others.
    pub(crate) fn resembles(&self, recorded: &Payload) -> bool {
        if self == recorded {
            return true;
        }
        let (Some(found), Some(expected)) = (Node::of(self.as_str()), Node::of(recorded.as_str())) else {
            return false;
        };
        found.resembles(&expected) || found.sorted().resembles(&expected.sorted())
    }
}

/// Decodes a value and encodes it again. `None` if it does not decode.
pub(crate) type Recode = fn(&Payload) -> Option<Payload>;

/// The recoding of values of type `T`.
pub(crate) fn recode<T: Serialize + DeserializeOwned>(payload: &Payload) -> Option<Payload> {
    encode("a value", &decode::<T>("a value", payload).ok()?).ok()
}

/// Whether the elements of some array change their order each time that the value is encoded. A set is an array in
/// JSON, and nothing else distinguishes it from a list.
fn has_sets(payload: &Payload, value: &Node, recode: Recode) -> bool {
    // A set of two elements keeps its order by chance every other time.
    const TRIES: usize = 16;
    (0..TRIES).any(|_| recode(payload).and_then(|again| Node::of(again.as_str())).is_some_and(|again| again != *value))
}

/// A JSON value whose numbers are kept as text: as floats, different large numbers would be equal.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Leaf(Box<str>),
    Array(Vec<Node>),
    Object(BTreeMap<String, Node>),
}

impl Node {
    fn of(json: &str) -> Option<Node> {
        Some(match json.as_bytes().first()? {
            b'[' => {
                let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
                Node::Array(elements.into_iter().map(|element| Node::of(element.get())).collect::<Option<_>>()?)
            }
            b'{' => {
                let fields: BTreeMap<String, &RawValue> = serde_json::from_str(json).ok()?;
                let node = |(key, value): (String, &RawValue)| Some((key, Node::of(value.get())?));
                Node::Object(fields.into_iter().map(node).collect::<Option<_>>()?)
            }
            _ => Node::Leaf(json.into()),
        })
    }

    /// Whether both are equal, ignoring fields that only one of them has.
    fn resembles(&self, other: &Node) -> bool {
        match (self, other) {
            (Node::Leaf(one), Node::Leaf(other)) => one == other,
            (Node::Array(one), Node::Array(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.resembles(other))
            }
            (Node::Object(one), Node::Object(other)) => {
                let mut shared = one.iter().filter_map(|(key, value)| Some((value, other.get(key)?))).peekable();
                // Without a common field they are different variants of an enum.
                let is_comparable = shared.peek().is_some() || one.is_empty() || other.is_empty();
                is_comparable && shared.all(|(one, other)| one.resembles(other))
            }
            _ => false,
        }
    }

    /// Each text is preceded by its length and each list by its count, so that no two values have the same bytes.
    fn hash(&self, hash: &mut Sha256) {
        let number = |hash: &mut Sha256, kind: u8, number: usize| {
            hash.update([kind]);
            hash.update((number as u64).to_be_bytes());
        };
        match self {
            Node::Leaf(text) => {
                number(hash, 0, text.len());
                hash.update(&**text);
            }
            Node::Array(elements) => {
                number(hash, 1, elements.len());
                elements.iter().for_each(|element| element.hash(hash));
            }
            Node::Object(fields) => {
                number(hash, 2, fields.len());
                for (key, value) in fields {
                    number(hash, 0, key.len());
                    hash.update(key);
                    value.hash(hash);
                }
            }
        }
    }

    /// The value with every array sorted.
    fn sorted(self) -> Node {
        match self {
            Node::Array(elements) => {
                let mut elements: Vec<Node> = elements.into_iter().map(Node::sorted).collect();
                elements.sort();
                Node::Array(elements)
            }
            Node::Object(fields) => {
                Node::Object(fields.into_iter().map(|(key, value)| (key, value.sorted())).collect())
            }
            leaf => leaf,
        }
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // As a `RawValue` serializes itself: its text is written unchanged.
        let mut raw = serializer.serialize_struct(RAW, 1)?;
        raw.serialize_field(RAW, &*self.0)?;
        raw.end()
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Payload(Arc::from(Box::<str>::from(Box::<RawValue>::deserialize(deserializer)?))))
    }
}

/// Encodes a value, or returns an error with the path at which the value would not survive.
pub(crate) fn encode<T: Serialize + ?Sized>(what: &str, value: &T) -> Result<Payload, Error> {
    let json = strict::to_json(value).map_err(|refused| {
        Error::coded(Code::Payload, format!("{what} cannot be stored: {refused}"))
            .help("change the value or its type so that it survives a round trip through JSON")
    })?;
    if json.len() > PAYLOAD_BYTES_MAX {
        return Err(Error::coded(
            Code::PayloadTooLarge,
            format!("{what} takes {} bytes as JSON, and the limit is {PAYLOAD_BYTES_MAX}", json.len()),
        )
        .help("store the data elsewhere and pass its address"));
    }
    Ok(Payload(json))
}

/// Decodes a value.
pub(crate) fn decode<T: DeserializeOwned>(what: &str, payload: &Payload) -> Result<T, Error> {
    decode_text(what, payload.as_str())
}

/// Decodes a value from text.
pub(crate) fn decode_text<T: DeserializeOwned>(what: &str, json: &str) -> Result<T, Error> {
    serde_json::from_str(json).map_err(|error| {
        Error::coded(
            Code::Payload,
            format!("{what} is stored as JSON that is no {}: {error}", std::any::type_name::<T>()),
        )
        .found(excerpt(json))
        .help("keep the type's serde form compatible with what is stored, for example with #[serde(default)] on new fields")
    })
}
