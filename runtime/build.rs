//! Compiles the program that becomes PID 1 of a container (`src/init/pid1.rs`) with the compiler of this build.
//!
//! It is no crate of its own because it must be linked without startup files, a C library or a loader, whatever
//! flags the rest of the workspace is built with.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = "src/init/pid1.rs";

/// Far above what the program takes (4 KB); more means that something dragged a library in.
const LARGEST: u64 = 16 << 10;

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed=src/init/pid1");
    println!("cargo::rerun-if-changed=build.rs");
    let image = PathBuf::from(variable("OUT_DIR")).join("pid1");
    compile(&image);
    let size = std::fs::metadata(&image).expect("rustc succeeded, so the program is there").len();
    assert!(size <= LARGEST, "{SOURCE} became {size} bytes long, at most {LARGEST} are expected");
    println!("cargo::rustc-env=TEPUI_PID1={}", image.display());
}

fn compile(image: &Path) {
    let target = variable("TARGET");
    assert!(
        ["x86_64-", "aarch64-"].iter().any(|known| target.starts_with(known)) && target.contains("linux"),
        "the container's PID 1 knows the system calls of x86_64 and aarch64 Linux, not of {target}"
    );
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args([
        "--edition=2024",
        "--crate-name=pid1",
        "--crate-type=bin",
        "--target",
        &target,
        "-Dwarnings",
    ]);
    for option in [
        "panic=abort",
        "opt-level=s",
        "debuginfo=0",
        "strip=symbols",
        "force-unwind-tables=no",
        "relocation-model=static",
        "target-feature=+crt-static",
        "link-arg=-nostartfiles",
        "link-arg=-nostdlib",
        "link-arg=-static",
        "link-arg=-Wl,--build-id=none,-z,norelro,-z,noseparate-code,-z,noexecstack",
    ] {
        rustc.args(["-C", option]);
    }
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg("-C").arg(format!("linker={linker}"));
    }
    let status = rustc.arg(SOURCE).arg("-o").arg(image).status().expect("cargo's own rustc can be run");
    assert!(status.success(), "rustc could not build {SOURCE}: {status}");
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}
