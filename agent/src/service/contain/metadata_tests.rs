//! What an image says of itself steers nothing but its command (threats K15).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use images::{ImageConfig, ImageStore, NoProgress, PullOptions, StoreConfig};

use super::tests::{common, launch, overlay, task};
use super::{spec, wanted_image};

#[path = "../../../tests/containers/image.rs"]
mod image;

/// Keys by which other programs let an image's author have a say.
const OF_OTHERS: [&str; 14] = [
    "cdi.k8s.io/vendor_device",
    "com.docker.extension.host",
    "com.nvidia.volumes.needed",
    "containerd.io/restart.status",
    "io.containerd.runc.v2.group",
    "io.containers.autoupdate",
    "io.kubernetes.cri.container-type",
    "io.kubernetes.cri-o.userns-mode",
    "io.podman.annotations.privileged",
    "io.podman.annotations.seccomp",
    "org.opencontainers.image.ref.name",
    "org.systemd.property.DeviceAllow",
    "run.oci.handler",
    "run.oci.hooks.stderr",
];

/// Every text in our programs that could be a key, and so every key that they could look for.
fn keys() -> BTreeMap<String, String> {
    const VALUES: [&str; 6] = ["true", "host", "unconfined", "/", "0", r#"{"privileged":true}"#];
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut waiting: Vec<_> = ["agent", "images", "runtime", "master", "model", "serving", "wire", "cli"]
        .map(|name| top.join(name).join("src"))
        .into();
    let mut keys: Vec<String> = OF_OTHERS.map(str::to_owned).into();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|end| end == "rs") {
            // Where a quote is part of a text the rest is read inside out, which does no harm.
            let text = fs::read_to_string(&path).unwrap();
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
            let key = |part: &&str| (1..=80).contains(&part.len()) && part.chars().all(plain);
            keys.extend(text.lines().flat_map(|line| line.split('"')).filter(key).map(str::to_owned));
        }
    }
    keys.sort();
    keys.dedup();
    keys.into_iter().zip(VALUES.into_iter().cycle()).map(|(key, value)| (key, value.to_owned())).collect()
}

async fn pulled(store: &ImageStore, layout: &Path) -> ImageConfig {
    let name = store.name(&format!("oci:{}", layout.display())).unwrap();
    store.pull(&name, PullOptions::default(), Arc::new(NoProgress)).await.unwrap().config
}

#[tokio::test]
async fn k15_labels_and_annotations_of_an_image_steer_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let keys = keys();
    assert!(keys.len() > 2000 && keys.contains_key("namespaces/user"), "{}", keys.len());
    let (plain, labelled) = (dir.path().join("plain"), dir.path().join("labelled"));
    image::busybox(&plain);
    image::altered(&labelled, |_| {}, &keys);
    let text = fs::read_to_string(labelled.join("index.json")).unwrap();
    assert!(text.contains("io.podman.annotations.privileged"), "the image does carry them");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store = ImageStore::open(StoreConfig::at(dir.path().join("store"))).await.unwrap();
    let (plain, labelled) = (pulled(&store, &plain).await, pulled(&store, &labelled).await);
    let common = common();
    let task = task("cpus:1;mem:64");
    assert_eq!(wanted_image(&task), Ok(None));
    let of =
        |config| spec(&common, &launch(task.clone()), Path::new("/s"), Some((config, overlay()))).unwrap();
    assert_eq!(of(&labelled), of(&plain));
    assert_eq!(labelled, plain);
    // What an image may say is heard.
    assert_eq!(plain.working_dir.as_deref(), Some("/app"));
}
