//! Pulls one image into a store and tells how long it took: `pull STORE IMAGE [DOCKER_CONFIG]`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use images::{Digest, DockerConfig, ImageStore, LayerEvent, Progress, PullOptions, StoreConfig};

struct Lines;

impl Progress for Lines {
    fn layer(&self, digest: &Digest, event: LayerEvent) {
        if !matches!(event, LayerEvent::Fetching { .. }) {
            eprintln!("{digest}: {event:?}");
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (Some(store), Some(image)) = (arguments.first(), arguments.get(1)) else {
        eprintln!("usage: pull STORE IMAGE [DOCKER_CONFIG]");
        return ExitCode::from(2);
    };
    match run(store, image, arguments.get(2).map(String::as_str)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(store: &str, image: &str, docker_config: Option<&str>) -> Result<(), String> {
    let installed = rustls::crypto::ring::default_provider().install_default();
    installed.map_err(|_| "another TLS provider is installed".to_owned())?;
    let docker_config = match docker_config {
        Some(path) => Some(DockerConfig::load(path.as_ref()).map_err(|e| e.to_string())?),
        None => None,
    };
    let config = StoreConfig { docker_config, ..StoreConfig::at(store) };
    let store = ImageStore::open(config).await.map_err(|e| e.to_string())?;
    let name = store.name(image).map_err(|e| e.to_string())?;
    let started = Instant::now();
    let pulled = store.pull(&name, PullOptions::default(), Arc::new(Lines)).await.map_err(|e| e.report())?;
    let size: u64 = pulled.layers.iter().map(|layer| layer.size).sum();
    println!(
        "{name} {} layers={} bytes={size} in {:?}",
        pulled.manifest_digest,
        pulled.layers.len(),
        started.elapsed()
    );
    Ok(())
}
