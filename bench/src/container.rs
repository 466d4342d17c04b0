//! Start to exit of `/bin/true` in a container: through the keeper, by runc, by crun, and the bare spawn as the floor.
//!
//! All get the same root file system and the same namespaces (mount, pid, ipc, uts, cgroup). The rounds are interleaved,
//! so that a busy moment of the machine hits all alike; each figure is the median.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use runtime::{ContainerId, ContainerSpec, Rootfs};
use serde_json::{Value, json};

use crate::cluster::{run as must_run, sibling};
use crate::figures::{Figures, millis, percentile};

const ROUNDS: usize = 60;
const WARM_UP: usize = 5;

pub fn run(figures: &mut Figures) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("tepui-bench-").tempdir_in("/var/tmp")?;
    let bundle = dir.path().join("bundle");
    root_file_system(&bundle.join("rootfs"))?;
    oci_bundle(&bundle)?;
    let spec = dir.path().join("spec.json");
    let crun_wrapper = crun_script(dir.path(), &bundle)?;
    let mut samples: [Vec<Duration>; 4] = Default::default();
    for round in 0..ROUNDS + WARM_UP {
        let times = [
            keeper(&spec, &bundle, dir.path(), round)?,
            timed(
                Command::new("runc")
                    .args(["run", "--bundle"])
                    .arg(&bundle)
                    .arg(format!("tepui-bench-{round}")),
            )?,
            crun(&crun_wrapper, round)?,
            timed(Command::new(bundle.join("rootfs/bin/true")).env_clear())?,
        ];
        if round >= WARM_UP {
            samples.iter_mut().zip(times).for_each(|(all, time)| all.push(time));
        }
    }
    let [ours, runc, crun, floor] = samples.map(|all| percentile(&all, 50));
    figures.note("container start to exit: keeper", &millis(ours));
    figures.note("container start to exit: runc run", &millis(runc));
    figures.note("container start to exit: crun run", &millis(crun));
    figures.note("bare clone and exec", &millis(floor));
    let ratio = |peer: Duration| ours.as_secs_f64() / peer.as_secs_f64();
    figures.at_most("container: ratio to runc run", ratio(runc), "", 0.8);
    figures.note("container: ratio to crun run", &format!("{:.2}", ratio(crun)));
    Ok(())
}

fn timed(command: &mut Command) -> Result<Duration> {
    let start = Instant::now();
    must_run(command)?;
    Ok(start.elapsed())
}

fn root_file_system(root: &Path) -> Result<()> {
    for folder in ["bin", "dev", "proc", "sys", "tmp", "etc"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))
        .context("copying /bin/busybox (package busybox-static)")?;
    fs::hard_link(root.join("bin/busybox"), root.join("bin/true"))?;
    Ok(())
}

/// runc's own default bundle, without a terminal and without a network namespace of its own.
fn oci_bundle(bundle: &Path) -> Result<()> {
    must_run(Command::new("runc").args(["spec", "--bundle"]).arg(bundle))?;
    let path = bundle.join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&path)?)?;
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["/bin/true"]);
    let kinds = ["mount", "pid", "ipc", "uts", "cgroup"];
    spec["linux"]["namespaces"] = kinds.iter().map(|kind| json!({ "type": kind })).collect();
    fs::write(&path, serde_json::to_vec(&spec)?)?;
    Ok(())
}

/// One container by the keeper; its overlay and sandbox are not part of the comparison, as runc has none either.
fn keeper(spec: &Path, bundle: &Path, dir: &Path, round: usize) -> Result<Duration> {
    let mut description =
        ContainerSpec::new(ContainerId::new(format!("bench-{round}"))?, vec!["/bin/true".into()]);
    description.rootfs = Rootfs::Directory(bundle.join("rootfs"));
    fs::write(spec, serde_json::to_vec(&description)?)?;
    let mut command = Command::new(sibling("keeper-probe")?);
    command.arg("run").arg(spec).arg(dir.join("run"));
    timed(&mut command)
}

/// crun refuses a hybrid host's `unified` mount, so it runs where that is unmounted: in a mount namespace of its own.
fn crun_script(dir: &Path, bundle: &Path) -> Result<std::path::PathBuf> {
    let path = dir.join("crun.sh");
    let text = format!(
        "umount /sys/fs/cgroup/unified 2>/dev/null\nstart=$(date +%s%N)\ncrun run --bundle {} \"$1\" || exit 1\n\
         end=$(date +%s%N)\necho $((end - start))\n",
        bundle.display()
    );
    fs::write(&path, text)?;
    Ok(path)
}

fn crun(script: &Path, round: usize) -> Result<Duration> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh"]).arg(script).arg(format!("tepui-bench-crun-{round}"));
    let output = command.output().context("starting unshare")?;
    ensure!(output.status.success(), "crun: {}", String::from_utf8_lossy(&output.stderr).trim());
    let nanos: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().context("reading crun's time")?;
    Ok(Duration::from_nanos(nanos))
}
