//! Images made in memory: blobs, manifests, and the folders that skopeo pushes from.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use images::{Algorithm, Digest};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    pub fn pack(self, tar: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => tar.to_vec(),
            Self::Gzip => gzip(tar),
            Self::Zstd => zstd::encode_all(tar, 3).unwrap(),
        }
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

/// Blobs of one or more images.
#[derive(Default, Clone)]
pub struct Blobs(pub BTreeMap<String, Vec<u8>>);

/// One image.
#[derive(Clone)]
pub struct Built {
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
    /// Packed blobs, the lowest first.
    pub layers: Vec<Vec<u8>>,
    pub diff_ids: Vec<Digest>,
}

impl Built {
    pub fn digest(&self) -> Digest {
        sha256(&self.manifest)
    }
}

pub fn descriptor(media_type: &str, bytes: &[u8]) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, sha256(bytes), bytes.len())
}

pub fn config(diff_ids: &[Digest]) -> Vec<u8> {
    let ids: Vec<String> = diff_ids.iter().map(|id| format!("\"{id}\"")).collect();
    format!(
        r#"{{"architecture":"{}","os":"linux","config":{{"Env":["PATH=/bin","GREETING=hello"],"Cmd":["sh"],
        "Entrypoint":["/bin/busybox"],"WorkingDir":"/srv","User":"7:8","StopSignal":"SIGINT",
        "Labels":{{"privileged":"true"}}}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        architecture(),
        ids.join(",")
    )
    .into_bytes()
}

pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An OCI image of these tars.
pub fn build(tars: &[(Vec<u8>, Packing)]) -> Built {
    let layers: Vec<Vec<u8>> = tars.iter().map(|(tar, packing)| packing.pack(tar)).collect();
    let diff_ids: Vec<Digest> = tars.iter().map(|(tar, _)| sha256(tar)).collect();
    let config = config(&diff_ids);
    let packed = layers.iter().zip(tars);
    let list: Vec<String> =
        packed.map(|(blob, (_, packing))| descriptor(packing.media_type(), blob)).collect();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{},"layers":[{}]}}"#,
        descriptor(OCI_CONFIG, &config),
        list.join(",")
    );
    Built { manifest: manifest.into_bytes(), config, layers, diff_ids }
}

/// One gzip layer with one file.
pub fn tiny(content: &str) -> Built {
    build(&[(super::tars::tar(&[super::tars::file("hello", content)]), Packing::Gzip)])
}

impl Blobs {
    pub fn of(image: &Built) -> Self {
        let mut blobs = Self::default();
        blobs.add(image);
        blobs
    }

    pub fn put(&mut self, bytes: &[u8]) -> Digest {
        let digest = sha256(bytes);
        self.0.insert(digest.to_string(), bytes.to_vec());
        digest
    }

    pub fn add(&mut self, image: &Built) {
        self.put(&image.manifest);
        self.put(&image.config);
        image.layers.iter().for_each(|layer| {
            self.put(layer);
        });
    }

    /// An OCI layout whose `tag` leads to `top`.
    pub fn write(&self, dir: &Path, tag: &str, media_type: &str, top: &[u8]) {
        let folder = dir.join("blobs/sha256");
        std::fs::create_dir_all(&folder).unwrap();
        for (digest, bytes) in &self.0 {
            std::fs::write(folder.join(&digest[7..]), bytes).unwrap();
        }
        std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{media_type}","digest":"{}","size":{},"annotations":{{"org.opencontainers.image.ref.name":"{tag}"}}}}]}}"#,
            sha256(top),
            top.len()
        );
        std::fs::write(dir.join("index.json"), index).unwrap();
    }
}
