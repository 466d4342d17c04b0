//! What containers use: `/containers`, `/monitor/statistics` and GET_CONTAINERS.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;
use runtime::Statistics;
use serde_json::{Value, json};
use serving::metrics::Snapshot;
use tokio::task::JoinSet;
use wire::query::Query;
use wire::v1;
use wire::v1::agent::response;
use wire::v1::cgroup_info::blkio::{self, Operation, throttling};

use super::legacy::insert;
use super::{Api, Refusal, pressure, refuse};
use crate::logic::{Stage, Task, View, disk_quota};

/// Most containers that are asked at once what they use. Whose keeper stands still takes a second to say nothing.
const ASKED: usize = 64;

/// `/containers`: those that run; all of them, or those of a framework, an executor, or one.
pub(super) async fn containers(api: &Api, query: &Query) -> Result<Value, Refusal> {
    let asked = (query.get("container_id"), query.get("framework_id"), query.get("executor_id"));
    if matches!(asked, (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (None, None, Some(_))) {
        let message =
            "Expecting 'container_id' alone, 'framework_id' alone, or 'framework_id' with 'executor_id'";
        return Err(refuse(StatusCode::BAD_REQUEST, message));
    }
    let view = api.view().await?;
    let wanted = |task: &&Arc<Task>| {
        let run = &task.run;
        asked.0.is_none_or(|id| run.container.as_str() == id)
            && asked.1.is_none_or(|id| run.framework.as_str() == id)
            && asked.2.is_none_or(|id| run.executor.as_str() == id)
    };
    let mut all = Vec::new();
    for (task, usage) in usages(api, running(&view).filter(wanted)).await {
        let mut value = named(&task);
        if let Some(object) = value.as_object_mut() {
            object.insert("container_id".to_owned(), task.run.container.as_str().into());
        }
        insert(&mut value, "status", status(&task).as_ref());
        if let Some(usage) = usage {
            usage.insert_into(&mut value);
        }
        all.push(value);
    }
    Ok(Value::Array(all))
}

/// `/monitor/statistics`. Mesos: who has none is left out.
pub(super) async fn statistics(api: &Api) -> Result<Value, Refusal> {
    let view = api.view().await?;
    let mut all = Vec::new();
    for (task, usage) in usages(api, running(&view)).await {
        if let Some(usage) = usage {
            let mut value = named(&task);
            usage.insert_into(&mut value);
            all.push(value);
        }
    }
    Ok(Value::Array(all))
}

/// GET_CONTAINERS
pub(super) async fn get_containers(api: &Api) -> Result<response::GetContainers, Refusal> {
    let view = api.view().await?;
    let mut all = response::GetContainers::default();
    for (task, usage) in usages(api, running(&view)).await {
        all.containers.push(response::get_containers::Container {
            framework_id: Some((&task.run.framework).into()),
            executor_id: Some((&task.run.executor).into()),
            executor_name: Some(crate::executor_name(&task.info)),
            container_id: (&task.run.container).into(),
            container_status: status(&task),
            resource_statistics: usage.map(|usage| usage.statistics),
        });
    }
    Ok(all)
}

fn running(view: &View) -> impl Iterator<Item = &Arc<Task>> {
    let tasks = view.frameworks.values().flat_map(|f| f.tasks.values());
    tasks.filter(|task| task.stage == Stage::Running)
}

fn named(task: &Task) -> Value {
    json!({
        "framework_id": task.run.framework.as_str(),
        "executor_id": task.run.executor.as_str(),
        "executor_name": crate::executor_name(&task.info),
        "source": task.run.task.as_str(),
    })
}

fn status(task: &Task) -> Option<v1::ContainerStatus> {
    task.statuses.last().and_then(|status| status.container_status.clone())
}

/// What a container uses.
struct Usage {
    statistics: v1::ResourceStatistics,
    pressure: Option<Value>,
}

impl Usage {
    fn insert_into(self, value: &mut Value) {
        insert(value, "statistics", Some(&self.statistics));
        if let Some(pressure) = self.pressure {
            value[pressure::KEY] = pressure;
        }
    }
}

/// Adds the pressure of every container that runs to what Prometheus gets.
pub(super) async fn add_pressure(api: &Api, view: &View, all: &mut Snapshot) {
    for (task, measured) in measure(api, running(view)).await {
        if let Some(measured) = measured {
            pressure::add(all, &task, &measured);
        }
    }
}

type Measured = (Arc<Task>, Option<Statistics>);

/// What the containers tell of these tasks, in their order: all are asked together.
async fn measure<'a>(api: &Api, tasks: impl Iterator<Item = &'a Arc<Task>>) -> Vec<Measured> {
    let mut all: Vec<Measured> = tasks.map(|task| (task.clone(), None)).collect();
    let mut waiting = all.iter().map(|(task, _)| task.run.container.clone()).enumerate().collect::<Vec<_>>();
    waiting.reverse();
    let mut asked = JoinSet::new();
    loop {
        while asked.len() < ASKED
            && let Some((place, container)) = waiting.pop()
        {
            let containers = api.sources.containers.clone();
            asked.spawn(async move { (place, containers.statistics(&container).await) });
        }
        match asked.join_next().await {
            Some(Ok((place, told))) => all[place].1 = told,
            // Who failed while he was asked has said nothing.
            Some(Err(error)) => tracing::debug!("a container could not be asked: {error}"),
            None => return all,
        }
    }
}

async fn usages<'a>(
    api: &Api,
    tasks: impl Iterator<Item = &'a Arc<Task>>,
) -> Vec<(Arc<Task>, Option<Usage>)> {
    let all = measure(api, tasks).await.into_iter();
    all.map(|(task, measured)| (task.clone(), usage_of(api, &task, measured))).collect()
}

fn usage_of(api: &Api, task: &Task, measured: Option<Statistics>) -> Option<Usage> {
    let disk = api.sources.disk.of(&task.run.container);
    if measured.is_none() && disk.is_none() {
        return None;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let measured = measured.unwrap_or_default();
    let mut all = of_cgroups(&measured, api.about.counts_processes);
    all.timestamp = now.as_secs_f64();
    all.disk_used_bytes = disk;
    // Mesos: the limit is told by the one who measures.
    all.disk_limit_bytes = disk.and_then(|_| disk_quota(&task.resources));
    allotted(&mut all, task);
    Some(Usage { statistics: all, pressure: pressure::json(&measured) })
}

/// What the task was given, which Mesos tells beside what it uses.
fn allotted(all: &mut v1::ResourceStatistics, task: &Task) {
    let limit = |name: &str| task.info.limits.get(name).map(|limit| limit.value);
    let cpus = task.resources.cpus().as_f64();
    all.cpus_soft_limit = Some(cpus);
    all.cpus_limit = Some(limit("cpus").unwrap_or(cpus)).filter(|cpus| cpus.is_finite());
    let bytes = |megabytes: f64| {
        let milli = model::Milli::from_f64(megabytes).map_or(0, model::Milli::millis);
        u64::try_from(i128::from(milli) * (1 << 20) / 1000).unwrap_or(u64::MAX)
    };
    let mem = task.resources.mem().as_f64();
    all.mem_soft_limit_bytes = Some(bytes(mem));
    all.mem_limit_bytes = Some(limit("mem").unwrap_or(mem)).filter(|mem| mem.is_finite()).map(bytes);
}

#[allow(clippy::cast_precision_loss)]
fn seconds(microseconds: Option<u64>) -> Option<f64> {
    microseconds.map(|us| us as f64 / 1e6)
}

fn small(count: Option<u64>) -> Option<u32> {
    count.map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}

/// Mesos: processes and threads are told only with `--cgroups_cpu_enable_pids_and_tids_count`.
fn of_cgroups(measured: &Statistics, processes: bool) -> v1::ResourceStatistics {
    v1::ResourceStatistics {
        processes: small(measured.processes.filter(|_| processes)),
        threads: small(measured.threads.filter(|_| processes)),
        cpus_user_time_secs: seconds(measured.cpu_user_us),
        cpus_system_time_secs: seconds(measured.cpu_system_us),
        cpus_nr_periods: small(measured.cpu_periods),
        cpus_nr_throttled: small(measured.cpu_throttled_periods),
        cpus_throttled_time_secs: seconds(measured.cpu_throttled_us),
        mem_total_bytes: measured.memory_current_bytes,
        mem_total_memsw_bytes: measured.memory_and_swap_bytes,
        mem_kmem_usage_bytes: measured.memory_kernel_bytes,
        mem_kmem_tcp_usage_bytes: measured.memory_sock_bytes,
        mem_file_bytes: measured.memory_file_bytes,
        mem_cache_bytes: measured.memory_file_bytes,
        mem_anon_bytes: measured.memory_anon_bytes,
        mem_rss_bytes: measured.memory_anon_bytes,
        mem_mapped_file_bytes: measured.memory_mapped_bytes,
        mem_swap_bytes: measured.swap_bytes,
        mem_unevictable_bytes: measured.memory_unevictable_bytes,
        mem_low_pressure_counter: measured.pressure_low,
        mem_medium_pressure_counter: measured.pressure_medium,
        mem_critical_pressure_counter: measured.pressure_critical,
        blkio_statistics: measured.io.as_deref().map(blkio),
        ..v1::ResourceStatistics::default()
    }
}

/// Mesos tells of CFQ, which left Linux, and of throttling, whose figures count all I/O of a device.
fn blkio(devices: &[runtime::DeviceIo]) -> blkio::Statistics {
    let throttling = devices.iter().map(|device| throttling::Statistics {
        device: Some(v1::device::Number {
            major_number: device.major.into(),
            minor_number: device.minor.into(),
        }),
        io_serviced: values(&device.operations),
        io_service_bytes: values(&device.bytes),
    });
    blkio::Statistics { throttling: throttling.collect(), ..blkio::Statistics::default() }
}

fn values(counts: &runtime::IoCounts) -> Vec<blkio::Value> {
    let all = [
        (Operation::Read, counts.read),
        (Operation::Write, counts.write),
        (Operation::Sync, counts.sync),
        (Operation::Async, counts.r#async),
        (Operation::Discard, counts.discard),
        (Operation::Total, counts.total),
    ];
    let told = all.into_iter().filter_map(|(op, value)| Some((op, value?)));
    told.map(|(op, value)| blkio::Value { op: Some(op.into()), value: Some(value) }).collect()
}
