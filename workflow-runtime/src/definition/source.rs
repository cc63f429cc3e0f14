//! The source location of a definition, and the items that the attributes register.
//!
//! Each item is added to a list before `main`. The list is linked through the definitions, so that an attribute generates
//! only a function and a pointer to it. A separate static for a node, as the crate `inventory` has, takes much longer to compile.

use std::panic::Location;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::step::StepDefinition;
use super::workflow::WorkflowDefinition;

/// Where a definition is in the source, and its fingerprint at compile time.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The id: the module's path and the function's name, or the pinned one.
    pub id: &'static str,
    /// The file, as the compiler names it.
    pub file: &'static str,
    /// The line of the function's name.
    pub line: u32,
    /// SHA-256 over the tokens of signature and body, in hex.
    pub fingerprint: &'static str,
    /// Whether it was compiled as a part of a test.
    pub test: bool,
}

impl Source {
    /// The source of a definition that is made at the place of the call.
    #[track_caller]
    pub const fn here(id: &'static str, fingerprint: &'static str, test: bool) -> Self {
        let place = Location::caller();
        Source { id, file: place.file(), line: place.line(), fingerprint, test }
    }
}

/// The items that the attributes register.
#[derive(Clone, Copy)]
pub enum Item {
    /// A workflow.
    Workflow(&'static WorkflowDefinition),
    /// A step.
    Step(&'static StepDefinition),
    /// A type of payloads.
    #[cfg(feature = "schema")]
    Payload(&'static PayloadDefinition),
}

/// The link from an item to the one that was registered before it.
pub(crate) type Link = OnceLock<Option<Item>>;

/// The item that was registered last.
static LAST: Mutex<Option<Item>> = Mutex::new(None);

impl Item {
    /// Adds the item to those of the program. Called before `main`, so it neither allocates nor panics.
    pub fn register(self) {
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        if self.link().set(*last).is_ok() {
            *last = Some(self);
        }
    }

    /// Every item of the program.
    pub(crate) fn all() -> impl Iterator<Item = Item> {
        let last = *LAST.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::successors(last, |item| item.link().get().copied().flatten())
    }

    fn link(self) -> &'static Link {
        match self {
            Item::Workflow(definition) => &definition.link,
            Item::Step(definition) => &definition.link,
            #[cfg(feature = "schema")]
            Item::Payload(definition) => &definition.link,
        }
    }
}

/// Registers an item before `main`, by a static with the given name.
///
/// The loader of each platform calls the function pointers of one section.
#[doc(hidden)]
#[macro_export]
macro_rules! __register {
    ($name:ident, $item:expr) => {
        #[used]
        #[cfg_attr(not(any(target_vendor = "apple", windows)), unsafe(link_section = ".init_array"))]
        #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func,mod_init_funcs"))]
        #[cfg_attr(windows, unsafe(link_section = ".CRT$XCU"))]
        static $name: extern "C" fn() = {
            extern "C" fn register() {
                $crate::__private::v1::Item::register($item)
            }
            register
        };
    };
}

/// A type of payloads and its schema.
#[cfg(feature = "schema")]
pub struct PayloadDefinition {
    /// The key of the type. Requesting it enables the check of payloads when they are sent.
    pub key: fn() -> &'static str,
    /// Its JSON Schema.
    pub schema: fn() -> serde_json::Value,
    link: Link,
}

#[cfg(feature = "schema")]
impl PayloadDefinition {
    #[doc(hidden)]
    pub const fn new(key: fn() -> &'static str, schema: fn() -> serde_json::Value) -> Self {
        PayloadDefinition { key, schema, link: Link::new() }
    }
}
