//! Tasks per second through one agent: start to TASK_FINISHED, twenty at a time, each in a container of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use coordination::Standalone;
use model::{Resources, Role};
use sdk::launch::{self, CommandTask};
use sdk::scheduler::News;
use sdk::{Client, Notice, Options, Scheduler};
use wire::media::Media;
use wire::v1::scheduler::{Event, event};
use wire::v1::{FrameworkInfo, Offer, TaskState};

use crate::cluster::{Cluster, busybox_layout, ended, keepers, logs, wait_until};
use crate::figures::Figures;

const AT_ONCE: usize = 20;
const WARM_UP: usize = 40;
const TASKS: usize = 600;

pub fn run(figures: &mut Figures) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("tepui-bench-").tempdir_in("/var/tmp")?;
    let image = busybox_layout(dir.path())?;
    let cluster = Cluster::start(dir.path())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let took = runtime.block_on(measure(&cluster, &image)).with_context(|| logs(dir.path()))?;
    figures.at_least("tasks through one agent, 20 at a time", TASKS as f64 / took.as_secs_f64(), "/s", 60.0);
    wait_until("the last keeper to end", || keepers().is_empty())
}

async fn measure(cluster: &Cluster, image: &str) -> Result<Duration> {
    let detector = Standalone::at(format!("127.0.0.1:{}", cluster.master_port).parse()?);
    let info = FrameworkInfo { user: "root".into(), name: "bench".into(), ..Default::default() };
    let client = Client::new(sdk::http::Http::new(), Media::Protobuf);
    let scheduler = Scheduler::start(&detector, client, Options::new(info, 1));
    let asked = model::resources::parse("cpus:0.1;mem:32", &Role::any())?;
    let mut load =
        Load { scheduler, image: image.to_owned(), asked, launched: 0, running: 0, ended: 0, since: None };
    tokio::time::timeout(Duration::from_secs(300), load.run()).await?
}

/// A framework that always has as many tasks under way as it may.
struct Load {
    scheduler: Scheduler,
    image: String,
    asked: Resources,
    launched: usize,
    running: usize,
    ended: usize,
    since: Option<Instant>,
}

impl Load {
    /// How long the tasks after the warm-up took.
    async fn run(&mut self) -> Result<Duration> {
        while let Some(news) = self.scheduler.next().await {
            match news {
                News::Notice(Notice::Event(event)) => self.hear(*event).await?,
                News::Notice(Notice::Failed { why }) => bail!("the session failed: {why}"),
                News::Refused { error, .. } => bail!("a call was refused: {error}"),
                News::Notice(_) => {}
            }
            if self.ended == WARM_UP {
                self.since.get_or_insert_with(Instant::now);
            }
            if self.ended == WARM_UP + TASKS {
                return self.since.map(|since| since.elapsed()).context("no warm-up");
            }
        }
        bail!("the session ended")
    }

    async fn hear(&mut self, event: Event) -> Result<()> {
        match event.r#type() {
            event::Type::Offers => {
                for offer in event.offers.unwrap_or_default().offers {
                    self.offered(&offer).await?;
                }
            }
            event::Type::Update => {
                let Some(update) = event.update else { return Ok(()) };
                self.scheduler.acknowledge(&update.status).await;
                if ended(update.status.state) {
                    if update.status.state() != TaskState::TaskFinished {
                        bail!("a task ended {}", update.status.message());
                    }
                    self.running -= 1;
                    self.ended += 1;
                }
            }
            _ => {}
        }
        Ok(())
    }

    async fn offered(&mut self, offer: &Offer) -> Result<()> {
        let mut offered = Resources::from_wire(&offer.resources)?;
        let room = (AT_ONCE - self.running).min(WARM_UP + TASKS - self.launched);
        let mut tasks = Vec::new();
        for _ in 0..room {
            let Some(given) = sdk::fit::pick(&offered, &self.asked) else { break };
            ensure!(offered.try_subtract(&given), "more was picked than offered");
            let task = CommandTask {
                id: format!("task-{}", self.launched),
                name: "bench".into(),
                command: launch::Command::Program(vec!["/bin/true".to_owned()]),
                image: Some(self.image.clone()),
                resources: self.asked.clone(),
                ..CommandTask::default()
            };
            tasks.push(task.on(&offer.agent_id, &given));
            self.launched += 1;
            self.running += 1;
        }
        self.scheduler.call(launch::accept(offer, tasks)).await;
        Ok(())
    }
}
