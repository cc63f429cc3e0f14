//! The arguments of workflows and steps.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::codec::{self, Payload};
use crate::error::Error;

/// Defines a trait of types that can be stored, with the compile error for other types.
macro_rules! storable {
    ($trait:item) => {
        #[diagnostic::on_unimplemented(
            message = "`{Self}` cannot be stored, as arguments and results of workflows and steps are",
            label = "this has to be `Serialize`, `DeserializeOwned`, `Send` and `'static`",
            note = "add `#[derive(serde::Serialize, serde::Deserialize)]` to a type of your own; for a type of another crate \
                    look for its feature `serde`, or convert it into a type of your own",
            note = "a client or a pool is no argument of a step but a resource: `#[resource] client: &Client`"
        )]
        $trait
    };
}

storable! {
    /// The bounds of arguments and results: `Serialize + DeserializeOwned + Send + 'static`, as one trait so that a type that
    /// lacks several of these causes one error.
    pub trait Stored: Serialize + DeserializeOwned + Send + 'static {}
}

// Otherwise the compiler would report each bound separately.
#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Stored for T {}

/// The arguments of a step, and of a workflow that has none or several: a tuple.
pub enum Tuple {}

/// The argument of a workflow that has one.
pub enum One {}

storable! {
    /// Arguments that can be stored, because each of them can.
    ///
    /// This has methods in place of serde's traits as bounds: for an argument that cannot be stored, the compiler then reports one
    /// error that names its type. With bounds it would report each of them, and for the tuple.
    pub trait Arguments<Form>: Sized + 'static {
        /// Encodes them.
        fn encode(&self, what: &str) -> Result<Payload, Error>;

        /// Decodes them.
        fn decode(what: &str, payload: &Payload) -> Result<Self, Error>;

        /// Converts JSON to them.
        fn accept(json: Value) -> Result<Self, serde_path_to_error::Error<serde_json::Error>>;

        /// Decodes them and encodes them again. `None` if they do not decode.
        fn recode(payload: &Payload) -> Option<Payload> {
            Self::decode("a value", payload).ok()?.encode("a value").ok()
        }
    }
}

/// The arguments of a workflow in their form. The bound is here and not on the arguments, so that a program may name the type of
/// a call by its arguments and its result only.
pub trait FormOf<Args> {
    /// Encodes them.
    fn encode(args: &Args, what: &str) -> Result<Payload, Error>;

    /// Decodes them.
    fn decode(what: &str, payload: &Payload) -> Result<Args, Error>;

    /// Converts JSON to them.
    fn accept(json: Value) -> Result<Args, serde_path_to_error::Error<serde_json::Error>>;

    /// Decodes them and encodes them again. `None` if they do not decode.
    fn recode(payload: &Payload) -> Option<Payload>;
}

impl<Form, Args: Arguments<Form>> FormOf<Args> for Form {
    fn encode(args: &Args, what: &str) -> Result<Payload, Error> {
        args.encode(what)
    }

    fn decode(what: &str, payload: &Payload) -> Result<Args, Error> {
        Args::decode(what, payload)
    }

    fn accept(json: Value) -> Result<Args, serde_path_to_error::Error<serde_json::Error>> {
        Args::accept(json)
    }

    fn recode(payload: &Payload) -> Option<Payload> {
        Args::recode(payload)
    }
}

macro_rules! arguments {
    ($form:ident, $($argument:ident)*, $arguments:ty) => {
        impl<$($argument: Stored),*> Arguments<$form> for $arguments {
            fn encode(&self, what: &str) -> Result<Payload, Error> {
                codec::encode(what, self)
            }

            fn decode(what: &str, payload: &Payload) -> Result<Self, Error> {
                codec::decode(what, payload)
            }

            fn accept(json: Value) -> Result<Self, serde_path_to_error::Error<serde_json::Error>> {
                serde_path_to_error::deserialize(json)
            }
        }
    };
}

macro_rules! tuples {
    ($($first:ident $($rest:ident)*)?) => {
        arguments!(Tuple, $($first $($rest)*)?, ($($first, $($rest,)*)?));
        $(tuples!($($rest)*);)?
    };
}

arguments!(One, T, T);
tuples!(A B C D E F G H I J K L);
