//! Images made here: of busybox in layers with whiteouts, and of Debian by debootstrap; as OCI layouts.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::OrFail;
use crate::job::done;

/// Debian's release that [`debian`] installs.
const RELEASE: &str = "bookworm";
/// What of it no test needs.
const SUPERFLUOUS: [&str; 5] =
    ["usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt/lists"];

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// As nearly all are.
    Gzip,
    /// As newer tools do.
    Zstd,
}

/// One layer: a tar archive that is being written.
pub struct Layer {
    tar: Builder<Vec<u8>>,
    packing: Packing,
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layer")
            .field("packing", &self.packing)
            .field("bytes", &self.tar.get_ref().len())
            .finish()
    }
}

impl Default for Layer {
    fn default() -> Layer {
        Layer::new()
    }
}

impl Layer {
    /// An empty one.
    pub fn new() -> Layer {
        Layer { tar: Builder::new(Vec::new()), packing: Packing::Gzip }
    }

    /// Packed otherwise.
    #[must_use]
    pub fn packed(mut self, packing: Packing) -> Layer {
        self.packing = packing;
        self
    }

    fn entry(
        mut self,
        path: &str,
        kind: EntryType,
        mode: u32,
        owner: u64,
        link: Option<&str>,
        data: &[u8],
    ) -> Layer {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(1_700_000_000);
        header.set_size(data.len().try_into().or_fail("a length"));
        let added = match link {
            Some(target) => self.tar.append_link(&mut header, path, target),
            None => self.tar.append_data(&mut header, path, data),
        };
        added.or_fail(path);
        self
    }

    /// A folder.
    #[must_use]
    pub fn dir(self, path: &str) -> Layer {
        self.entry(path, EntryType::Directory, 0o755, 0, None, &[])
    }

    /// A file that all may read.
    #[must_use]
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Layer {
        self.entry(path, EntryType::Regular, 0o644, 0, None, content.as_ref())
    }

    /// A file with a mode and an owner.
    #[must_use]
    pub fn owned(self, path: &str, mode: u32, owner: u64, content: impl AsRef<[u8]>) -> Layer {
        self.entry(path, EntryType::Regular, mode, owner, None, content.as_ref())
    }

    /// A symbolic link.
    #[must_use]
    pub fn link(self, path: &str, target: &str) -> Layer {
        self.entry(path, EntryType::Symlink, 0o777, 0, Some(target), &[])
    }

    /// Another name of a file in the same layer.
    #[must_use]
    pub fn hard_link(self, path: &str, target: &str) -> Layer {
        self.entry(path, EntryType::Link, 0o644, 0, Some(target), &[])
    }

    /// Removes what lower layers have at this path.
    #[must_use]
    pub fn without(self, path: &str) -> Layer {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let marker = format!("{folder}/.wh.{name}");
        self.file(marker.trim_start_matches('/'), "")
    }

    /// Hides everything that lower layers have in this folder.
    #[must_use]
    pub fn opaque(self, path: &str) -> Layer {
        self.dir(path).file(&format!("{path}/.wh..wh..opq"), "")
    }

    fn archive(&self) -> Vec<u8> {
        // Two empty blocks end an archive.
        [self.tar.get_ref().as_slice(), &[0; 1024]].concat()
    }
}

/// An image: layers, the lowest first, and what it says about running it.
#[derive(Debug)]
pub struct Image {
    layers: Vec<Layer>,
    config: Value,
}

/// An image with busybox and its commands in /bin.
pub fn busybox() -> Image {
    let program = fs::read("/bin/busybox").or_fail("/bin/busybox, of the Debian package busybox-static");
    let mut layer =
        ["bin", "etc", "root", "sbin", "tmp", "var"].iter().fold(Layer::new(), |layer, dir| layer.dir(dir));
    layer = layer.owned("bin/busybox", 0o755, 0, program);
    for name in done(Command::new("/bin/busybox").arg("--list")).lines().filter(|name| *name != "busybox") {
        layer = layer.link(&format!("bin/{name}"), "busybox");
    }
    let users = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/var/www:/bin/sh\n";
    Image::of(layer.file("etc/passwd", users).file("etc/group", "root:x:0:\nweb:x:33:\n"))
}

impl Image {
    /// An image of one layer.
    pub fn of(layer: Layer) -> Image {
        Image { layers: vec![layer], config: json!({"Env": ["PATH=/bin:/usr/bin:/sbin"]}) }
    }

    /// With another layer on top.
    #[must_use]
    pub fn layer(mut self, layer: Layer) -> Image {
        self.layers.push(layer);
        self
    }

    /// With a field of its configuration, such as `Cmd`.
    #[must_use]
    pub fn config(mut self, field: &str, value: Value) -> Image {
        self.config[field] = value;
        self
    }

    /// Writes it as an OCI layout in a new folder, tagged `latest`.
    #[track_caller]
    pub fn write(&self, layout: &Path) {
        fs::create_dir_all(layout.join("blobs/sha256")).or_fail(layout.display());
        let blob = |bytes: &[u8]| -> (String, usize) {
            let hex = hex_of(bytes);
            fs::write(layout.join("blobs/sha256").join(&hex), bytes).or_fail(layout.display());
            (format!("sha256:{hex}"), bytes.len())
        };
        let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
        for layer in &self.layers {
            let archive = layer.archive();
            diff_ids.push(format!("sha256:{}", hex_of(&archive)));
            let (packed, kind) = pack(&archive, layer.packing);
            let (digest, size) = blob(&packed);
            let media = format!("application/vnd.oci.image.layer.v1.tar{kind}");
            layers.push(json!({"mediaType": media, "digest": digest, "size": size}));
        }
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let (config, size) = blob(config.to_string().as_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": size},
            "layers": layers,
        });
        let (manifest, size) = blob(manifest.to_string().as_bytes());
        write_index(layout, &manifest, size);
    }
}

fn write_index(layout: &Path, manifest: &str, size: usize) {
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": manifest,
        "size": size,
        "annotations": {"org.opencontainers.image.ref.name": "latest"},
    }]});
    fs::write(layout.join("index.json"), index.to_string()).or_fail(layout.display());
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).or_fail(layout.display());
}

fn pack(archive: &[u8], packing: Packing) -> (Vec<u8>, &'static str) {
    match packing {
        Packing::Plain => (archive.to_vec(), ""),
        Packing::Gzip => {
            let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
            packer.write_all(archive).or_fail("packing");
            (packer.finish().or_fail("packing"), "+gzip")
        }
        Packing::Zstd => (zstd::encode_all(archive, 1).or_fail("packing"), "+zstd"),
    }
}

fn hex_of(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The OCI layout of a small Debian, with the facts of its files in `files.txt`. Made once by debootstrap from the
/// machine's own mirror, and kept below the target folder for later runs.
#[track_caller]
pub fn debian() -> PathBuf {
    let cache = target_dir().join("integration");
    fs::create_dir_all(&cache).or_fail(cache.display());
    let lock = File::create(cache.join("lock")).or_fail("the lock of the cache");
    lock.lock().or_fail("locking the cache");
    let layout = cache.join(format!("{RELEASE}-1"));
    if !layout.join("index.json").exists() {
        let work = tempfile::tempdir_in(&cache).or_fail("a folder for debootstrap");
        bootstrap(&work.path().join("root"));
        let half = work.path().join("layout");
        Image::of(folder(&work.path().join("root"))).write(&half);
        let list = "cd $1 && find . -xdev -printf '%P %y %m %U %G %l %s\\n'";
        let files = done(Command::new("sh").args(["-c", list, "sh"]).arg(work.path().join("root")));
        fs::write(half.join("files.txt"), files).or_fail("the list of files");
        let _ = fs::remove_dir_all(&layout);
        fs::rename(&half, &layout).or_fail(layout.display());
    }
    layout
}

fn bootstrap(root: &Path) {
    let mirror = mirror();
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", RELEASE]).arg(root).arg(&mirror);
    if let Some(proxy) = apt_setting("Acquire::http::Proxy") {
        command.env("http_proxy", proxy);
    }
    eprintln!("installing Debian {RELEASE} from {mirror} for an image; this happens once");
    done(&mut command);
    for path in SUPERFLUOUS {
        let _ = fs::remove_dir_all(root.join(path));
    }
}

/// The layer of a whole folder, with hard links, owners and special bits as they are.
fn folder(root: &Path) -> Layer {
    let archive = root.with_extension("tar");
    let mut command = Command::new("tar");
    command
        .args(["--numeric-owner", "--one-file-system", "--sort=name", "-C"])
        .arg(root)
        .arg("-cf")
        .arg(&archive);
    // Device nodes can't be unpacked everywhere, and containers have their own.
    done(command.args(["--exclude=./dev/*", "."]));
    let bytes = fs::read(&archive).or_fail(archive.display());
    Layer { tar: Builder::new(bytes), packing: Packing::Gzip }
}

fn apt_setting(name: &str) -> Option<String> {
    let settings = done(Command::new("apt-config").arg("dump").arg(name));
    let value = settings.lines().find_map(|line| line.split('"').nth(1))?;
    (!value.is_empty() && value != "DIRECT").then(|| value.to_owned())
}

/// The mirror that this machine installs from: the first that has the release's main part, in either of apt's formats.
fn mirror() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let folder = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    files.extend(folder.map(|entry| entry.path()));
    let texts = files.iter().filter_map(|path| fs::read_to_string(path).ok());
    let found = texts.filter_map(|text| mirror_in(&text)).next();
    found.or_fail(format!("a mirror of Debian {RELEASE} below /etc/apt"))
}

fn mirror_in(text: &str) -> Option<String> {
    let one_line = text.lines().find_map(|line| {
        let mut words =
            line.strip_prefix("deb ")?.split_whitespace().skip_while(|word| word.starts_with('['));
        let url = words.find(|word| word.contains("://"))?;
        (words.next()? == RELEASE).then(|| url.to_owned())
    });
    let stanzas = || {
        text.split("\n\n").find_map(|stanza| {
            let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name));
            let suites = field("Suites:")?;
            suites.split_whitespace().any(|suite| suite == RELEASE).then_some(())?;
            Some(field("URIs:")?.split_whitespace().next()?.to_owned())
        })
    };
    one_line.or_else(stanzas)
}

/// The folder that cargo builds in: the tests' program is in `<target>/<profile>/deps`.
pub fn target_dir() -> PathBuf {
    let program = std::env::current_exe().or_fail("the tests' own program");
    let profile = program.ancestors().find(|path| path.join("deps").is_dir()).or_fail("a profile's folder");
    profile.parent().or_fail("a target folder").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_found_in_both_formats() {
        let lines = "# deb http://x/ bookworm main\ndeb [signed-by=/k] http://a/debian bookworm main\n";
        assert_eq!(mirror_in(lines).as_deref(), Some("http://a/debian"));
        let stanzas = "Types: deb\nURIs: http://s/\nSuites: bookworm-security\n\nTypes: deb\n# c\nURIs: http://b/debian\nSuites: bookworm bookworm-updates\n";
        assert_eq!(mirror_in(stanzas).as_deref(), Some("http://b/debian"));
        assert_eq!(mirror_in("deb https://packages.example/apt cloud-sdk-bookworm main\n"), None);
    }
}
