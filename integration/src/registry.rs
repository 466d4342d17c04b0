//! Debian's docker-registry on an address of its own, with its blobs in a folder, to be stopped, started and tampered
//! with.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::images::Image;
use crate::job::{Daemon, bound, done};
use crate::place::Place;
use crate::{OrFail, eventually};

/// Who may log in to a registry with a password.
pub const USER: &str = "docker";

/// A registry. Ends when dropped.
#[derive(Debug)]
pub struct Registry {
    daemon: Option<Daemon>,
    place: Place,
    /// What pushes need.
    password: Option<String>,
}

/// A login as Docker's `config.json` has it.
pub fn basic(user: &str, password: &str) -> String {
    STANDARD.encode(format!("{user}:{password}"))
}

/// An image in a registry.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// How to ask for it: `127.1.2.3:5000/name:latest`.
    pub name: String,
    /// The same by its digest: `127.1.2.3:5000/name@sha256:…`.
    pub by_digest: String,
    /// Digests of its layers, the lowest first.
    pub layers: Vec<String>,
    /// Digest of its configuration.
    pub config: String,
}

impl Registry {
    /// Starts an empty one.
    #[track_caller]
    pub fn start() -> Registry {
        let mut registry = Registry { daemon: None, place: Place::new(), password: None };
        registry.configure("");
        registry.resume();
        registry
    }

    /// Starts an empty one that is for [`USER`] alone; with the password, which it makes up and tells in its log.
    #[track_caller]
    pub fn with_password() -> (Registry, String) {
        let mut registry = Registry { daemon: None, place: Place::new(), password: None };
        let path = registry.place.dir().join("htpasswd");
        registry.configure(&format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", path.display()));
        registry.resume();
        let password = eventually("a password", || {
            let log = fs::read_to_string(registry.log()).ok()?;
            let rest = log.split_once("password=")?.1.trim_start_matches('"');
            let password = rest.split(['"', ' ', '\n']).next()?;
            (!password.is_empty()).then(|| password.to_owned())
        });
        registry.password = Some(password.clone());
        (registry, password)
    }

    fn configure(&self, more: &str) {
        let text = format!(
            "version: 0.1\nlog:\n  accesslog:\n    disabled: false\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {}\n{more}",
            self.storage().display(),
            self.address(),
        );
        fs::write(self.place.dir().join("registry.yml"), text).or_fail("writing registry.yml");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.place.socket(0)
    }

    fn storage(&self) -> PathBuf {
        self.place.dir().join("storage")
    }

    fn log(&self) -> PathBuf {
        self.place.dir().join("log")
    }

    /// Ends it; its images stay.
    pub fn stop(&mut self) {
        self.daemon = None;
    }

    /// Starts it again.
    #[track_caller]
    pub fn resume(&mut self) {
        let mut command = bound("docker-registry");
        command.arg("serve").arg(self.place.dir().join("registry.yml"));
        self.daemon = Some(Daemon::start("docker-registry", &mut command, &self.log()));
        eventually("the registry listens", || TcpStream::connect(self.address()).ok());
    }

    /// Pushes an image with skopeo.
    #[track_caller]
    pub fn push(&self, name: &str, image: &Image) -> Pushed {
        let layout = self.place.dir().join(format!("layout-{}", name.replace('/', "-")));
        image.write(&layout);
        self.push_layout(name, &layout)
    }

    /// Pushes the image of an OCI layout with skopeo.
    #[track_caller]
    pub fn push_layout(&self, name: &str, layout: &Path) -> Pushed {
        let to = format!("{}/{name}:latest", self.address());
        let mut command = bound("skopeo");
        command.args(["copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]);
        command.args(self.password.iter().map(|password| format!("--dest-creds={USER}:{password}")));
        done(command.arg(format!("oci:{}:latest", layout.display())).arg(format!("docker://{to}")));
        let read = |path: &Path| -> Value {
            serde_json::from_slice(&fs::read(path).or_fail(path.display())).or_fail(path.display())
        };
        let digest_of = |value: &Value| value["digest"].as_str().or_fail("a digest").to_owned();
        let index = read(&layout.join("index.json"));
        let digest = digest_of(&index["manifests"][0]);
        let manifest = read(&layout.join("blobs").join(digest.replace(':', "/")));
        let layers = manifest["layers"].as_array().or_fail("layers").iter().map(digest_of).collect();
        let by_digest = format!("{}/{name}@{digest}", self.address());
        Pushed { name: to, by_digest, layers, config: digest_of(&manifest["config"]) }
    }

    /// The file of a blob, to be tampered with.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = self.storage().join("docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    /// How often something was asked for with GET since the start, by the end of its path.
    pub fn gets(&self, path_end: &str) -> usize {
        self.requests().iter().filter(|line| line.starts_with("GET ") && line.ends_with(path_end)).count()
    }

    /// All requests since the start, as `GET /v2/…`.
    pub fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        // Lines of the access log are in the form of Apache's; others repeat the same requests.
        let asked = log.lines().filter_map(|line| line.split_once("] \"")?.1.split_once(" HTTP/"));
        asked.map(|(request, _)| request.to_owned()).collect()
    }
}
