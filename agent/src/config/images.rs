//! Flags about images: where they come from, and where they lie.

use std::path::{Path, PathBuf};
use std::time::Duration;

use images::{ImageName, Mirrors};
use model::flags::{BadFlag, Values, bad};

use super::absolute;

/// Where images come from and lie.
#[derive(Clone, Debug)]
pub struct Images {
    /// Directory of layers, if not `images` in the work folder.
    pub store_dir: Option<PathBuf>,
    /// Registry of names that say none.
    pub registry: Option<String>,
    /// Credentials: a file in the form of Docker's `config.json`, or its JSON.
    pub credentials: Option<String>,
    /// Registries spoken to in plain HTTP.
    pub insecure_registries: Vec<String>,
    /// Stand-ins that are asked before the registries themselves.
    pub mirrors: Mirrors,
    /// Registries and the hosts of their token services, where those are not their own.
    pub token_services: Vec<(String, String)>,
    /// Folders below which tasks may name images as `oci:` and `docker-archive:`; none forbids it nowhere.
    pub local_dirs: Option<Vec<PathBuf>>,
    /// Unused images are removed by themselves.
    pub collection: Option<ImageCollection>,
    /// Ignore what images say about how to be run.
    pub ignore_runtime: bool,
    /// Use the USER of an image when nobody names a user.
    pub use_user: bool,
}

/// When unused images are removed. Mesos: `--image_gc_config`.
#[derive(Clone, PartialEq, Debug)]
pub struct ImageCollection {
    /// Share of the disk that is kept free.
    pub headroom: f64,
    /// Between two looks at the disk.
    pub interval: Duration,
    /// Names of images that stay.
    pub excluded: Vec<String>,
}

pub(super) fn images(values: &Values) -> Result<Images, BadFlag> {
    let list = |text: &str| {
        text.split(',').map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let store_dir = match values.text("docker_store_dir") {
        Some(_) => Some(absolute(values, "docker_store_dir")?),
        None => None,
    };
    let mut insecure_registries = values.text("insecure_registries").map(list).unwrap_or_default();
    let registry =
        values.text("docker_registry").map(|text| registry(text, &mut insecure_registries)).transpose()?;
    Ok(Images {
        store_dir,
        registry,
        credentials: values.text("docker_config").map(str::to_owned),
        insecure_registries,
        mirrors: mirrors(values)?,
        token_services: token_services(values)?,
        local_dirs: local_dirs(values)?,
        collection: collection(values)?,
        ignore_runtime: values.bool("docker_ignore_runtime")?,
        use_user: values.bool("image_user")?,
    })
}

/// Mesos takes a URL or a folder of saved images; the folder has a name of its own here.
fn registry(text: &str, insecure: &mut Vec<String>) -> Result<String, BadFlag> {
    let plain = text.strip_prefix("http://");
    let bare = plain.or(text.strip_prefix("https://")).unwrap_or(text).trim_end_matches('/');
    // As a task's short name will be read.
    let usable = !bare.is_empty() && ImageName::parse("name", bare).is_ok();
    if !usable || text.starts_with('/') {
        let why = "expected a registry such as registry.example.com:5000; for images in a folder name them \
                   oci:/folder or docker-archive:/file.tar";
        return Err(bad("docker_registry", text, why));
    }
    if plain.is_some() {
        insecure.push(bare.to_owned());
    }
    Ok(bare.to_owned())
}

fn mirrors(values: &Values) -> Result<Mirrors, BadFlag> {
    let Some(text) = values.text("registry_mirrors") else { return Ok(Mirrors::default()) };
    text.parse().map_err(|why: images::MirrorsError| bad("registry_mirrors", text, &why.to_string()))
}

fn token_services(values: &Values) -> Result<Vec<(String, String)>, BadFlag> {
    let Some(text) = values.text("registry_token_services") else { return Ok(Vec::new()) };
    let pair = |part: &str| {
        let (registry, host) = part.split_once('=')?;
        let (registry, host) = (registry.trim(), host.trim());
        (!registry.is_empty() && !host.is_empty()).then(|| (registry.to_owned(), host.to_owned()))
    };
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    let pairs: Option<Vec<(String, String)>> = parts.map(pair).collect();
    pairs.ok_or_else(|| {
        bad(
            "registry_token_services",
            text,
            "expected registry=host, such as r.example.com=gitlab.example.com",
        )
    })
}

fn local_dirs(values: &Values) -> Result<Option<Vec<PathBuf>>, BadFlag> {
    let Some(text) = values.text("local_image_dirs") else { return Ok(None) };
    let dirs = text.split(',').map(str::trim).filter(|dir| !dir.is_empty()).map(|dir| {
        let path = Path::new(dir);
        let plain = path.is_absolute() && path.components().all(|c| c != std::path::Component::ParentDir);
        if plain { Ok(path.components().collect()) } else { Err(()) }
    });
    let dirs: Result<Vec<PathBuf>, ()> = dirs.collect();
    dirs.map(Some).map_err(|()| bad("local_image_dirs", text, "expected absolute paths separated by commas"))
}

/// `--image_gc_config`: JSON of three fields, of which the first two are required.
fn collection(values: &Values) -> Result<Option<ImageCollection>, BadFlag> {
    let Some(text) = values.text("image_gc_config") else { return Ok(None) };
    let refuse = |why: &str| bad("image_gc_config", text, why);
    let json: serde_json::Value =
        serde_json::from_str(text).map_err(|why| refuse(&format!("no JSON: {why}")))?;
    let headroom = json["image_disk_headroom"].as_f64().filter(|share| (0.0..=1.0).contains(share));
    let headroom = headroom.ok_or_else(|| refuse("expected image_disk_headroom, a share from 0 to 1"))?;
    let nanoseconds = json["image_disk_watch_interval"]["nanoseconds"].as_u64().filter(|ns| *ns > 0);
    let interval = nanoseconds.map(Duration::from_nanos);
    let interval = interval
        .ok_or_else(|| refuse("expected image_disk_watch_interval: {\"nanoseconds\": a number above 0}"))?;
    let excluded = json["excluded_images"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |image: &serde_json::Value| image["docker"]["name"].as_str().map(str::to_owned);
    let excluded: Option<Vec<String>> = excluded.iter().map(name).collect();
    let excluded = excluded.ok_or_else(|| refuse("expected excluded_images with a docker.name each"))?;
    // Sooner than that the disk can't have changed much.
    let interval = interval.max(Duration::from_secs(1));
    Ok(Some(ImageCollection { headroom, interval, excluded }))
}
