//! The version of the JSON of public types.

use serde::{Deserialize, Serialize, Serializer};

/// The number in the field `schema` of a JSON document. It changes only if a reader of the earlier version could
/// misunderstand the document; a reader has to tolerate fields and values of enums that it does not know.
const VERSION: u32 = 1;

/// The field `schema` of a type whose JSON is a document of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "serde::de::IgnoredAny")]
pub(crate) struct Schema;

impl From<serde::de::IgnoredAny> for Schema {
    fn from(_: serde::de::IgnoredAny) -> Self {
        Schema
    }
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(VERSION)
    }
}
