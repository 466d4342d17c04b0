//! The master's service: starts the parts, contends for leadership, and ends them in order.

mod clock;
mod driver;
mod handle;
mod hello;
mod leading;
mod lending;
mod links;
mod outbox;
mod registrar;
pub mod registry_ensemble;
pub mod registry_store;
mod server;
mod toll;
mod vitals;
mod watchers;

use std::sync::Arc;

use model::MasterId;
use model::random::{uuid_text, uuid_v4};
use rustix::process::{getpriority_process, setpriority_process};
use security::{Gate, ServerTls};
use serving::metrics::Pace;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

pub use clock::Clock;
pub use handle::{Handle, LINK_LIMITS, STREAM_LIMITS, Stopped, StreamDrain, WATCH_LIMITS};
pub use lending::Lent;
pub use outbox::Limits;
pub use server::{Lifeline, Patience};
pub use vitals::Vitals;
pub use watchers::Told;

use crate::about::About;
use crate::api::{Api, Options};
use crate::config::Config;
use crate::logic::Settings;
use crate::{Coordination, MasterError, Running};
use handle::Ends;
use leading::Parts;
use links::{Door, LinkServer};
use server::Server;
use toll::Turns;

/// How much less nice the loop's thread is than the others, where it can't be put ahead of them altogether.
const AHEAD: i32 = 10;

/// Starts a master: binds its address, opens its registry, and lets it contend.
pub async fn start(config: Config, coordination: Arc<dyn Coordination>) -> Result<Running, MasterError> {
    let clock = Clock::start();
    let listener = server::listen(config.ip, config.port)?;
    let address = listener
        .local_addr()
        .map_err(|source| MasterError::Listen { address: (config.ip, config.port).into(), source })?;
    let tls = config.tls.clone().map(ServerTls::load).transpose()?;
    let gate = Arc::new(Gate::load(&config.gate)?);
    let store = leading::open_store(&config.registry).await?;
    let id = MasterId::new(uuid()?);
    let about = Arc::new(About::new(&config, id.clone(), address, clock.started()).await);
    let (handle, ends) =
        handle::channel(clock, [config.link_limits, config.stream_limits, config.watch_limits]);
    let (leading, is_leading) = watch::channel(false);
    let pace = Pace::from_environment().map_err(MasterError::Environment)?;
    let options = Options { pace, per_framework: config.publish_per_framework_metrics };
    let leader = coordination.leader();
    let links = links::server(handle.clone(), Door::of(&config, gate.clone()));
    let api = Arc::new(Api::new(about.clone(), handle.clone(), leader, is_leading.clone(), options, gate));
    let (stop, stopped) = oneshot::channel();
    let vitals = handle.vitals().clone();
    tracing::info!(%address, master_id=%id, "listening");
    let parts = Parts { config, coordination, about: about.clone(), store, handle, leading };
    let task = tokio::spawn(supervise(parts, ends, (listener, tls), (api, links), stopped));
    let advertised = about.address.clone();
    Ok(Running { address, advertised, id, stop: Some(stop), leading: is_leading, vitals, task })
}

async fn supervise(
    parts: Parts,
    ends: Ends,
    (listener, tls): (tokio::net::TcpListener, Option<ServerTls>),
    (api, links): (Arc<Api>, LinkServer),
    stop: oneshot::Receiver<()>,
) -> Result<(), MasterError> {
    let (end_server, server_ends) = watch::channel(false);
    let serving = Server { api, links, turns: Turns::default(), patience: parts.config.patience };
    // Aborts what is left in it when this task is aborted.
    let mut server = JoinSet::new();
    let mut files = JoinSet::new();
    files.spawn(follow(tls.clone()));
    server.spawn(server::serve(listener, serving, tls, server_ends));
    // The driver goes first: with it go the outboxes, and every stream and link ends after what was sent on it.
    let result = on_own_thread(parts.config.ahead, leading::lead(parts, ends, stop)).await;
    end_server.send_replace(true);
    while server.join_next().await.is_some() {}
    result
}

/// Lets the loop run on a thread of its own, which goes before all others where the host allows that: while states are
/// read and agents say much, there are more threads with work than processors, and each holds the others up for as long
/// as the kernel lets it.
async fn on_own_thread(
    ahead: Option<fn() -> std::io::Result<()>>,
    work: impl Future<Output = Result<(), MasterError>> + Send + 'static,
) -> Result<(), MasterError> {
    let (done, result) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::Builder::new().name("loop".to_owned()).spawn(move || {
        let nicer = || getpriority_process(None).and_then(|nice| setpriority_process(None, nice - AHEAD));
        let first = ahead.is_some_and(|ahead| ahead().is_ok());
        if !first && let Err(error) = nicer() {
            tracing::debug!(%error, "the loop has no higher priority than other threads");
        }
        // Nobody waits for a master that was dropped.
        let _ = done.send(runtime.block_on(work));
    });
    match thread {
        Ok(_) => result.await.unwrap_or(Err(MasterError::Ended("loop"))),
        Err(error) => Err(MasterError::Thread(error)),
    }
}

/// Certificates may be renewed.
async fn follow(tls: Option<ServerTls>) {
    if let Some(tls) = tls {
        tls.follow().await;
    }
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
