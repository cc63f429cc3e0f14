//! The resources that steps use and the engine provides: connection pools, clients, configuration.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Code, Error};

/// Values by their type, given to the engine's builder and passed to the steps that declare them.
#[derive(Clone, Default)]
pub struct Resources(Arc<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

/// A resource that a step declares.
#[derive(Clone, Copy)]
pub struct Requirement {
    type_id: fn() -> TypeId,
    pub(crate) type_name: fn() -> &'static str,
}

impl Requirement {
    /// The resource of type `T`.
    pub const fn of<T: Send + Sync + 'static>() -> Self {
        Requirement { type_id: TypeId::of::<T>, type_name: type_name::<T> }
    }
}

impl Resources {
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        Arc::make_mut(&mut self.0).insert(TypeId::of::<T>(), Arc::new(value));
    }

    pub(crate) fn has(&self, requirement: &Requirement) -> bool {
        self.0.contains_key(&(requirement.type_id)())
    }

    /// The resource of type `T`, or an error that names it.
    pub fn get<T: Send + Sync + 'static>(&self) -> Result<Arc<T>, Error> {
        let found = self.0.get(&TypeId::of::<T>()).cloned();
        found.and_then(|resource| resource.downcast().ok()).ok_or_else(|| {
            Error::coded(Code::MissingResource, format!("the engine has no resource of type {}", type_name::<T>()))
                .help("pass it to the builder: `Engine::builder().resource(value)`")
                .into_fatal()
        })
    }
}
