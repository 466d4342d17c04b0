//! Compiles the .proto files with a pure-Rust protoc.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("proto");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root.join("mesos/v1"))? {
        files.push(entry?.path());
    }
    files.push(root.join("tepui/link/link.proto"));
    files.sort();
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    let set = protox::compile(&files, [root])?;
    let mut prost = prost_build::Config::new();
    prost.include_file("_all.rs");
    prost.btree_map(["."]);
    prost.bytes(["."]);
    prost.enable_type_names();
    prost.compile_well_known_types();
    tonic_prost_build::configure().compile_fds_with_config(set, prost)?;
    Ok(())
}
