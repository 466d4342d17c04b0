//! From a config to a running agent: check the host, recover, listen, begin.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use coordination::LeaderDetector;
use images::{DockerConfig, ImageStore, StoreConfig};
use model::random::{uuid_text, uuid_v4};
use security::credentials::read_one;
use security::{ClientTls, Gate, GateError, ServerTls};
use serving::address;
use serving::metrics::Pace;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use wire::v1;

use super::checkpoint::{self, CheckpointStore, FileStore, Order};
use super::clock::Clock;
use super::collector::Collector;
use super::contain::{Common, Containers};
use super::disk::{DiskUsage, DiskWatch};
use super::driver::{Driver, Ears, Input, Reader};
use super::host;
use super::isolate;
use super::master_link::{MasterLink, Reach};
use super::paths::Paths;
use super::sandbox;
use super::server;
use crate::api::{About, Api, Sources};
use crate::config::{Config, Recover};
use crate::containerizer::{Containerizer, Reports};
use crate::logic::{Event, Recovered, Settings, State};
use crate::{AgentError, Running, VERSION};

/// What Mesos' agents announce and this one has. RESOURCE_PROVIDER, RESIZE_VOLUME, AGENT_OPERATION_FEEDBACK and
/// AGENT_DRAINING are not there yet.
const CAPABILITIES: [&str; 4] =
    ["MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT", "TASK_RESOURCE_LIMITS"];
/// Inputs that may wait for the loop; those who have more wait themselves.
const QUEUE: usize = 1024;
/// Finished frameworks kept in memory. Mesos: 50, no flag.
const MAX_COMPLETED_FRAMEWORKS: usize = 50;

/// What an agent is made of beside its config: real things in the product, others in tests.
pub struct Parts {
    /// Runs the containers.
    pub containers: Arc<dyn Containerizer>,
    /// Keeps the checkpoints.
    pub store: Box<dyn CheckpointStore>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parts")
    }
}

/// Starts an agent that runs containers for real.
pub(crate) async fn start(config: Config, detector: Arc<dyn LeaderDetector>) -> Result<Running, AgentError> {
    let lock = host::take_work_dir(&config.work_dir)?;
    let listener = server::listen(config.ip, config.port)?;
    let bound = address_of(&listener, &config)?;
    let paths = Paths::new(&config.work_dir);
    let runtime = isolate::runtime(&config)?;
    let images = images(&config, &paths).await?;
    let containers =
        Containers::new(runtime, images, paths.clone(), common(&config, advertised(&config, bound)));
    let collection = config.images.collection.clone();
    // It ends with the lock on the work folder, that is with the agent.
    let collecting =
        collection.map(|collection| Background(tokio::spawn(containers.clone().collect_images(collection))));
    let boot_id = FileStore::host_boot_id().map_err(AgentError::Recovery)?;
    let store = FileStore::new(paths, config.strict, boot_id);
    let parts = Parts { containers: Arc::new(containers), store: Box::new(store) };
    let held: Box<dyn Send> = Box::new((collecting, lock));
    begin(config, detector, parts, listener, bound, held).await
}

/// Starts an agent of other parts. The work folder holds only sandboxes then.
///
/// # Errors
/// The address can't be listened on, or recovery failed.
pub async fn start_with(
    config: Config,
    detector: Arc<dyn LeaderDetector>,
    parts: Parts,
) -> Result<Running, AgentError> {
    let listener = server::listen(config.ip, config.port)?;
    let bound = address_of(&listener, &config)?;
    begin(config, detector, parts, listener, bound, Box::new(())).await
}

async fn begin(
    config: Config,
    detector: Arc<dyn LeaderDetector>,
    parts: Parts,
    listener: TcpListener,
    bound: SocketAddr,
    held: Box<dyn Send>,
) -> Result<Running, AgentError> {
    let clock = Clock::start();
    let since = Instant::now();
    let endpoint = advertised(&config, bound);
    let paths = Paths::new(&config.work_dir);
    let master = watch::Sender::new(None);
    let (inputs, inputs_out) = mpsc::channel(QUEUE);
    let (recovery, recovery_out) = watch::channel(None);
    let sources = Sources {
        reader: Reader::new(inputs.clone()),
        paths: paths.clone(),
        master: master.subscribe(),
        containers: parts.containers.clone(),
        disk: DiskUsage::default(),
    };
    let about = About {
        pid: format!("slave(1)@{endpoint}"),
        started: clock.started().as_secs_f64(),
        since,
        counts_processes: config.counts_processes,
        recovery: recovery_out,
        external_log_file: config.external_log_file.clone(),
        flags: config.flags.clone(),
    };
    let pace = Pace::from_environment().map_err(AgentError::Environment)?;
    let (end, ended) = oneshot::channel();
    // Mesos: who asks an agent that still recovers is told so.
    let gate = Gate::load(&config.gate)?;
    let api = Arc::new(Api::new(about, sources.clone(), pace, gate));
    let tls = config.tls.clone().map(ServerTls::load).transpose()?;
    let reach = reach(&config)?;
    let followed = follow(tls.as_ref(), reach.tls.as_ref());
    let serving = Background(tokio::spawn(server::serve(listener, tls, api, ended)));
    let held: Box<dyn Send> = Box::new((followed, held));
    let (parts, recovered) = recover(parts, paths.clone()).await?;
    if config.recover == Recover::Cleanup {
        return Ok(cleanup(parts, recovered, bound, Box::new((serving, end, held))));
    }
    recovery.send_replace(Some(since.elapsed()));
    let settings = settings(&config, endpoint).await;
    let (shut_down, shut_down_out) = mpsc::channel(1);
    let (stop, stop_out) = oneshot::channel();
    let (agent_id, agent_id_out) = watch::channel(None);
    let (registered, registered_out) = watch::channel(false);
    let disk_watch = config.disk_quota.measured.then(|| {
        let watch = DiskWatch { quota: config.disk_quota, sources };
        tokio::spawn(watch.run())
    });
    let (disk, disk_thread) = disk(parts.store, inputs)?;
    let (container_events, containers_out) = mpsc::unbounded_channel();
    let reports = Reports::to(move |event| {
        // Nobody listens any more when the agent ends.
        let _ = container_events.send(event);
    });
    let collector = Collector::start(paths, disk.clone(), reports.clone());
    let (link_events, link_out) = mpsc::channel(QUEUE);
    let (link, link_orders) = mpsc::unbounded_channel();
    let link_task = tokio::spawn(MasterLink::new(detector, reach, link_orders, link_events, master).run());
    let driver = Driver {
        state: State::new(settings, u64::from_le_bytes(random())),
        clock,
        link,
        link_task,
        disk,
        disk_thread,
        containers: parts.containers,
        reports,
        agent_id,
        registered,
        work_dir: config.work_dir,
        disk_watch_interval: config.disk_watch_interval,
        collector,
        disk_watch,
        obeyed: 0,
    };
    let ears = Ears {
        inputs: inputs_out,
        link: link_out,
        containers: containers_out,
        shut_down: shut_down_out,
        stop: stop_out,
    };
    tracing::info!(address = %bound, "the agent is listening");
    let task = tokio::spawn(live(driver, recovered, ears, (serving, end), held));
    let stop = Some(stop);
    Ok(Running { address: bound, agent_id: agent_id_out, registered: registered_out, shut_down, stop, task })
}

/// The loop and the API, until the loop ends. `held` is let go last.
async fn live(
    driver: Driver,
    recovered: Recovered,
    ears: Ears,
    (mut serving, end): (Background, oneshot::Sender<()>),
    held: Box<dyn Send>,
) -> Result<(), AgentError> {
    let outcome = driver.run(recovered, ears).await;
    // The server may have ended before.
    let _ = end.send(());
    let _ = (&mut serving.0).await;
    drop(held);
    outcome
}

/// What an earlier life left on disk and running.
async fn recover(parts: Parts, paths: Paths) -> Result<(Parts, Recovered), AgentError> {
    let Parts { containers, mut store } = parts;
    let loaded = spawn_blocking(move || {
        let mut errors = 0;
        let loaded = store.load(&mut |text| {
            errors += 1;
            tracing::warn!("{text}");
        });
        loaded.map(|recovered| (Recovered { errors, ..recovered }, store))
    });
    let loaded = loaded.await.map_err(|error| AgentError::Ended(error.to_string()))?;
    let (mut recovered, store) = loaded.map_err(AgentError::Recovery)?;
    recovered.containers = containers.recover().await.map_err(AgentError::Containers)?;
    let closed = spawn_blocking(move || {
        sandbox::close_earlier(&paths, &recovered);
        recovered
    });
    let recovered = closed.await.map_err(|error| AgentError::Ended(error.to_string()))?;
    Ok((Parts { containers, store }, recovered))
}

/// How the master is reached, and as whom.
fn reach(config: &Config) -> Result<Reach, AgentError> {
    let tls = config.tls.clone().map(ClientTls::load).transpose()?;
    let login = config.credential.as_deref().map(|path| read_one("credential", path));
    let login = login.transpose().map_err(GateError::Secret)?;
    if login.is_some() && tls.is_none() {
        tracing::warn!("--credential without --ssl_enabled: the secret is sent to the master in plain text");
    }
    Ok(Reach { tls, login, spread: config.registration_backoff })
}

/// Certificates may be renewed.
fn follow(port: Option<&ServerTls>, link: Option<&ClientTls>) -> Vec<Background> {
    let port = port.map(|tls| tokio::spawn(tls.follow()));
    let link = link.map(|tls| tokio::spawn(tls.follow()));
    port.into_iter().chain(link).map(Background).collect()
}

/// A task that ends when this is dropped.
struct Background(tokio::task::JoinHandle<()>);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Disk = (std::sync::mpsc::Sender<Order>, std::thread::JoinHandle<()>);

/// The thread that writes checkpoints.
fn disk(store: Box<dyn CheckpointStore>, inputs: mpsc::Sender<Input>) -> Result<Disk, AgentError> {
    let done = move |ticket, outcome| {
        // The loop outlives the thread but for the very end, when nobody waits any more.
        let _ = inputs.blocking_send(Input::Event(Event::Checkpointed { ticket, outcome }));
    };
    checkpoint::start(store, done)
        .map_err(|error| AgentError::Ended(format!("can't start the checkpoint thread: {error}")))
}

/// `--recover=cleanup`: everything of before is ended and forgotten, and the agent with it.
fn cleanup(parts: Parts, recovered: Recovered, bound: SocketAddr, held: Box<dyn Send>) -> Running {
    let (shut_down, _) = mpsc::channel(1);
    let task = tokio::spawn(async move {
        let _held = held;
        for container in recovered.containers.keys() {
            parts.containers.destroy(container);
        }
        parts.containers.settled().await;
        let mut store = parts.store;
        let forgotten = spawn_blocking(move || store.forget_agent()).await;
        forgotten.map_err(|e| AgentError::Ended(e.to_string()))?.map_err(AgentError::Recovery)
    });
    Running {
        address: bound,
        agent_id: watch::channel(None).1,
        registered: watch::channel(false).1,
        shut_down,
        stop: None,
        task,
    }
}

fn address_of(listener: &TcpListener, config: &Config) -> Result<SocketAddr, AgentError> {
    let address = SocketAddr::new(config.ip, config.port);
    listener.local_addr().map_err(|source| AgentError::Listen { address, source })
}

fn advertised(config: &Config, bound: SocketAddr) -> SocketAddr {
    let ip = config.advertise_ip.unwrap_or_else(|| address::reachable(bound.ip()));
    SocketAddr::new(ip, config.advertise_port.unwrap_or(bound.port()))
}

async fn images(config: &Config, paths: &Paths) -> Result<ImageStore, AgentError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may have been faster, with the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let root = config.images.store_dir.clone().unwrap_or_else(|| paths.images());
    let mut store = StoreConfig::at(&root);
    store.docker_config = docker_config(config.images.credentials.as_deref())?;
    store.insecure_registries.clone_from(&config.images.insecure_registries);
    store.mirrors.clone_from(&config.images.mirrors);
    store.token_services.clone_from(&config.images.token_services);
    store.local_dirs.clone_from(&config.images.local_dirs);
    if let Some(registry) = &config.images.registry {
        store.default_registry.clone_from(registry);
    }
    ImageStore::open(store).await.map_err(|source| AgentError::Images { path: root, source })
}

/// `--docker_config`: JSON or the path of a file; without it `~/.docker/config.json`, if it is there.
fn docker_config(given: Option<&str>) -> Result<Option<DockerConfig>, AgentError> {
    let read = match given {
        Some(text) if text.trim_start().starts_with('{') => DockerConfig::parse(text),
        Some(path) => DockerConfig::load(Path::new(path)),
        None => {
            let Some(home) = std::env::var_os("HOME") else { return Ok(None) };
            let path = Path::new(&home).join(".docker/config.json");
            if !path.exists() {
                return Ok(None);
            }
            DockerConfig::load(&path)
        }
    };
    read.map(Some).map_err(AgentError::Credentials)
}

fn common(config: &Config, endpoint: SocketAddr) -> Common {
    Common {
        isolation: config.isolation.clone(),
        user_namespace: config.user_namespace,
        limits: config.limits.clone(),
        sandbox_directory: config.sandbox_directory.clone(),
        switch_user: config.switch_user,
        cgroups_enable_cfs: config.cgroups_enable_cfs,
        ignore_runtime: config.images.ignore_runtime,
        use_image_user: config.images.use_user,
        environment: config.environment.clone(),
        shm_bytes: config.shm_bytes,
        shares_pid: config.shares_pid,
        shares_ipc: config.shares_ipc,
        logger: config.logger.clone(),
        local_image_dirs: config.images.local_dirs.clone(),
        excluded_images: config.images.collection.iter().flat_map(|c| c.excluded.clone()).collect(),
        shutdown_grace: config.shutdown_grace,
        endpoint,
    }
}

async fn settings(config: &Config, endpoint: SocketAddr) -> Settings {
    let hostname = match &config.hostname {
        Some(name) => name.clone(),
        None if config.hostname_lookup => {
            address::name_of(endpoint.ip()).await.unwrap_or_else(|| endpoint.ip().to_string())
        }
        None => endpoint.ip().to_string(),
    };
    let total = crate::resources::complete(&config.resources, &config.work_dir);
    let info = v1::AgentInfo {
        hostname,
        port: Some(endpoint.port().into()),
        resources: total.to_wire(),
        attributes: config.attributes.clone(),
        id: None,
        domain: config.domain.clone(),
    };
    Settings {
        info,
        total,
        address: endpoint.to_string(),
        host_ip: endpoint.ip().to_string(),
        version: VERSION.to_owned(),
        capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
        incarnation: uuid_text(&uuid_v4(random())),
        reconfiguration: config.reconfiguration,
        registration_backoff: config.registration_backoff,
        shutdown_grace: config.shutdown_grace,
        gc_delay: config.gc_delay,
        gc_disk_headroom: config.gc_disk_headroom,
        max_completed_frameworks: MAX_COMPLETED_FRAMEWORKS,
        max_completed_executors: config.max_completed_executors,
    }
}

pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("a host that runs containers has a source of randomness");
    bytes
}
