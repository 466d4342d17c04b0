//! A pull of 300 MB in three layers from a real registry on the loopback, against `skopeo copy` and `umoci unpack`.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cluster::{Registry, run as must_run, sibling};
use crate::figures::{Figures, millis, percentile};

const LAYERS: usize = 3;
const FILES: usize = 400;
const FILE_BYTES: usize = 256 * 1024;
const ROUNDS: usize = 3;

pub fn run(figures: &mut Figures) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("tepui-bench-").tempdir_in("/var/tmp")?;
    let registry = Registry::start(dir.path())?;
    let image = format!("127.0.0.1:{}/bench:latest", registry.port);
    build_image(dir.path(), &image)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        ours.push(pull(&dir.path().join(format!("store{round}")), &image)?);
        theirs.push(skopeo_and_umoci(&dir.path().join(format!("peer{round}")), &image)?);
    }
    let (ours, theirs) = (percentile(&ours, 50), percentile(&theirs, 50));
    figures.note("pull of 300 MB, three layers: tepui image pull", &millis(ours));
    figures.note("pull of 300 MB, three layers: skopeo copy + umoci unpack", &millis(theirs));
    figures.at_most("pull: ratio to skopeo + umoci", ours.as_secs_f64() / theirs.as_secs_f64(), "", 0.7);
    Ok(())
}

fn pull(store: &Path, image: &str) -> Result<Duration> {
    let start = Instant::now();
    must_run(
        Command::new(sibling("tepui")?)
            .args(["image", "pull"])
            .arg(format!("--store={}", store.display()))
            .arg(image),
    )?;
    Ok(start.elapsed())
}

fn skopeo_and_umoci(dir: &Path, image: &str) -> Result<Duration> {
    fs::create_dir_all(dir)?;
    let layout = dir.join("oci");
    let start = Instant::now();
    must_run(
        Command::new("skopeo")
            .args(["copy", "--quiet", "--src-tls-verify=false", &format!("docker://{image}")])
            .arg(format!("oci:{}:latest", layout.display())),
    )?;
    must_run(
        Command::new("umoci")
            .args(["unpack", "--image", &format!("{}:latest", layout.display())])
            .arg(dir.join("bundle")),
    )?;
    let time = start.elapsed();
    fs::remove_dir_all(dir).context("clearing the peer's files")?;
    Ok(time)
}

/// Files of half noise, half repetition: they compress to about a half, as programs and libraries do.
fn build_image(dir: &Path, image: &str) -> Result<()> {
    let layout = dir.join("image");
    let tagged = format!("{}:latest", layout.display());
    must_run(Command::new("umoci").args(["init", "--layout"]).arg(&layout))?;
    must_run(Command::new("umoci").args(["new", "--image", &tagged]))?;
    let mut random = model::random::Random::new(1);
    for layer in 0..LAYERS {
        let tree = dir.join(format!("layer{layer}"));
        for file in 0..FILES {
            let folder = tree.join(format!("usr/lib/part{layer}/{}", file % 20));
            fs::create_dir_all(&folder)?;
            let mut out = fs::File::create(folder.join(format!("f{file}")))?;
            out.write_all(&content(&mut random))?;
        }
        must_run(Command::new("umoci").args(["insert", "--image", &tagged]).arg(&tree).arg("/"))?;
        fs::remove_dir_all(&tree)?;
    }
    must_run(
        Command::new("skopeo")
            .args(["copy", "--quiet", "--dest-tls-verify=false", &format!("oci:{tagged}")])
            .arg(format!("docker://{image}")),
    )
}

fn content(random: &mut model::random::Random) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FILE_BYTES);
    while bytes.len() < FILE_BYTES {
        let word = random.next_u64().to_le_bytes();
        bytes.extend_from_slice(&word);
        bytes.extend_from_slice(b"lib/tepui/x86_64");
        if bytes.len() % 3 == 0 {
            bytes.extend_from_slice(&word);
        }
    }
    bytes.truncate(FILE_BYTES);
    bytes
}
