//! Looking at everything in the store again: documents by their digests, layers by their seals, names by what they need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::error::StoreError;
use super::layers::{self, LayerRecord};
use super::{Inner, Pointer, files, seal};
use crate::digest::Digest;

/// What was looked at and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Names looked at.
    pub names: usize,
    /// Manifests and configurations looked at.
    pub documents: usize,
    /// Layers looked at.
    pub layers: usize,
    /// Bytes of layers' files that were read.
    pub bytes: u64,
    /// What is wrong, in the order in which it was found.
    pub problems: Vec<Problem>,
}

/// Something that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Digest of a layer or document, or the name of an image.
    pub what: String,
    /// What is wrong with it.
    pub why: String,
    /// Where it is, if it is there.
    pub path: Option<PathBuf>,
    /// Names of images that need it.
    pub images: Vec<String>,
    /// Whether it was removed, so that the next pull fetches it; `None` when nobody asked for that.
    pub repaired: Option<bool>,
}

/// Which part of the store a problem is in.
enum Place {
    Document(&'static str, Digest),
    Layer(Digest),
    Name(String),
    Garbled(PathBuf),
}

/// One look at the store.
struct Look<'a> {
    store: &'a Inner,
    found: Verification,
    places: Vec<Place>,
    /// Names that need each digest.
    users: BTreeMap<Digest, BTreeSet<String>>,
}

impl Inner {
    /// Reads everything; with `repair` removes what is damaged and not in use.
    pub(super) fn verify(&self, repair: bool) -> Result<Verification, StoreError> {
        self.seal()?;
        let mut look =
            Look { store: self, found: Verification::default(), places: Vec::new(), users: BTreeMap::new() };
        let pointers = look.read_names()?;
        for kind in ["manifests", "configs"] {
            look.documents(kind)?;
        }
        look.layers()?;
        look.incomplete(&pointers)?;
        if repair {
            look.repair()?;
        }
        Ok(look.found)
    }
}

impl Look<'_> {
    fn problem(&mut self, place: Place, why: impl Into<String>) {
        let (what, path, users) = match &place {
            Place::Document(kind, digest) => {
                (digest.to_string(), Some(self.store.root.by_digest(kind, digest)), self.users.get(digest))
            }
            Place::Layer(digest) => (
                digest.to_string(),
                Some(self.store.root.by_digest("layers", digest)),
                self.users.get(digest),
            ),
            Place::Name(name) => (name.clone(), None, None),
            Place::Garbled(path) => ("a name".to_owned(), Some(path.clone()), None),
        };
        let images = users.into_iter().flatten().cloned().collect();
        self.found.problems.push(Problem { what, why: why.into(), path, images, repaired: None });
        self.places.push(place);
    }

    /// Names whose records can be read; what they need is remembered.
    fn read_names(&mut self) -> Result<Vec<Pointer>, StoreError> {
        let dir = self.store.root.dir("names");
        let mut pointers = Vec::new();
        for file in files::names_in(&dir)? {
            let path = dir.join(file);
            match files::read_record::<Pointer>(&path)? {
                Some(pointer) => pointers.push(pointer),
                None if path.exists() => self.problem(Place::Garbled(path), "its record can't be read"),
                None => {}
            }
        }
        for pointer in &pointers {
            let layers = self.store.parts(pointer)?.map(|parts| parts.layers).unwrap_or_default();
            let layers = layers.into_iter().map(|layer| layer.diff_id);
            for digest in layers.chain([pointer.manifest.clone(), pointer.config.clone()]) {
                self.users.entry(digest).or_default().insert(pointer.name.clone());
            }
        }
        self.found.names = pointers.len();
        Ok(pointers)
    }

    fn documents(&mut self, kind: &'static str) -> Result<(), StoreError> {
        for digest in self.store.root.digests(kind)? {
            self.found.documents += 1;
            let there = self.store.root.by_digest(kind, &digest).exists();
            if self.store.document(kind, &digest)?.is_none() && there {
                self.problem(Place::Document(kind, digest), "its content has another digest");
            }
        }
        Ok(())
    }

    fn layers(&mut self) -> Result<(), StoreError> {
        for diff_id in self.store.root.digests("layers")? {
            let dir = self.store.root.by_digest("layers", &diff_id);
            // The lease keeps it where it is while it is read.
            let Some(_lease) = self.store.lease(&diff_id)? else {
                if dir.exists() {
                    self.found.layers += 1;
                    self.problem(Place::Layer(diff_id), "its record or its files are missing");
                }
                continue;
            };
            self.found.layers += 1;
            let sealed = files::read_small(&dir.join(layers::SEAL), 200)?;
            let sealed = sealed.and_then(|text| String::from_utf8(text).ok()?.parse::<Digest>().ok());
            let why = match (sealed, seal::of(&dir.join("fs"))) {
                (_, Err(error)) => format!("its files can't be read ({})", std::io::Error::from(error)),
                (None, _) => "its seal is missing".to_owned(),
                (Some(sealed), Ok((now, bytes))) => {
                    self.found.bytes += bytes;
                    if sealed == now {
                        continue;
                    }
                    "its files are not what was unpacked".to_owned()
                }
            };
            self.problem(Place::Layer(diff_id), why);
        }
        Ok(())
    }

    /// Names that lack something, be it damaged or gone.
    fn incomplete(&mut self, pointers: &[Pointer]) -> Result<(), StoreError> {
        for pointer in pointers {
            let Some(parts) = self.store.parts(pointer)? else {
                self.problem(
                    Place::Name(pointer.name.clone()),
                    "its manifest or configuration is missing or damaged",
                );
                continue;
            };
            let missing = |layer: &&super::Layer| {
                let dir = self.store.root.by_digest("layers", &layer.diff_id);
                files::read_record::<LayerRecord>(&dir.join("layer.json")).ok().flatten().is_none()
            };
            let missing = parts.layers.iter().filter(missing).count();
            if missing > 0 {
                let why = format!("{missing} of its {} layers are missing", parts.layers.len());
                self.problem(Place::Name(pointer.name.clone()), why);
            }
        }
        Ok(())
    }

    fn repair(&mut self) -> Result<(), StoreError> {
        let locked = self.store.root.lock()?;
        let snapshots = self.store.snapshots()?;
        let mut hidden = Vec::new();
        for (place, problem) in self.places.iter().zip(&mut self.found.problems) {
            problem.repaired = Some(match place {
                Place::Garbled(path) => files::remove_file(path)?,
                Place::Document(kind, digest) => {
                    files::remove_file(&self.store.root.by_digest(kind, digest))?
                }
                Place::Name(name) => files::remove_file(&self.store.root.by_name("names", name.as_bytes()))?,
                Place::Layer(diff_id) => {
                    let dir = self.store.root.by_digest("layers", diff_id);
                    let user = snapshots.iter().find(|record| record.layers.contains(diff_id));
                    if let Some(record) = user {
                        problem.why += &format!("; in use by {}", record.dir.display());
                    }
                    match layers::seize(&dir)?.filter(|_| user.is_none()) {
                        Some(_lock) => {
                            hidden.extend(self.store.hide(&dir)?);
                            true
                        }
                        None => false,
                    }
                }
            });
        }
        drop(locked);
        hidden.iter().try_for_each(|layer| layers::remove(layer))
    }
}
