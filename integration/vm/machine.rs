//! What the tests with a virtual machine share: where things are, an image, and what the machine prints.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The top of the sources.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("integration lies in the workspace").to_owned()
}

/// Folder of the build that this test belongs to.
pub fn build_folder() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(2).expect("a test lies in target/PROFILE/deps").to_owned()
}

/// The binary under test.
pub fn tepui() -> PathBuf {
    std::env::var_os("TEPUI_BIN").map_or_else(|| build_folder().join("tepui"), PathBuf::from)
}

/// One of the scripts beside this file.
pub fn script(name: &str) -> Command {
    Command::new(workspace().join("integration/vm").join(name))
}

/// The standard output of what must succeed.
pub fn must(output: std::io::Result<Output>, what: &str) -> String {
    let output = output.unwrap_or_else(|e| panic!("{what}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{what}: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// The folder of a machine, with links to what is fetched once for all: a kernel and more.
pub fn folder(name: &str, fetched: &[(&str, &str)]) -> PathBuf {
    let dir = build_folder().join(name);
    fs::create_dir_all(&dir).unwrap();
    let shared = workspace().join("target/vm");
    for (fetch, name) in fetched {
        must(script(fetch).arg(&shared).output(), &format!("fetching the machine's {name}"));
        if !dir.join(name).exists() {
            std::os::unix::fs::symlink(shared.join(name), dir.join(name)).unwrap();
        }
    }
    dir
}

/// An OCI layout with busybox's commands.
pub fn image(dir: &Path) -> PathBuf {
    let (tree, layout) = (dir.join("tree"), dir.join("layout"));
    for old in [&tree, &layout] {
        if old.exists() {
            fs::remove_dir_all(old).unwrap();
        }
    }
    fs::create_dir_all(tree.join("bin")).unwrap();
    fs::copy("/bin/busybox", tree.join("bin/busybox")).expect("/bin/busybox of the package busybox-static");
    for name in ["sh", "cat", "grep", "tail", "dd", "usleep", "sleep"] {
        std::os::unix::fs::symlink("busybox", tree.join("bin").join(name)).unwrap();
    }
    let tagged = format!("{}:latest", layout.display());
    must(Command::new("umoci").args(["init", "--layout"]).arg(&layout).output(), "umoci init");
    must(Command::new("umoci").args(["new", "--image", &tagged]).output(), "umoci new");
    let bin = tree.join("bin");
    must(
        Command::new("umoci").args(["insert", "--image", &tagged]).arg(bin).arg("/bin").output(),
        "umoci insert",
    );
    layout
}

/// Runs a machine to its end and shows its console; what it found.
pub fn boot(dir: &Path, seconds: &str) -> Found {
    let output = script("run.sh").arg(dir).arg(seconds).stdin(Stdio::null()).output().unwrap();
    let console = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{console}");
    let lines = console.lines().filter_map(|l| l.trim_end().split_once("RESULT ")?.1.split_once(' '));
    let values = lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    Found { values, seconds: seconds.to_owned() }
}

/// What a machine found: lines `RESULT name value`.
pub struct Found {
    values: BTreeMap<String, String>,
    seconds: String,
}

impl Found {
    /// One finding.
    pub fn value(&self, name: &str) -> &str {
        let value = self.values.get(name);
        value.unwrap_or_else(|| {
            panic!("the machine did not say '{name}' within {} s; see above", self.seconds)
        })
    }
}
