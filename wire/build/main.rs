//! Compiles the .proto files with a pure-Rust protoc, and generates Mesos' JSON and the required-field
//! tables.
//!
//! Into `OUT_DIR` go prost's and tonic's types (`_all.rs`), our code over them (`_mesos.rs`), and for the
//! tests the compiled descriptors (`descriptors.bin`) and a macro that lists every message (`_messages.rs`).

mod json;
mod schema;
mod tables;

use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};
use schema::Schema;
use std::path::{Path, PathBuf};

/// Fields that would make each message of theirs large and are seldom there. Masters hold resources and tasks by the hundred
/// thousand, and say little more than pings to their agents.
const LARGE_AND_RARE: [&str; 8] = [
    ".mesos.v1.Resource.disk",
    ".mesos.v1.Resource.reservation",
    ".mesos.v1.Task.check",
    ".mesos.v1.Task.container",
    ".mesos.v1.Task.discovery",
    ".mesos.v1.Task.health_check",
    ".tepui.link.v1.FromMaster.body.run_task",
    ".tepui.link.v1.FromMaster.body.update_framework",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build");
    let root = Path::new("proto");
    let files = proto_files(root)?;
    let set = protox::compile(&files, [root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    generate_types(set.clone())?;
    let schema = Schema::of(&set);
    let code = format!("{}{}", json::generate(&schema), tables::generate(&schema));
    std::fs::write(out.join("_mesos.rs"), code)?;
    std::fs::write(out.join("_messages.rs"), json::message_list(&schema))?;
    std::fs::write(out.join("descriptors.bin"), set.encode_to_vec())?;
    Ok(())
}

fn proto_files(root: &Path) -> Result<Vec<PathBuf>, std::io::Error> {
    let folder = root.join("mesos/v1");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = vec![root.join("tepui/link/link.proto")];
    for entry in std::fs::read_dir(folder)? {
        files.push(entry?.path());
    }
    files.sort();
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    Ok(files)
}

fn generate_types(mut set: FileDescriptorSet) -> std::io::Result<()> {
    // A server has to serve what Mesos calls deprecated: no compiler warnings for its own code.
    for file in &mut set.file {
        file.message_type.iter_mut().for_each(undeprecate);
        file.enum_type.iter_mut().for_each(undeprecate_enum);
    }
    let mut prost = prost_build::Config::new();
    prost.include_file("_all.rs");
    prost.btree_map(["."]);
    prost.bytes(["."]);
    for rare in LARGE_AND_RARE {
        prost.boxed(rare);
    }
    prost.enable_type_names();
    prost.compile_well_known_types();
    tonic_prost_build::configure().codec_path("crate::link::LinkCodec").compile_fds_with_config(set, prost)
}

fn undeprecate(message: &mut DescriptorProto) {
    for options in message.field.iter_mut().filter_map(|field| field.options.as_mut()) {
        options.deprecated = None;
    }
    message.nested_type.iter_mut().for_each(undeprecate);
    message.enum_type.iter_mut().for_each(undeprecate_enum);
}

fn undeprecate_enum(kind: &mut EnumDescriptorProto) {
    for options in kind.value.iter_mut().filter_map(|value| value.options.as_mut()) {
        options.deprecated = None;
    }
}
