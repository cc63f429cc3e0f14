//! Bytes in JSON: as text if they are UTF-8, otherwise in base 64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Body(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stored {
    Text(String),
    Base64(String),
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stored = match std::str::from_utf8(&self.0) {
            Ok(text) => Stored::Text(text.to_owned()),
            Err(_) => Stored::Base64(STANDARD.encode(&self.0)),
        };
        stored.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Stored::deserialize(deserializer)? {
            Stored::Text(text) => Ok(Body(text.into_bytes())),
            Stored::Base64(text) => STANDARD.decode(text).map(Body).map_err(D::Error::custom),
        }
    }
}
