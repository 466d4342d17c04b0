//! ACCEPT to TASK_RUNNING for a cached image, through a real master and agent; memory of a keeper, an agent, a master.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use coordination::Standalone;
use model::Role;
use sdk::launch::{self, CommandTask};
use sdk::scheduler::News;
use sdk::{Client, Notice, Options, Scheduler};
use wire::media::Media;
use wire::v1::scheduler::{Event, event};
use wire::v1::{FrameworkInfo, Offer, TaskState, TaskStatus};

use crate::cluster::{Cluster, busybox_layout, ended, keepers, logs, private_mb, wait_until};
use crate::figures::{Figures, millis, percentile};

const TASKS: usize = 100;
const WARM_UP: usize = 5;

pub fn run(figures: &mut Figures) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("tepui-bench-").tempdir_in("/var/tmp")?;
    let image = busybox_layout(dir.path())?;
    let cluster = Cluster::start(dir.path())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(measure(&cluster, &image));
    let (times, keeper) = outcome.with_context(|| logs(dir.path()))?;
    figures.note("ACCEPT to TASK_RUNNING, cached image: p50", &millis(percentile(&times, 50)));
    figures.note("ACCEPT to TASK_RUNNING, cached image: p99", &millis(percentile(&times, 99)));
    figures.at_most("private memory of a keeper", keeper, " MB", 2.5);
    wait_until("the last keeper to end", || keepers().is_empty())?;
    figures.at_most(
        "resident memory of the agent, idle after the tasks",
        cluster.agent.resident_mb()?,
        " MB",
        30.0,
    );
    figures.at_most(
        "resident memory of the master, idle after the tasks",
        cluster.master.resident_mb()?,
        " MB",
        30.0,
    );
    Ok(())
}

/// One framework that runs one task at a time.
struct Bench {
    scheduler: Scheduler,
    image: String,
    launched: usize,
    sent: Option<Instant>,
    times: Vec<Duration>,
}

async fn measure(cluster: &Cluster, image: &str) -> Result<(Vec<Duration>, f64)> {
    let detector = Standalone::at(format!("127.0.0.1:{}", cluster.master_port).parse()?);
    let info = FrameworkInfo { user: "root".into(), name: "bench".into(), ..Default::default() };
    let client = Client::new(sdk::http::Http::new(), Media::Protobuf);
    let scheduler = Scheduler::start(&detector, client, Options::new(info, 1));
    let mut bench = Bench { scheduler, image: image.to_owned(), launched: 0, sent: None, times: Vec::new() };
    let keeper = tokio::time::timeout(Duration::from_secs(120), bench.tasks()).await??;
    Ok((bench.times.split_off(WARM_UP), keeper))
}

impl Bench {
    /// Runs all tasks, then one more that sleeps while its keeper is measured, in MB.
    async fn tasks(&mut self) -> Result<f64> {
        let mut keeper = BTreeMap::new();
        while let Some(news) = self.scheduler.next().await {
            let event = match news {
                News::Notice(Notice::Event(event)) => event,
                News::Notice(Notice::Failed { why }) => bail!("the session failed: {why}"),
                News::Refused { error, .. } => bail!("a call was refused: {error}"),
                News::Notice(_) => continue,
            };
            if let Some(status) = self.hear(*event).await? {
                if status.state() == TaskState::TaskRunning && self.launched > WARM_UP + TASKS {
                    for pid in keepers() {
                        keeper.insert(pid, private_mb(pid)?);
                    }
                    self.scheduler.call(launch::kill(status.task_id, status.agent_id, None)).await;
                }
                if self.launched > WARM_UP + TASKS && ended(status.state) {
                    return keeper.values().copied().reduce(f64::max).context("no keeper was seen");
                }
            }
        }
        bail!("the session ended")
    }

    async fn hear(&mut self, event: Event) -> Result<Option<TaskStatus>> {
        match event.r#type() {
            event::Type::Offers => {
                for offer in event.offers.unwrap_or_default().offers {
                    self.offered(&offer).await?;
                }
            }
            event::Type::Update => {
                let Some(update) = event.update else { return Ok(None) };
                self.updated(&update.status).await?;
                return Ok(Some(update.status));
            }
            _ => {}
        }
        Ok(None)
    }

    async fn offered(&mut self, offer: &Offer) -> Result<()> {
        if self.sent.is_some() || self.launched > WARM_UP + TASKS {
            self.scheduler.call(launch::decline(vec![offer.id.clone()], Duration::ZERO)).await;
            return Ok(());
        }
        let seconds = if self.launched == WARM_UP + TASKS { "60" } else { "0" };
        let task = CommandTask {
            id: format!("task-{}", self.launched),
            name: "bench".into(),
            command: launch::Command::Program(["/bin/sleep", seconds].map(str::to_owned).to_vec()),
            image: Some(self.image.clone()),
            resources: model::resources::parse("cpus:0.1;mem:32", &Role::any())?,
            ..CommandTask::default()
        };
        let offered = model::Resources::from_wire(&offer.resources)?;
        let given = sdk::fit::pick(&offered, &task.resources).context("the agent offers too little")?;
        self.launched += 1;
        self.sent = Some(Instant::now());
        self.scheduler.call(launch::accept(offer, vec![task.on(&offer.agent_id, &given)])).await;
        Ok(())
    }

    async fn updated(&mut self, status: &TaskStatus) -> Result<()> {
        self.scheduler.acknowledge(status).await;
        match status.state() {
            TaskState::TaskRunning => self.times.extend(self.sent.map(|sent| sent.elapsed())),
            TaskState::TaskFinished => self.sent = None,
            TaskState::TaskFailed | TaskState::TaskError | TaskState::TaskLost => {
                bail!("a task ended {}: {}", status.state().as_str_name(), status.message());
            }
            _ => {}
        }
        Ok(())
    }
}
