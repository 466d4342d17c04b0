//! Images of tasks: where they may come from, pulling them, root filesystems, and removing those that nobody uses.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use images::{DockerConfig, ImageName, ImageStore, NoProgress, PrunePolicy, PullOptions};
use model::ContainerId;
use runtime::Rootfs;

use super::{Containers, Kill, failed, invalid, killed, spec};
use crate::config::ImageCollection;
use crate::logic::LaunchFailure;

impl Containers {
    /// Pulls the image and makes a root filesystem of it.
    pub(super) async fn rootfs(
        &self,
        container: &ContainerId,
        wanted: spec::WantedImage,
        kill: &mut Kill,
    ) -> Result<(images::ImageConfig, Rootfs), LaunchFailure> {
        let images = &self.0.images;
        let name = images.name(&wanted.name).map_err(|error| invalid(crate::chain(&error)))?;
        self.allowed(&name).map_err(invalid)?;
        let secret = wanted.secret.as_deref().map(DockerConfig::parse).transpose();
        let secret = secret.map_err(|error| {
            // What the secret holds must not be told.
            tracing::debug!("{}", crate::chain(&error));
            invalid("The image's config is no config.json as Docker writes it")
        })?;
        let options = PullOptions { force: wanted.force, secret };
        let began = Instant::now();
        let image = tokio::select! {
            pulled = images.pull(&name, options, Arc::new(NoProgress)) => pulled,
            _ = kill.wait_for(Option::is_some) => return Err(killed()),
        };
        self.lock_tally().pulled(self.0.began.elapsed(), began.elapsed());
        let image = image.map_err(|error| {
            failed(format!("Can't pull the image '{}': {}", wanted.name, crate::chain(&error)))
        })?;
        let container = container.clone();
        self.blocking(move |inner| {
            let folder = inner.paths.rootfs(&container);
            make_private(&folder)
                .map_err(|error| failed(format!("Can't make {}: {error}", folder.display())))?;
            let snapshot = inner.images.snapshot(&image, &folder).map_err(|error| {
                failed(format!("Can't make a root filesystem of '{}': {}", wanted.name, crate::chain(&error)))
            })?;
            let rootfs = if snapshot.lower.is_empty() {
                Rootfs::Directory(snapshot.upper)
            } else {
                Rootfs::Overlay { lower: snapshot.lower, upper: snapshot.upper, work: snapshot.work }
            };
            Ok((image.config, rootfs))
        })
        .await?
    }

    /// Whether a task may name this image: local ones only where the operator says so.
    fn allowed(&self, name: &ImageName) -> Result<(), String> {
        let path = match name {
            ImageName::Registry(_) => return Ok(()),
            ImageName::Layout(layout) => &layout.dir,
            ImageName::Archive(archive) => &archive.file,
        };
        let Some(dirs) = &self.0.common.local_image_dirs else { return Ok(()) };
        // Where it really lies. What is not there can't be read from elsewhere either. Who exchanges it afterwards is found
        // by the store, which asks again of what it has opened.
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let below = |dir: &Path| std::fs::canonicalize(dir).is_ok_and(|dir| real.starts_with(dir));
        if dirs.iter().any(|dir| below(dir)) {
            return Ok(());
        }
        Err(format!("The image {} lies outside of what --local_image_dirs allows", path.display()))
    }

    /// Removes images that nobody uses, as the policy says that is made of the names that stay.
    pub(super) async fn prune(
        &self,
        excluded: Vec<String>,
        policy: impl FnOnce(Vec<ImageName>) -> PrunePolicy + Send,
    ) -> Result<(), String> {
        let names = excluded.iter().chain(&self.0.common.excluded_images);
        let keep: Result<Vec<ImageName>, _> = names.map(|name| self.0.images.name(name)).collect();
        let keep = keep.map_err(|error| crate::chain(&error))?;
        let report = self.0.images.prune(policy(keep)).await.map_err(|error| crate::chain(&error))?;
        if !report.names.is_empty() || report.layers > 0 {
            tracing::info!(
                images = report.names.len(),
                layers = report.layers,
                bytes = report.bytes,
                "removed images"
            );
        }
        Ok(())
    }

    /// Removes unused images whenever the disk is too full, until the agent ends. Mesos: `--image_gc_config`.
    pub(crate) async fn collect_images(self, collection: ImageCollection) {
        loop {
            tokio::time::sleep(collection.interval).await;
            let policy =
                |keep| PrunePolicy { headroom: Some(collection.headroom), keep, ..PrunePolicy::default() };
            if let Err(why) = self.prune(Vec::new(), policy).await {
                tracing::warn!("can't remove unused images: {why}");
            }
        }
    }
}

pub(super) fn drop_rootfs(images: &ImageStore, folder: &Path) -> Result<(), String> {
    if let Some(snapshot) = images.find_snapshot(folder).map_err(|error| crate::chain(&error))? {
        snapshot.remove().map_err(|error| crate::chain(&error))?;
    }
    images::remove_tree(folder).map_err(|error| error.to_string())
}

fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
