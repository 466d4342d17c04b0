//! The master's service: starts the parts, contends for leadership, and ends them in order.

mod clock;
mod driver;
mod handle;
mod hello;
mod links;
mod outbox;
mod registrar;
pub mod registry_store;
mod server;
mod vitals;
mod watchers;

use std::sync::Arc;

use coordination::Leadership;
use model::MasterId;
use model::random::{uuid_text, uuid_v4};
use serving::metrics::Pace;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

pub use clock::Clock;
pub use handle::{Handle, LINK_LIMITS, STREAM_LIMITS, Stopped, StreamDrain, WATCH_LIMITS};
pub use outbox::Limits;
pub use server::{Lifeline, Patience};
pub use vitals::Vitals;
pub use watchers::{Record, Told};

use crate::about::About;
use crate::api::{Api, Options};
use crate::config::{Config, Registry};
use crate::logic::{Settings, State};
use crate::{Coordination, MasterError, Running};
use driver::Driver;
use handle::Ends;
use registry_store::{File, InMemory, RegistryStore, StoreError};
use server::Server;

/// Starts a master: binds its address, opens its registry, and lets it contend.
pub async fn start(config: Config, coordination: Arc<dyn Coordination>) -> Result<Running, MasterError> {
    let clock = Clock::start();
    let listener = server::listen(config.ip, config.port)?;
    let address = listener
        .local_addr()
        .map_err(|source| MasterError::Listen { address: (config.ip, config.port).into(), source })?;
    let store = open_store(&config.registry).await?;
    let id = MasterId::new(uuid()?);
    let about = Arc::new(About::new(&config, id.clone(), address, clock.started()).await);
    let (handle, ends) =
        handle::channel(clock, [config.link_limits, config.stream_limits, config.watch_limits]);
    let (leading, is_leading) = watch::channel(false);
    let pace = Pace::from_environment().map_err(MasterError::Environment)?;
    let options = Options { pace, per_framework: config.publish_per_framework_metrics };
    let leader = coordination.leader();
    let api = Arc::new(Api::new(about.clone(), handle.clone(), leader, is_leading.clone(), options));
    let (stop, stopped) = oneshot::channel();
    let vitals = handle.vitals().clone();
    tracing::info!(%address, master_id=%id, "listening");
    let parts = Parts { config, coordination, about: about.clone(), store, ends, handle, leading };
    let task = tokio::spawn(supervise(parts, listener, api, stopped));
    let advertised = about.address.clone();
    Ok(Running { address, advertised, id, stop: Some(stop), leading: is_leading, vitals, task })
}

/// What the leader is made of.
struct Parts {
    config: Config,
    coordination: Arc<dyn Coordination>,
    about: Arc<About>,
    store: Box<dyn RegistryStore>,
    ends: Ends,
    handle: Handle,
    leading: watch::Sender<bool>,
}

async fn open_store(registry: &Registry) -> Result<Box<dyn RegistryStore>, MasterError> {
    let Registry::File(directory) = registry.clone() else { return Ok(Box::new(InMemory::default())) };
    let opened = tokio::task::spawn_blocking(move || File::open(&directory)).await;
    let file: Result<File, StoreError> = opened.map_err(|_| MasterError::Ended("registry"))?;
    Ok(Box::new(file?))
}

async fn supervise(
    parts: Parts,
    listener: tokio::net::TcpListener,
    api: Arc<Api>,
    stop: oneshot::Receiver<()>,
) -> Result<(), MasterError> {
    let (end_server, server_ends) = watch::channel(false);
    let links = links::server(parts.handle.clone());
    let serving = Server { api, links, patience: parts.config.patience };
    // Aborts what is left in it when this task is aborted.
    let mut server = JoinSet::new();
    server.spawn(server::serve(listener, serving, server_ends));
    // The driver goes first: with it go the outboxes, and every stream and link ends after what was sent on it.
    let result = lead(parts, stop).await;
    end_server.send_replace(true);
    while server.join_next().await.is_some() {}
    result
}

/// Contends, loads the registry and leads; returns when told to stop or when it can't go on.
async fn lead(parts: Parts, mut stop: oneshot::Receiver<()>) -> Result<(), MasterError> {
    let Parts { config, coordination, about, store, ends, handle, leading } = parts;
    let mut leadership = coordination.contend(about.address.clone());
    tokio::select! {
        won = leadership.wait_for(|now| *now == Leadership::Leading) => {
            won.map_err(|_| MasterError::Ended("contest for leadership"))?;
        }
        _ = &mut stop => return Ok(()),
    }
    let clock = handle.clock();
    // An agent never obeys a lower epoch than it has seen: a registry that was wiped, or never kept, must not begin
    // again at one. Milliseconds of wall time grow with every start.
    let least = u64::try_from(clock.now().micros() / 1000).unwrap_or(0);
    let began = std::time::Instant::now();
    let (store, contents) = registrar::lead(store, least, config.registry_fetch_timeout).await?;
    let vitals = handle.vitals().clone();
    vitals.fetched(clock.now(), began.elapsed(), store.size());
    let epoch = contents.epoch;
    handle.set_epoch(epoch);
    tracing::info!(epoch, agents = contents.admitted.len(), "leading");
    let state = State::new(settings(&config, &about, epoch), random()?, clock.now());
    let registrar = registrar::Start { store, limit: config.registry_store_timeout, clock, vitals };
    let handle_end = handle.clone();
    let mut driver = Driver::new(state, epoch, handle, ends, registrar);
    driver.elected(contents);
    leading.send_replace(true);
    let result = driver.run(&mut leadership, &mut stop).await;
    leading.send_replace(false);
    handle_end.set_epoch(0);
    driver.finish().await;
    result
}

fn settings(config: &Config, about: &About, epoch: u64) -> Settings {
    Settings {
        master: about.id.clone(),
        epoch,
        agent_ping_timeout: config.agent_ping_timeout,
        max_agent_ping_timeouts: config.max_agent_ping_timeouts,
        agent_reregister_timeout: config.agent_reregister_timeout,
        allocation_interval: config.allocation_interval,
        heartbeat_interval: config.heartbeat_interval,
        offer_timeout: config.offer_timeout,
        max_completed_frameworks: config.max_completed_frameworks,
        max_completed_tasks: config.max_completed_tasks,
        max_unreachable_tasks: config.max_unreachable_tasks,
        root_submissions: config.root_submissions,
        domain: config.domain.clone(),
        require_agent_domain: config.require_agent_domain,
        agent_removal_interval: config.agent_removal_interval,
        recovery_agent_removal_limit: config.recovery_agent_removal_limit,
        max_watchers: config.max_watchers,
        registry_gc_interval: config.registry_gc_interval,
        registry_max_agent_age: config.registry_max_agent_age,
        registry_max_agent_count: config.registry_max_agent_count,
    }
}

/// A random UUID.
pub fn uuid() -> Result<String, MasterError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| MasterError::Random(error.to_string()))?;
    Ok(uuid_text(&uuid_v4(bytes)))
}

fn random() -> Result<u64, MasterError> {
    getrandom::u64().map_err(|error| MasterError::Random(error.to_string()))
}
