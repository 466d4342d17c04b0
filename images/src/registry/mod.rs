//! Registries that speak the distribution protocol (`/v2/`), with the distrust that hostile ones deserve.

mod auth;
mod backoff;
mod blob;
mod client;
mod docker_config;
mod endpoint;
mod error;
pub(crate) mod fuzzing;
mod guard;
mod helper;
mod http;
mod mirrors;
mod token;

pub use docker_config::{DockerConfig, DockerConfigError};
pub use error::RegistryError;
pub use mirrors::{Mirrors, MirrorsError};

pub(crate) use auth::challenges;
pub(crate) use client::Registries;
pub(crate) use http::{Http, Trust};
pub(crate) use token::Tokens;
