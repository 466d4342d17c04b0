//! Registries that speak the distribution protocol (`/v2/`), with the distrust that hostile ones deserve.

mod auth;
mod blob;
mod client;
mod docker_config;
mod error;
mod guard;
mod http;
mod token;

pub use docker_config::{DockerConfig, DockerConfigError};
pub use error::RegistryError;

pub(crate) use client::RegistrySource;
pub(crate) use http::Http;
pub(crate) use token::Tokens;
