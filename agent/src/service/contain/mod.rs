//! Containers for real: images pulled, snapshots made, keepers started, followed, killed and cleaned up after.
//!
//! One task of the event loop per container. Whatever fails, nothing of the container is left but its sandbox.

mod bounds;
mod command;
mod follow;
mod image;
mod spec;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use images::{ImageStore, PrunePolicy};
use model::ContainerId;
use runtime::{Ending, FailureKind, KillReason, Runtime, Statistics};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

use super::paths::Paths;
use super::sandbox;
use crate::containerizer::{ContainerTally, Containerizer, Pending, Reports};
use crate::logic::{
    Event, Exit, ExitStatus, Found, KillCause, Launch, LaunchFailure, LaunchFailureKind, Run,
};

use image::drop_rootfs;
pub(crate) use spec::{Common, wanted_image};

/// An end that is asked for.
#[derive(Clone, Copy, Debug)]
struct End {
    grace: Duration,
    why: Option<KillReason>,
}

/// Hears of the end that is asked for, if one is.
type Kill = watch::Receiver<Option<End>>;

/// Runs containers with the runtime crate.
#[derive(Clone)]
pub(crate) struct Containers(Arc<Inner>);

struct Inner {
    runtime: Runtime,
    images: ImageStore,
    paths: Paths,
    common: Common,
    kills: Mutex<BTreeMap<ContainerId, watch::Sender<Option<End>>>>,
    removals: watch::Sender<usize>,
    tally: Mutex<ContainerTally>,
    /// What the tally's times are told from.
    began: Instant,
}

impl Containers {
    pub(crate) fn new(runtime: Runtime, images: ImageStore, paths: Paths, common: Common) -> Containers {
        Containers(Arc::new(Inner {
            runtime,
            images,
            paths,
            common,
            kills: Mutex::default(),
            removals: watch::Sender::new(0),
            tally: Mutex::default(),
            began: Instant::now(),
        }))
    }

    /// Counts are whole whatever becomes of who counts.
    fn lock_tally(&self) -> std::sync::MutexGuard<'_, ContainerTally> {
        self.0.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a keeper wrote of an end.
    fn exit(&self, record: &runtime::ExitRecord) -> Exit {
        self.lock_tally().destroy_errors += u64::from(!record.left_behind.is_empty());
        of_record(record)
    }

    /// Lets a kill reach the container from now until its task ends.
    fn enlist(&self, container: &ContainerId) -> Kill {
        let (sender, kill) = watch::channel(None);
        self.kills().insert(container.clone(), sender);
        kill
    }

    fn end(&self, container: &ContainerId, end: End) {
        if let Some(sender) = self.kills().get(container) {
            sender.send_replace(Some(end));
        }
    }

    fn kills(&self) -> std::sync::MutexGuard<'_, BTreeMap<ContainerId, watch::Sender<Option<End>>>> {
        self.0.kills.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs something that blocks.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> Result<T, LaunchFailure> {
        let inner = self.0.clone();
        spawn_blocking(move || work(&inner))
            .await
            .map_err(|error| failed(format!("The agent is ending: {error}")))
    }

    /// Everything up to the keeper's start.
    async fn start(
        &self,
        launch: &Launch,
        kill: &mut Kill,
        reports: &Reports,
    ) -> Result<UnixStream, LaunchFailure> {
        let run = launch.run.clone();
        let container = run.container.clone();
        spec::check(&launch.task).map_err(invalid)?;
        let wanted = spec::wanted_image(&launch.task).map_err(invalid)?;
        let folder = self.blocking(move |inner| sandbox::make(&inner.paths, &run)).await?;
        let folder = folder.map_err(|error| failed(error.chain()))?;
        let image = match wanted {
            None => None,
            Some(wanted) => Some(self.rootfs(&container, wanted, kill).await?),
        };
        let image = image.as_ref().map(|(config, rootfs)| (config, rootfs.clone()));
        let spec = spec::spec(&self.0.common, launch, &folder, image).map_err(invalid)?;
        if kill.borrow().is_some() {
            return Err(killed());
        }
        reports.tell(Event::ContainerPrepared { container });
        let handle =
            self.blocking(move |inner| inner.runtime.launch(&spec)).await?.map_err(|error| match error {
                runtime::LaunchError::Failed { failure, .. } => of_failure(&failure),
                other => failed(crate::chain(&other)),
            })?;
        let stream = handle.into_stream();
        let connected = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
        connected.map_err(|error| failed(format!("Can't talk to the keeper of the container: {error}")))
    }

    /// A container's whole life, from its start.
    async fn live(self, launch: Launch, mut kill: Kill, reports: Reports) {
        let container = launch.run.container.clone();
        let last = match self.start(&launch, &mut kill, &reports).await {
            Ok(stream) => self.follow(&container, stream, &mut kill, &reports).await,
            Err(failure) => Event::ContainerFailed { container: container.clone(), failure },
        };
        if matches!(last, Event::ContainerFailed { .. } | Event::ContainerLost { .. }) {
            self.clear(&container).await;
        }
        self.kills().remove(&container);
        reports.tell(last);
    }

    /// A container's life from a restart of the agent on.
    async fn rejoin(self, container: ContainerId, mut kill: Kill, reports: Reports) {
        let last = match self.connect(&container).await {
            Some(stream) => self.follow(&container, stream, &mut kill, &reports).await,
            None => self.ending(&container).await,
        };
        self.kills().remove(&container);
        reports.tell(last);
    }

    /// A fault of ours must not leave a task without an end.
    fn watch(&self, container: ContainerId, life: JoinHandle<()>, reports: Reports) {
        let own = self.clone();
        tokio::spawn(async move {
            if life.await.is_err_and(|error| error.is_panic()) {
                own.remove(&container).await;
                let why = "The agent failed while it looked after the container".to_owned();
                reports.tell(Event::ContainerLost { container, why });
            }
        });
    }

    /// Kills what runs and removes what is there.
    async fn remove(&self, container: &ContainerId) {
        if let Some(stream) = self.connect(container).await {
            self.kill_now(container, stream).await;
        }
        self.clear(container).await;
    }

    /// Removes processes, cgroups, the record and the root filesystem of a container whose keeper is gone.
    async fn clear(&self, container: &ContainerId) {
        let (name, own) = (container.clone(), self.clone());
        let cleared = self.blocking(move |inner| {
            if let Ok(id) = runtime::ContainerId::new(name.as_str())
                && let Err(error) = inner.runtime.cleanup(&id)
            {
                tracing::warn!(container = %name, "{}", crate::chain(&error));
                own.lock_tally().destroy_errors += 1;
            }
            let folder = inner.paths.rootfs(&name);
            if let Err(error) = drop_rootfs(&inner.images, &folder) {
                tracing::warn!(container = %name, "can't remove {}: {error}", folder.display());
                own.lock_tally().rootfs_errors += 1;
            }
        });
        if let Err(failure) = cleared.await {
            tracing::warn!(%container, "{}", failure.message);
        }
    }
}

impl Containerizer for Containers {
    fn recover(&self) -> Pending<'_, Result<BTreeMap<ContainerId, Found>, String>> {
        let inner = self.0.clone();
        Box::pin(async move {
            let found = spawn_blocking(move || {
                let found = find(&inner.runtime);
                sweep(&inner, &found);
                found
            });
            found.await.map_err(|error| error.to_string())
        })
    }

    fn launch(&self, launch: Launch, reports: Reports) {
        let kill = self.enlist(&launch.run.container);
        let container = launch.run.container.clone();
        let life = tokio::spawn(Box::pin(self.clone().live(launch, kill, reports.clone())));
        self.watch(container, life, reports);
    }

    fn reattach(&self, run: Arc<Run>, reports: Reports) {
        let kill = self.enlist(&run.container);
        let life = tokio::spawn(self.clone().rejoin(run.container.clone(), kill, reports.clone()));
        self.watch(run.container.clone(), life, reports);
    }

    fn kill(&self, container: &ContainerId, grace: Duration) {
        self.end(container, End { grace, why: None });
    }

    fn evict(&self, container: &ContainerId) {
        self.end(container, End { grace: Duration::ZERO, why: Some(KillReason::DiskQuota) });
    }

    fn destroy(&self, container: &ContainerId) {
        self.0.removals.send_modify(|count| *count += 1);
        let (own, container) = (self.clone(), container.clone());
        tokio::spawn(async move {
            own.remove(&container).await;
            own.0.removals.send_modify(|count| *count -= 1);
        });
    }

    fn writable(&self, container: &ContainerId) -> Option<PathBuf> {
        let folder = self.0.paths.rootfs(container);
        // Overlayfs makes a folder in its work folder when it is mounted; without it `upper` holds the image itself.
        folder.join("work/work").is_dir().then(|| folder.join("upper"))
    }

    fn statistics(&self, container: &ContainerId) -> Pending<'_, Option<Statistics>> {
        let container = container.clone();
        Box::pin(async move {
            let id = runtime::ContainerId::new(container.as_str()).ok()?;
            let read = self.blocking(move |inner| inner.runtime.statistics(&id)).await.ok()?;
            let mut read =
                read.inspect_err(|error| tracing::debug!(%container, "{}", crate::chain(error))).ok()?;
            if read.pressure_low.is_none()
                && let Some(told) = self.told_by_keeper(&container).await
            {
                read.pressure_low = told.pressure_low;
                read.pressure_medium = told.pressure_medium;
                read.pressure_critical = told.pressure_critical;
            }
            // A container without cgroups has nothing to tell.
            (read != Statistics::default()).then_some(read)
        })
    }

    fn prune_images(&self, excluded: Vec<String>) -> Pending<'_, Result<(), String>> {
        Box::pin(self.prune(excluded, |keep| PrunePolicy {
            unused_for: Some(Duration::ZERO),
            keep,
            ..PrunePolicy::default()
        }))
    }

    fn tally(&self) -> ContainerTally {
        self.lock_tally().clone()
    }

    fn settled(&self) -> Pending<'_, ()> {
        Box::pin(async {
            let mut removals = self.0.removals.subscribe();
            // The sender is ours, so this can't fail.
            let _ = removals.wait_for(|count| *count == 0).await;
        })
    }
}

fn find(runtime: &Runtime) -> BTreeMap<ContainerId, Found> {
    let found = runtime.recover().into_iter().map(|container| {
        let state = match container.state {
            runtime::Found::Running(_) => Found::Running,
            runtime::Found::Ended(Ending::Exited(record)) => Found::Exited(of_record(&record)),
            runtime::Found::Ended(Ending::Failed(failure)) => Found::Failed(of_failure(&failure)),
            runtime::Found::Lost => Found::Lost(LOST.to_owned()),
        };
        (ContainerId::new(container.id.as_str()), state)
    });
    found.collect()
}

/// Removes root filesystems whose container is not there any more, such as after a reboot.
fn sweep(inner: &Inner, found: &BTreeMap<ContainerId, Found>) {
    let Ok(entries) = std::fs::read_dir(inner.paths.provisioner()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| !found.contains_key(name))
            && let Err(error) = drop_rootfs(&inner.images, &entry.path())
        {
            tracing::warn!("can't remove {}: {error}", entry.path().display());
        }
    }
}

const LOST: &str = "The container's keeper ended without an exit record, so nobody knows how the task ended";

fn failed(message: impl Into<String>) -> LaunchFailure {
    LaunchFailure { kind: LaunchFailureKind::Failed, message: message.into() }
}

fn invalid(message: impl Into<String>) -> LaunchFailure {
    LaunchFailure { kind: LaunchFailureKind::Invalid, message: message.into() }
}

fn killed() -> LaunchFailure {
    LaunchFailure { kind: LaunchFailureKind::Killed, message: "The task was killed".to_owned() }
}

fn of_failure(failure: &runtime::Failure) -> LaunchFailure {
    match failure.kind {
        FailureKind::Killed => killed(),
        _ => failed(format!("Can't start the container: {}", failure.message)),
    }
}

fn of_record(record: &runtime::ExitRecord) -> Exit {
    for left in &record.left_behind {
        tracing::warn!("left behind by a container: {left}");
    }
    Exit {
        status: match record.status {
            runtime::Exit::Code(code) => ExitStatus::Code(code),
            runtime::Exit::Signal(signal) => ExitStatus::Signal(signal),
        },
        out_of_memory: record.oom_kills > 0,
        killed: record.killed_by_us.map(|reason| match reason {
            KillReason::Requested => KillCause::Requested,
            KillReason::CompletionTime => KillCause::CompletionTime,
            KillReason::DiskQuota => KillCause::DiskQuota,
        }),
    }
}
