//! Debian's docker-registry on a free port of the loopback, and skopeo to push to it.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::layout::{Blobs, Built, OCI_MANIFEST};
use super::{eventually, run};

/// A running registry; it ends with this.
pub struct Registry {
    pub address: String,
    place: tempfile::TempDir,
    process: Child,
}

impl Registry {
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// On another address than the loopback; `http` is added to the configuration of the server.
    pub fn start_on(host: &str, http: &str) -> Self {
        Self::begin(host, http)
    }

    /// `more` is added to the registry's configuration.
    pub fn start_with(more: &str) -> Self {
        Self::begin("127.0.0.1", more)
    }

    fn begin(host: &str, more: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let port = free_port();
        let address = format!("{host}:{port}");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp:\n  addr: {address}\n{more}",
            place.path().join("data").display()
        );
        let file = place.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let log = File::create(place.path().join("log")).unwrap();
        let errors = log.try_clone().unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).stdin(Stdio::null()).stdout(log).stderr(errors);
        let mut process = command.spawn().expect("docker-registry (Debian package) starts");
        eventually("the registry listens", || {
            assert!(process.try_wait().unwrap().is_none(), "{}", read(&place.path().join("log")));
            TcpStream::connect(&address).is_ok()
        });
        Self { address, place, process }
    }

    /// Pushes what `tag` of a layout leads to.
    pub fn push_layout(&self, layout: &Path, tag: &str, name: &str, options: &[&str]) {
        let from = format!("oci:{}:{tag}", layout.display());
        let to = format!("docker://{}/{name}", self.address);
        let arguments = [&["copy", "--dest-tls-verify=false"], options, &[&from, &to]].concat();
        run("skopeo", &arguments);
    }

    /// Pushes one image as it is.
    pub fn push(&self, image: &Built, name: &str) {
        let layout = self.place.path().join(format!("push-{}", name.replace(['/', ':'], "-")));
        Blobs::of(image).write(&layout, "t", OCI_MANIFEST, &image.manifest);
        self.push_layout(&layout, "t", name, &["--preserve-digests"]);
    }

    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// How many GET requests of ours its access log has for paths that contain `part`.
    pub fn requests(&self, part: &str) -> usize {
        let log = read(&self.place.path().join("log"));
        log.lines()
            .filter(|line| line.contains("\"GET ") && line.contains("tepui/") && line.contains(part))
            .count()
    }

    pub fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

fn read(path: &PathBuf) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
