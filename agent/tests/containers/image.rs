//! An image as an OCI layout in a folder: busybox, a user, and what an image says about how to be run.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

const APPLETS: &[&str] =
    &["sh", "true", "cat", "echo", "id", "env", "sleep", "tail", "pwd", "kill", "ls", "touch", "dd"];

/// Makes the layout.
pub fn busybox(layout: &Path) {
    altered(layout, |_| {}, &BTreeMap::new());
}

/// Makes the layout with other files, and with labels and annotations wherever an image can have some.
pub fn altered(layout: &Path, fill: impl Fn(&Path), words: &BTreeMap<String, String>) {
    let root = layout.with_extension("root");
    for folder in ["bin", "etc", "tmp", "app", "dev", "proc", "sys"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))
        .expect("the Debian package busybox-static is installed");
    APPLETS.iter().for_each(|applet| symlink("busybox", root.join("bin").join(applet)).unwrap());
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/app:/bin/sh\n").unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nweb:x:33:\n").unwrap();
    fs::write(root.join("etc/marker"), "from the image\n").unwrap();
    fill(&root);
    let tar = layout.with_extension("tar");
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    run(Command::new("tar").arg("-C").arg(&root).args(["--owner=0", "--group=0", "-cf"]).arg(&tar).arg("."));
    let mut layer = blob(layout, &fs::read(&tar).unwrap(), "application/vnd.oci.image.layer.v1.tar");
    let annotate = |value: &mut Value| {
        if !words.is_empty() {
            value["annotations"] = json!(words);
        }
    };
    let mut config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {
            "Env": ["PATH=/bin", "FROM_IMAGE=yes"],
            "Entrypoint": ["/bin/echo", "entry"],
            "Cmd": ["cmd"],
            "WorkingDir": "/app",
        },
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    if !words.is_empty() {
        config["config"]["Labels"] = json!(words);
        config["container_config"] = json!({ "Labels": words });
    }
    annotate(&mut layer);
    let mut config = blob(layout, config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    annotate(&mut config);
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
    });
    annotate(&mut manifest);
    let mut manifest =
        blob(layout, manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
    annotate(&mut manifest);
    let mut index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    annotate(&mut index);
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// Writes a blob and gives its descriptor.
fn blob(layout: &Path, bytes: &[u8], media_type: &str) -> Value {
    let temporary = layout.join("blob");
    fs::write(&temporary, bytes).unwrap();
    let sum = run(Command::new("sha256sum").arg(&temporary));
    let hex = sum.split(' ').next().unwrap();
    fs::rename(&temporary, layout.join("blobs/sha256").join(hex)).unwrap();
    json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len() })
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
