//! Checkpoints in the work folder, in Mesos' layout (see [`Paths`]).
//!
//! A file is replaced by writing another and renaming it; `task.updates` is appended to. Both are on disk before
//! they are reported. Room for a task's updates is set aside when it starts, so a disk that fills up later does not
//! keep its end from being told.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use model::{AgentId, Timestamp};
use wire::v1;

use super::disk::{
    EXECUTOR_INFO, FRAMEWORK_INFO, Folders, LATEST, damaged, failed, names, point, read_bytes, read_file,
    remove_run, replace, replace_bytes, reserve, touched,
};
use super::record::{self, UpdateRecord};
use super::{CheckpointError, CheckpointStore, insert};
use crate::logic::{Recovered, RecoveredFramework, RecoveredRun, RecoveredUpdate, Run, Write};
use crate::names::{decode, encode};
use crate::service::paths::{Paths, run_of};

const BOOT_ID: &str = "boot_id";
const SLAVE_INFO: &str = "slave.info";
const TASK_INFO: &str = "task.info";
const TASK_UPDATES: &str = "task.updates";
const SENTINEL: &str = "executor.sentinel";

/// Checkpoints on disk.
#[derive(Debug)]
pub struct FileStore {
    paths: Paths,
    /// Damage stops the agent.
    strict: bool,
    boot_id: String,
    /// The boot id is still to be written, before anything else is.
    unsettled: bool,
}

impl FileStore {
    /// Below this work folder. `boot_id` names this start of the host.
    pub fn new(paths: Paths, strict: bool, boot_id: impl Into<String>) -> FileStore {
        FileStore { paths, strict, boot_id: boot_id.into(), unsettled: false }
    }

    /// What names this start of the host.
    ///
    /// # Errors
    /// The kernel doesn't say.
    pub fn host_boot_id() -> Result<String, CheckpointError> {
        let path = Path::new("/proc/sys/kernel/random/boot_id");
        let text = fs::read_to_string(path).map_err(|e| failed("read", path, e))?;
        Ok(text.trim().to_owned())
    }

    /// Passes an error on, or in the lax mode only warns of it.
    fn lax<T>(
        &self,
        outcome: Result<T, CheckpointError>,
        warn: &mut dyn FnMut(String),
    ) -> Result<Option<T>, CheckpointError> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(error) if self.strict => Err(error),
            Err(error) => {
                warn(error.chain());
                Ok(None)
            }
        }
    }

    fn load_agent(&self) -> Result<Option<(AgentId, v1::AgentInfo)>, CheckpointError> {
        let link = self.paths.meta().join("slaves").join(LATEST);
        let target = match fs::read_link(&link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|e| failed("read the link", &link, e))?,
        };
        let name = target.file_name().and_then(|name| name.to_str()).and_then(decode);
        let Some(id) = name.map(AgentId::new) else {
            return Err(damaged(&link, "it does not lead to the folder of an agent"));
        };
        let file = self.paths.meta_agent(&id).join(SLAVE_INFO);
        let info: v1::AgentInfo = read_file(&file)?;
        if info.id.as_ref().map(AgentId::from).as_ref() != Some(&id) {
            return Err(damaged(&file, "it names another agent"));
        }
        Ok(Some((id, info)))
    }

    fn load_framework(
        &self,
        folder: &Path,
        agent: &AgentId,
        warn: &mut dyn FnMut(String),
    ) -> Result<Option<RecoveredFramework>, CheckpointError> {
        let file = folder.join(FRAMEWORK_INFO);
        if !file.exists() {
            // A crash came between making the folder and writing the file: nothing was launched yet.
            return Ok(None);
        }
        let Some(info) = self.lax(read_file::<v1::FrameworkInfo>(&file), warn)? else { return Ok(None) };
        let mut runs = Vec::new();
        for executor in names(&folder.join("executors"))? {
            let folder = folder.join("executors").join(&executor).join("runs");
            for container in names(&folder)?.into_iter().filter(|name| name != LATEST) {
                let framework = info.id.as_ref().map_or("", |id| id.value.as_str());
                let run =
                    run_of(&encode(agent.as_str()), &encode(framework), &executor, &container).map(Arc::new);
                let Some(run) = run else { continue };
                let loaded = self.load_run(&folder.join(&container), run);
                runs.extend(self.lax(loaded, warn)?.flatten());
            }
        }
        Ok(Some(RecoveredFramework { info: Arc::new(info), runs }))
    }

    fn load_run(&self, folder: &Path, run: Arc<Run>) -> Result<Option<RecoveredRun>, CheckpointError> {
        let task = folder.join("tasks").join(encode(run.task.as_str()));
        let file = task.join(TASK_INFO);
        if !file.exists() {
            // The crash came before the launch.
            return Ok(None);
        }
        let info: v1::TaskInfo = read_file(&file)?;
        let updates = load_updates(&task.join(TASK_UPDATES))?;
        let done = folder.join(SENTINEL).exists();
        let touched = touched(&task.join(TASK_UPDATES)).or_else(|| touched(&file)).unwrap_or_default();
        Ok(Some(RecoveredRun { run, info: Arc::new(info), updates, done, touched }))
    }

    /// Sandboxes that no checkpoint names.
    fn strays(&self, recovered: &Recovered) -> Result<Vec<(Timestamp, Arc<Run>)>, CheckpointError> {
        let known: BTreeSet<&Run> =
            recovered.frameworks.values().flat_map(|f| f.runs.iter().map(|r| &*r.run)).collect();
        let mut strays = Vec::new();
        let root = self.paths.sandboxes();
        for agent in names(&root)? {
            let frameworks = root.join(&agent).join("frameworks");
            for framework in names(&frameworks)? {
                let executors = frameworks.join(&framework).join("executors");
                for executor in names(&executors)? {
                    let runs = executors.join(&executor).join("runs");
                    for container in names(&runs)?.into_iter().filter(|name| name != LATEST) {
                        let run = run_of(&agent, &framework, &executor, &container);
                        if let Some(run) = run.filter(|run| !known.contains(run)) {
                            let at = touched(&runs.join(&container)).unwrap_or_default();
                            strays.push((at, Arc::new(run)));
                        }
                    }
                }
            }
        }
        Ok(strays)
    }

    /// Removes what is left of agents that this one was before: their checkpoints, once none of their sandboxes is
    /// there any more.
    fn sweep(&self, recovered: &Recovered, warn: &mut dyn FnMut(String)) -> Result<(), CheckpointError> {
        let current = recovered.agent.as_ref().and_then(|info| info.id.as_ref()).map(|id| encode(&id.value));
        let waiting: BTreeSet<String> =
            recovered.strays.iter().map(|(_, run)| encode(run.agent.as_str())).collect();
        let meta = self.paths.meta().join("slaves");
        for root in [&meta, &self.paths.sandboxes()] {
            for name in names(root)? {
                let former = current.as_ref() != Some(&name) && !waiting.contains(&name);
                // Nothing of ours has a name that is no id.
                if former && name != LATEST && decode(&name).is_some() {
                    let folder = root.join(&name);
                    let removed = images::remove_tree(&folder).map_err(|e| failed("remove", &folder, e));
                    removed.unwrap_or_else(|error| warn(error.chain()));
                }
            }
        }
        Ok(())
    }

    fn write_task(
        &self,
        run: &Run,
        framework: &v1::FrameworkInfo,
        task: &v1::TaskInfo,
    ) -> Result<(), CheckpointError> {
        let mut folders = Folders::default();
        self.write_framework(&run.agent, framework, &mut folders)?;
        let folder = self.paths.meta_run(run);
        let tasks = folder.join("tasks").join(encode(run.task.as_str()));
        folders.make(&tasks)?;
        if let Some(executor) = folder.ancestors().nth(2) {
            let file = executor.join(EXECUTOR_INFO);
            // For people: nothing depends on it.
            fs::write(&file, record::frame(&executor_info(run, task)))
                .map_err(|e| failed("write", &file, e))?;
            point(&executor.join("runs").join(LATEST), run.container.as_str())?;
        }
        reserve(&tasks.join(TASK_UPDATES))?;
        // Last of all: a run without it was never launched.
        replace(&tasks.join(TASK_INFO), task)?;
        folders.changed.insert(tasks);
        folders.sync()
    }

    fn write_framework(
        &self,
        agent: &AgentId,
        info: &v1::FrameworkInfo,
        folders: &mut Folders,
    ) -> Result<(), CheckpointError> {
        let Some(id) = info.id.as_ref().map(Into::into) else { return Ok(()) };
        let folder = self.paths.meta_framework(agent, &id);
        folders.make(&folder)?;
        let file = folder.join(FRAMEWORK_INFO);
        if read_file::<v1::FrameworkInfo>(&file).is_ok_and(|have| have == *info) {
            return Ok(());
        }
        replace(&file, info)?;
        folders.changed.insert(folder);
        Ok(())
    }

    fn append(&self, run: &Run, entry: &UpdateRecord) -> Result<(), CheckpointError> {
        let file = self.paths.meta_run(run).join("tasks").join(encode(run.task.as_str())).join(TASK_UPDATES);
        let mut open = OpenOptions::new().append(true).open(&file).map_err(|e| failed("open", &file, e))?;
        let before = open.metadata().map_err(|e| failed("look at", &file, e))?.len();
        let written = open.write_all(&record::frame(entry)).and_then(|()| match entry.acknowledged {
            // Losing one to a power failure only makes the agent send an update once more, as it may at any time.
            Some(_) => Ok(()),
            None => open.sync_data(),
        });
        written.map_err(|error| {
            // Half a record would end the reading of those that come later.
            let _ = open.set_len(before);
            failed("append to", &file, error)
        })
    }
}

impl CheckpointStore for FileStore {
    fn load(&mut self, warn: &mut dyn FnMut(String)) -> Result<Recovered, CheckpointError> {
        let meta = self.paths.meta();
        let mut folders = Folders::default();
        folders.make(&meta.join("slaves"))?;
        let mut recovered = Recovered::default();
        folders.sync()?;
        // It is written when what follows of a reboot is settled: a start that fails before must not be the last that
        // knows of it.
        let before = fs::read_to_string(meta.join(BOOT_ID)).ok();
        recovered.rebooted = before.as_deref().is_some_and(|before| before.trim() != self.boot_id);
        if let Some((id, info)) = self.lax(self.load_agent(), warn)?.flatten() {
            recovered.agent = Some(info);
            let frameworks = self.paths.meta_agent(&id).join("frameworks");
            for name in names(&frameworks)? {
                if let Some(framework) = self.load_framework(&frameworks.join(name), &id, warn)? {
                    insert(&mut recovered, framework);
                }
            }
        }
        recovered.strays = self.strays(&recovered)?;
        self.sweep(&recovered, warn)?;
        Ok(recovered)
    }

    fn settle(&mut self) -> Result<(), CheckpointError> {
        self.unsettled = true;
        let meta = self.paths.meta();
        replace_bytes(&meta.join(BOOT_ID), self.boot_id.as_bytes())?;
        let mut folders = Folders::default();
        folders.changed.insert(meta);
        folders.sync()?;
        self.unsettled = false;
        Ok(())
    }

    fn write(&mut self, write: &Write) -> Result<(), CheckpointError> {
        if self.unsettled {
            self.settle()?;
        }
        match write {
            Write::Agent(info) => {
                let Some(id) = info.id.as_ref().map(AgentId::from) else { return Ok(()) };
                let folder = self.paths.meta_agent(&id);
                let slaves = self.paths.meta().join("slaves");
                let mut folders = Folders::default();
                folders.make(&folder)?;
                replace(&folder.join(SLAVE_INFO), &**info)?;
                folders.changed.insert(folder);
                point(&slaves.join(LATEST), &encode(id.as_str()))?;
                folders.changed.insert(slaves);
                folders.sync()
            }
            Write::Framework { agent, info } => {
                let mut folders = Folders::default();
                self.write_framework(agent, info, &mut folders)?;
                folders.sync()
            }
            Write::Task { run, framework, task } => {
                let written = self.write_task(run, framework, task);
                if written.is_err() {
                    // Nothing of a task that could not be written down is left.
                    let _ = self.collect(run);
                }
                written
            }
            Write::Update { run, status } => {
                let entry = UpdateRecord { update: Some((**status).clone()), acknowledged: None };
                self.append(run, &entry)
            }
            Write::Acknowledged { run, uuid } => {
                let entry = UpdateRecord { update: None, acknowledged: Some(uuid.clone()) };
                self.append(run, &entry)
            }
            Write::Done { run } => {
                let folder = self.paths.meta_run(run);
                if !folder.exists() {
                    return Ok(());
                }
                let file = folder.join(SENTINEL);
                File::create(&file).and_then(|f| f.sync_all()).map_err(|e| failed("create", &file, e))
            }
        }
    }

    fn collect(&mut self, run: &Run) -> Result<(), CheckpointError> {
        remove_run(&self.paths.meta_run(run))
    }

    fn forget_agent(&mut self) -> Result<(), CheckpointError> {
        let link = self.paths.meta().join("slaves").join(LATEST);
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &link, error)),
            _ => Ok(()),
        }
    }
}

fn executor_info(run: &Run, task: &v1::TaskInfo) -> v1::ExecutorInfo {
    v1::ExecutorInfo {
        executor_id: (&run.executor).into(),
        framework_id: Some((&run.framework).into()),
        name: Some(crate::executor_name(task)),
        source: Some(run.task.as_str().to_owned()),
        command: task.command.clone(),
        ..Default::default()
    }
}

fn load_updates(file: &Path) -> Result<Vec<RecoveredUpdate>, CheckpointError> {
    let bytes = match read_bytes(file) {
        Err(CheckpointError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        other => other?,
    };
    let read = record::read::<UpdateRecord>(&bytes).map_err(|why| damaged(file, &why))?;
    if read.whole < bytes.len() {
        let open = OpenOptions::new().write(true).open(file).map_err(|e| failed("open", file, e))?;
        let length = u64::try_from(read.whole).unwrap_or(u64::MAX);
        open.set_len(length).and_then(|()| open.sync_all()).map_err(|e| failed("cut", file, e))?;
    }
    let mut updates: Vec<RecoveredUpdate> = Vec::new();
    for entry in read.messages {
        if let Some(status) = entry.update {
            updates.push(RecoveredUpdate { status: Arc::new(status), acknowledged: false });
        }
        if let Some(uuid) = entry.acknowledged {
            let named = updates.iter_mut().filter(|u| u.status.uuid.as_ref() == Some(&uuid));
            named.for_each(|update| update.acknowledged = true);
        }
    }
    Ok(updates)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
