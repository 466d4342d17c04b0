//! Writes the seeds that are no text: `cargo run -p fuzz --example seeds` after the wire or the tar reader has changed.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;

use fuzz::seeds;
use prost::Message;
use wire::{Json, json, link, proto, v1};

fn write(target: &str, name: &str, bytes: &[u8]) {
    let folder = seeds::folder().join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}

/// The JSON seed of that name in protobuf.
fn protobuf<T: Json>(name: &str) {
    let text = fs::read(seeds::folder().join("json").join(name)).unwrap();
    let message: T = json::from_slice(&text[1..]).unwrap();
    write("protobuf", name, &[&text[..1], &proto::encode(&message)].concat());
}

fn messages() {
    for name in ["subscribe", "accept", "reconcile", "acknowledge"] {
        protobuf::<v1::scheduler::Call>(name);
    }
    protobuf::<v1::scheduler::Event>("update");
    protobuf::<v1::master::Call>("operator");
    protobuf::<v1::master::Call>("reserve");
    protobuf::<v1::agent::Call>("agent");
    protobuf::<v1::executor::Call>("executor");
    protobuf::<v1::maintenance::Schedule>("maintenance");
}

fn from_agent(name: &str, body: link::from_agent::Body) {
    write("link", name, &[vec![0], link::FromAgent { body: Some(body) }.encode_to_vec()].concat());
}

fn from_master(name: &str, body: impl Into<link::from_master::Body>) {
    write("link", name, &[vec![1], link::FromMaster::new(3, body).encode_to_vec()].concat());
}

fn links() {
    let agent = v1::AgentInfo { hostname: "h".into(), ..Default::default() };
    from_agent(
        "register",
        link::from_agent::Body::Register(link::Register { agent: Some(agent), ..Default::default() }),
    );
    from_agent("pong", link::from_agent::Body::Pong(link::Pong { sequence: 7 }));
    let status = v1::TaskStatus { uuid: Some(vec![1; 16].into()), ..Default::default() };
    let status = link::Status { framework_id: "f".into(), status: Some(status), latest_state: 1 };
    from_agent("status", link::from_agent::Body::Status(status));
    let task = v1::TaskInfo { name: "t".into(), ..Default::default() };
    let run = link::RunTask { framework: Some(v1::FrameworkInfo::default()), task: Some(task) };
    from_master("run", run);
    from_master("ping", link::from_master::Body::Ping(link::Ping { sequence: 1, connected: true }));
}

/// A tar of one's own making, with what layers are made of.
fn tars() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |kind: tar::EntryType, path: &str, link: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        header.set_mtime(1_700_000_000);
        header.set_uid(0);
        header.set_gid(0);
        if !link.is_empty() {
            header.set_link_name(link).unwrap();
        }
        builder.append_data(&mut header, path, content).unwrap();
    };
    add(tar::EntryType::Directory, "bin/", "", b"");
    add(tar::EntryType::Regular, "bin/sh", "", b"#!/bin/true\n");
    add(tar::EntryType::Symlink, "lib", "../../usr/lib", b"");
    add(tar::EntryType::Link, "bin/ash", "bin/sh", b"");
    add(tar::EntryType::Regular, "a/.wh.b", "", b"");
    add(tar::EntryType::Regular, "a/.wh..wh..opq", "", b"");
    add(tar::EntryType::Fifo, "pipe", "", b"");
    add(tar::EntryType::Regular, &format!("{}/name", "long".repeat(40)), "", b"x");
    let plain = builder.into_inner().unwrap();
    for target in ["tar", "unpack"] {
        write(target, "plain", &plain);
        write(target, "pax", &pax());
    }
}

/// An extended header with a path, a time and an attribute before a file.
fn pax() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let records = [("path", "usr/name"), ("mtime", "1700000000.5"), ("SCHILY.xattr.user.a", "b")];
    builder.append_pax_extensions(records.iter().map(|(key, value)| (*key, value.as_bytes()))).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(2);
    header.set_mode(0o4755);
    builder.append_data(&mut header, "name", &b"hi"[..]).unwrap();
    let mut bytes = builder.into_inner().unwrap();
    bytes.flush().unwrap();
    bytes
}

/// What `docker save` writes, as far as it is looked at before a pull.
fn archives() {
    let listing = br#"[{"Config":"c.json","RepoTags":["a:v1"],"Layers":["1/layer.tar"]}]"#;
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in [("manifest.json", &listing[..]), ("c.json", b"{}"), ("1/layer.tar", b"")] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content).unwrap();
    }
    write("archive", "saved", &builder.into_inner().unwrap());
    write("archive", "listing", listing);
}

fn specs() {
    let id = runtime::ContainerId::new("c1").unwrap();
    let mut spec = runtime::ContainerSpec::new(id, vec!["sh".into(), "-c".into(), "true".into()]);
    spec.env = vec![("A".into(), "b".into())];
    write("spec", "command", &serde_json::to_vec(&spec).unwrap());
    spec.rootfs = runtime::Rootfs::Overlay {
        lower: vec!["/a".into(), "/b".into()],
        upper: "/u".into(),
        work: "/w".into(),
    };
    spec.user = Some("1:2".into());
    write("spec", "image", &serde_json::to_vec(&spec).unwrap());
}

fn main() {
    messages();
    links();
    tars();
    archives();
    specs();
}
