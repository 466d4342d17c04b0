//! Containers that a test plays.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::logic::{Event, Exit, ExitStatus, Found, KillCause, Launch, Run};
use agent::service::{MemoryStore, Parts, Paths, start_with};
use agent::{Config, ContainerTally, Containerizer, Pending, Reports, Running};
use model::ContainerId;
use tokio::sync::{Barrier, oneshot};

use crate::common::{TestMaster, eventually};

/// Remembers what it was told; the test tells the rest.
#[derive(Default)]
pub struct Fake {
    pub launched: Mutex<Vec<(Launch, Reports)>>,
    pub calls: Mutex<Vec<String>>,
    pub found: Mutex<BTreeMap<ContainerId, Found>>,
    pub statistics: Mutex<Option<runtime::Statistics>>,
    /// So many are asked what they use before the first answers, if it is set.
    pub together: Mutex<Option<Arc<Barrier>>>,
    pub tally: Mutex<ContainerTally>,
    /// Recovery waits for this, if it is set.
    pub recovers: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Fake {
    fn call(&self, line: String) {
        self.calls.lock().unwrap().push(line);
    }

    /// Waits for the launch of a number.
    pub async fn launched(&self, n: usize) -> (Launch, Reports) {
        eventually("a launch", async || self.launched.lock().unwrap().len() > n).await;
        self.launched.lock().unwrap()[n].clone()
    }

    /// Lets the launch of a number run.
    pub async fn start(&self, n: usize) -> ContainerId {
        let (launch, reports) = self.launched(n).await;
        let container = launch.run.container.clone();
        reports.tell(Event::ContainerPrepared { container: container.clone() });
        reports.tell(Event::ContainerStarted { container: container.clone(), pid: 42 });
        container
    }

    pub async fn exit(&self, n: usize, code: i32) {
        let (launch, reports) = self.launched(n).await;
        let exit = Exit { status: ExitStatus::Code(code), out_of_memory: false, killed: None };
        reports.tell(Event::ContainerExited { container: launch.run.container.clone(), exit });
    }
}

impl Containerizer for Fake {
    fn recover(&self) -> Pending<'_, Result<BTreeMap<ContainerId, Found>, String>> {
        let found = self.found.lock().unwrap().clone();
        let held = self.recovers.lock().unwrap().take();
        Box::pin(async move {
            if let Some(held) = held {
                held.await.unwrap();
            }
            Ok(found)
        })
    }

    fn launch(&self, launch: Launch, reports: Reports) {
        self.launched.lock().unwrap().push((launch, reports));
    }

    fn reattach(&self, run: Arc<Run>, reports: Reports) {
        self.call(format!("reattach {}", run.task));
        reports.tell(Event::ContainerStarted { container: run.container.clone(), pid: 42 });
    }

    fn kill(&self, container: &ContainerId, grace: Duration) {
        self.call(format!("kill {grace:?}"));
        let launched = self.launched.lock().unwrap();
        let reports = launched.iter().find(|(launch, _)| launch.run.container == *container);
        if let Some((_, reports)) = reports {
            let exit = Exit {
                status: ExitStatus::Signal(15),
                out_of_memory: false,
                killed: Some(KillCause::Requested),
            };
            reports.tell(Event::ContainerExited { container: container.clone(), exit });
        }
    }

    fn destroy(&self, _: &ContainerId) {
        self.call("destroy".to_owned());
    }

    fn statistics(&self, _: &ContainerId) -> Pending<'_, Option<runtime::Statistics>> {
        let told = self.statistics.lock().unwrap().clone();
        let together = self.together.lock().unwrap().clone();
        Box::pin(async move {
            if let Some(together) = together {
                together.wait().await;
            }
            told
        })
    }

    fn prune_images(&self, excluded: Vec<String>) -> Pending<'_, Result<(), String>> {
        self.call(format!("prune but {excluded:?}"));
        Box::pin(async { Ok(()) })
    }

    fn tally(&self) -> ContainerTally {
        self.tally.lock().unwrap().clone()
    }

    fn settled(&self) -> Pending<'_, ()> {
        Box::pin(async {})
    }
}

/// An agent with fakes around it.
pub struct Set {
    pub dir: tempfile::TempDir,
    pub fake: Arc<Fake>,
    pub store: MemoryStore,
    pub master: TestMaster,
}

impl Set {
    pub async fn new() -> Set {
        Set {
            dir: tempfile::tempdir().unwrap(),
            fake: Arc::default(),
            store: MemoryStore::default(),
            master: TestMaster::start().await,
        }
    }

    pub fn config_with(&self, more: &[(&str, &str)]) -> Config {
        let mut flags = model::flags::Values::defaults(agent::FLAGS);
        flags.set("work_dir", self.work_dir().to_str().unwrap());
        flags.set("port", "0");
        flags.set("registration_backoff_factor", "10ms");
        flags.set("resources", "cpus:4;mem:1024;disk:100;ports:[31000-31009];cpus(web):2");
        flags.set("attributes", "rack:r1;level:3");
        flags.set("hostname", "host-a");
        more.iter().for_each(|(name, value)| flags.set(name, *value));
        Config::from_flags(&flags).unwrap()
    }

    pub fn work_dir(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    pub fn paths(&self) -> Paths {
        Paths::new(self.work_dir())
    }

    pub async fn agent(&self) -> Running {
        self.agent_with(&[]).await
    }

    pub async fn agent_with(&self, flags: &[(&str, &str)]) -> Running {
        std::fs::create_dir_all(self.work_dir()).unwrap();
        let parts = Parts { containers: self.fake.clone(), store: Box::new(self.store.clone()) };
        let mut config = self.config_with(flags);
        // The same at each start, or the agent would be another one.
        config.advertise_port = Some(5051);
        start_with(config, self.master.detector(), parts).await.unwrap()
    }
}
