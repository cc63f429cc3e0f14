//! The types of payloads: a payload for a hook or a suspension is checked against the type that is expected.
//!
//! A hook or suspension stores a key of its type, and a sender looks up the key among the types that its process has registered.
//! The name alone is not a key: two blocks of one function, or two versions of a crate, may have types with the same
//! name. The key is the name and a digest of the `TypeId`, which is the same in every process of a build. A sender of
//! another build may not know the key: then nothing is checked at the sender, and a mismatch is found at the receiver.

use std::any::{TypeId, type_name};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{LazyLock, Mutex, PoisonError};

use serde::de::DeserializeOwned;

use crate::codec::{self, Payload};
use crate::error::Error;
use crate::panics::caught;

/// How a payload is checked.
pub(crate) type Check = fn(&Payload) -> Result<(), Error>;

#[derive(Default)]
struct Types {
    keys: HashMap<TypeId, &'static str>,
    checks: HashMap<&'static str, Check>,
}

/// The types that this process has registered.
static TYPES: LazyLock<Mutex<Types>> = LazyLock::new(Mutex::default);

/// The key of a type of payloads, and its check. Registers the type.
pub(crate) fn payload_type<T: DeserializeOwned + 'static>() -> (&'static str, Check) {
    let check: Check = |payload| {
        let fits = caught("the payload's type", || codec::decode::<T>("the payload", payload).map(drop));
        fits.and_then(|fits| fits).map_err(|error| error.help("send a payload of the hook's type; the hook stays open"))
    };
    let mut types = TYPES.lock().unwrap_or_else(PoisonError::into_inner);
    // Leaked once for each type in the program.
    let key = *types.keys.entry(TypeId::of::<T>()).or_insert_with(|| key::<T>().leak());
    types.checks.entry(key).or_insert(check);
    (key, check)
}

fn key<T: 'static>() -> String {
    let mut digest = DefaultHasher::new();
    TypeId::of::<T>().hash(&mut digest);
    format!("{}#{:016x}", type_name::<T>(), digest.finish())
}

/// Whether a payload fits the type with this key; every payload does if this process has not registered the type.
pub(crate) fn check_payload(key: &str, payload: &Payload) -> Result<(), Error> {
    let check = TYPES.lock().unwrap_or_else(PoisonError::into_inner).checks.get(key).copied();
    check.map_or(Ok(()), |check| check(payload))
}

/// The key of a type of payloads; from then on, payloads of the type are checked when they are sent.
#[cfg(feature = "schema")]
pub fn payload_key<T: serde::de::DeserializeOwned + 'static>() -> &'static str {
    payload_type::<T>().0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_types_of_one_name_have_two_keys() {
        fn key_of<T: DeserializeOwned + 'static>(_: fn(T)) -> (&'static str, &'static str) {
            (type_name::<T>(), payload_type::<T>().0)
        }
        let (one, two) = (
            {
                #[derive(serde::Deserialize)]
                struct Answer(#[allow(dead_code)] u32);
                key_of(|_: Answer| ())
            },
            {
                #[derive(serde::Deserialize)]
                struct Answer(#[allow(dead_code)] String);
                key_of(|_: Answer| ())
            },
        );
        assert_eq!(one.0, two.0);
        assert_ne!(one.1, two.1);
    }
}
