//! Fuzz targets: every parser that reads from outside, with what must hold for whatever it reads.
//!
//! A target takes bytes and panics when a property is broken: what is written is read again, what is read in pieces is
//! what is read at once, an input costs no more memory than its size allows. `scripts/fuzz.sh` drives them by coverage;
//! the tests here run each on its seeds, `fuzz/corpus/<target>`, so a crash that was found and put there stays fixed.

#![forbid(unsafe_code)]

pub mod memory;
pub mod seeds;
mod targets;

/// One parser under test.
#[derive(Debug)]
pub struct Target {
    /// Its name, and that of its folder of seeds.
    pub name: &'static str,
    /// Longest input worth trying, in bytes.
    pub most: usize,
    /// Most memory that an input may cost, in bytes: so much, and so much per byte of it.
    memory: (usize, usize),
    check: fn(&[u8]),
}

impl Target {
    /// Runs it on one input.
    ///
    /// # Panics
    /// When a property is broken.
    pub fn run(&self, data: &[u8]) {
        let (fixed, per_byte) = self.memory;
        memory::within(fixed + per_byte * data.len(), || (self.check)(data));
    }
}

const KB: usize = 1 << 10;
const MB: usize = 1 << 20;

const fn target(name: &'static str, most: usize, memory: (usize, usize), check: fn(&[u8])) -> Target {
    Target { name, most, memory, check }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    // The limits of `wire` itself (64 MB and 64 bytes a byte), for the message, its copy and their texts.
    target("json", 8 * KB, (200 * MB, 400), targets::messages::json),
    target("protobuf", 8 * KB, (200 * MB, 400), targets::messages::protobuf),
    target("recordio", 4 * KB, (256 * KB, 64), targets::streams::recordio),
    target("keeper", 4 * KB, (MB, 200), targets::streams::keeper),
    target("link", 8 * KB, (4 * MB, 2000), targets::messages::link),
    target("headers", 2 * KB, (MB, 200), targets::http::headers),
    target("query", 2 * KB, (256 * KB, 200), targets::http::query),
    target("paths", 2 * KB, (MB, 400), targets::http::paths),
    target("reference", KB, (64 * KB, 100), targets::images::reference),
    target("manifest", 8 * KB, (MB, 400), targets::images::manifest),
    target("image_config", 8 * KB, (MB, 400), targets::images::config),
    target("docker_config", 4 * KB, (MB, 400), targets::images::docker_config),
    target("challenge", 2 * KB, (MB, 400), targets::images::challenge),
    target("tar", 16 * KB, (3 * MB, 100), targets::images::tar),
    target("archive", 16 * KB, (3 * MB, 100), targets::images::archive),
    target("unpack", 16 * KB, (6 * MB, 400), targets::images::unpack),
    // A pool of buffers, and what zlib and zstd take: a window of 8 MB and some.
    target("layer", 4 * KB, (32 * MB, 4000), targets::images::layer),
    target("registry", 4 * KB, (MB, 400), targets::images::registry),
    target("accounts", 4 * KB, (MB, 400), targets::images::accounts),
    target("resources", 2 * KB, (MB, 1000), targets::flags::resources),
    target("attributes", 2 * KB, (MB, 1000), targets::flags::attributes),
    target("agent_flags", 4 * KB, (2 * MB, 1000), targets::flags::agent),
    target("master_flags", 4 * KB, (2 * MB, 1000), targets::flags::master),
    target("security", 4 * KB, (MB, 400), targets::security::any),
    target("ensemble", 4 * KB, (MB, 400), targets::leading::nodes),
    target("master_registry", 8 * KB, (4 * MB, 2000), targets::leading::registry),
    target("spec", 8 * KB, (MB, 400), targets::streams::spec),
    target("ending", 4 * KB, (MB, 400), targets::streams::ending),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_holds_on_its_seeds() {
        for target in TARGETS {
            let seeds = seeds::of(target.name);
            assert!(!seeds.is_empty(), "{} has no seeds", target.name);
            for (path, bytes) in seeds {
                println!("{}", path.display());
                target.run(&bytes);
                // Half of a good input is a bad one.
                target.run(&bytes[..bytes.len() / 2]);
            }
        }
    }

    #[test]
    fn seeds_are_few_and_each_folder_has_a_target() {
        let folders = std::fs::read_dir(seeds::folder()).unwrap();
        for folder in folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
            assert!(TARGETS.iter().any(|target| target.name == folder), "{folder}");
        }
        let sizes = TARGETS.iter().flat_map(|target| seeds::of(target.name)).map(|(_, bytes)| bytes.len());
        let total: usize = sizes.sum();
        assert!(total < 300_000, "{total} bytes");
    }
}
