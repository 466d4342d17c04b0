//! The flags of `tepui run`, read and checked.

use std::time::Duration;

use coordination::Whereabouts;
use model::flags::{Flag, Form, bad};
use model::resources::{Amount, Milli, Resource, Resources};
use model::{Role, resources};
use sdk::http::Http;
use sdk::launch::{Command, CommandTask, HostVolume};
use wire::media::{self, Media};

use crate::api;
use crate::context::{Trouble, failed, usage};
use crate::flags::Flags;

/// The flags; those of `mesos-execute` under its names.
pub const FLAGS: &[Flag] = &[
    api::MASTER,
    Flag::new("name", Form::Text, None, "Name of the task; also the beginning of its id."),
    Flag::new(
        "image",
        Form::Text,
        None,
        "Image to run in: alpine, host:port/name:tag, name@sha256:…, oci:/dir:tag.",
    )
    .aliases(&["docker_image"]),
    Flag::new("pull", Form::Bool, Some("false"), "Ask the registry even for an image that the agent has."),
    Flag::new("command", Form::Text, None, "A line for `/bin/sh -c`, instead of `-- program arguments`."),
    Flag::new(
        "arguments",
        Form::Bool,
        Some("false"),
        "What follows `--` are arguments of the image's entrypoint.",
    ),
    Flag::new("resources", Form::Text, Some("cpus:0.1;mem:32"), "What the task asks for."),
    Flag::new("cpus", Form::Text, None, "CPUs, instead of those in --resources."),
    Flag::new("mem", Form::Text, None, "Memory in MB, instead of that in --resources."),
    Flag::new(
        "limits",
        Form::Text,
        None,
        "Most it may use, such as cpus:2;mem:64; 'infinite' lifts a limit.",
    ),
    Flag::new("user", Form::Text, None, "User to run as; default the one who calls."),
    Flag::new("role", Form::Text, Some("*"), "Role whose resources are used."),
    Flag::new("principal", Form::Text, None, "Principal of the framework."),
    Flag::new("kill_grace", Form::Duration, None, "Between SIGTERM and SIGKILL; default the agent's."),
    Flag::new("max_completion_time", Form::Duration, None, "The task is ended when it runs longer."),
    Flag::new("kill_after", Form::Duration, None, "The task is killed this long after it runs."),
    Flag::new("wait", Form::Duration, Some("15secs"), "How long to wait for an agent that is large enough."),
    Flag::new(
        "failover_timeout",
        Form::Duration,
        Some("1mins"),
        "How long the task outlives a vanished `tepui run`.",
    ),
    Flag::new(
        "reconnect_timeout",
        Form::Duration,
        None,
        "How long a master that went away is waited for; default --failover_timeout, after which it ends the task.",
    ),
    Flag::new("content_type", Form::Text, Some("protobuf"), "How to speak to the master: protobuf or json."),
    Flag::new("quiet", Form::Bool, Some("false"), "Print nothing but the task's output and why it failed."),
];

/// Flags of `mesos-execute` without meaning here.
pub const IGNORED: &[&str] = &["containerizer", "checkpoint", "shell", "overwrite", "framework_capabilities"];

/// Everything about one run.
#[derive(Clone, Debug)]
pub struct Job {
    /// Whom to ask.
    pub master: Whereabouts,
    /// Over which connections, and as whom.
    pub http: Http,
    /// How.
    pub media: Media,
    /// What to run.
    pub task: CommandTask,
    /// Whose resources.
    pub role: Role,
    /// As whom.
    pub principal: Option<String>,
    /// Kill it after it ran this long.
    pub kill_after: Option<Duration>,
    /// How long no agent may be large enough.
    pub wait: Duration,
    /// How long it outlives us.
    pub failover_timeout: Duration,
    /// How long a master that went away is waited for.
    pub reconnect_timeout: Duration,
    /// No chatter.
    pub quiet: bool,
    /// Seed of ids and pauses.
    pub seed: u64,
}

/// Values that may come several times.
#[derive(Clone, Debug, Default)]
pub struct Repeated {
    /// `K=V`, or one JSON object as `mesos-execute` takes it.
    pub env: Vec<String>,
    /// `host:container[:ro]`.
    pub volume: Vec<String>,
    /// What follows `--`.
    pub argv: Vec<String>,
}

impl Job {
    /// Reads the flags.
    ///
    /// # Errors
    /// Names the flag that can't be used.
    pub fn read(flags: &Flags, repeated: Repeated) -> Result<Job, Trouble> {
        let values = &flags.values;
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| failed(anyhow::anyhow!("no random bytes: {error}")))?;
        let image =
            values.text("image").map(|image| image.strip_prefix("docker://").unwrap_or(image).to_owned());
        let command = command(flags, repeated.argv, image.is_some())?;
        let name = values.text("name").map_or_else(|| name(&command, image.as_deref()), str::to_owned);
        let failover_timeout = values.duration("failover_timeout")?.unwrap_or(Duration::from_secs(60));
        let mut job = Job {
            master: api::master(flags)?,
            http: api::http(flags)?,
            media: media(values.text("content_type").unwrap_or("protobuf"))?,
            task: CommandTask {
                id: String::new(),
                name,
                command,
                image,
                pull: values.bool("pull")?,
                environment: environment(&repeated.env)?,
                user: values.text("user").map(str::to_owned),
                resources: wanted(flags)?,
                limits: limits(values.text("limits").unwrap_or_default())?,
                volumes: repeated.volume.iter().map(|text| volume(text)).collect::<Result<_, _>>()?,
                kill_grace: values.duration("kill_grace")?,
                max_completion: values.duration("max_completion_time")?,
            },
            role: role(values.text("role").unwrap_or("*"))?,
            principal: principal(flags)?,
            kill_after: values.duration("kill_after")?,
            wait: values.duration("wait")?.unwrap_or(Duration::from_secs(15)),
            failover_timeout,
            reconnect_timeout: values.duration("reconnect_timeout")?.unwrap_or(failover_timeout),
            quiet: values.bool("quiet")?,
            seed: u64::from_le_bytes(seed),
        };
        job.name_try(0);
        Ok(job)
    }

    /// Gives the task the id of the n-th try; ids of tries that were lost can't be used again at once.
    pub fn name_try(&mut self, n: u32) {
        let base: String = self.task.name.chars().take(100).map(harmless).collect();
        let seed = self.seed >> 32;
        self.task.id = if n == 0 { format!("{base}-{seed:08x}") } else { format!("{base}-{seed:08x}-{n}") };
    }
}

/// Mesos: a framework has the principal that its scheduler logs in as.
fn principal(flags: &Flags) -> Result<Option<String>, Trouble> {
    let given = flags.values.text("principal").map(str::to_owned);
    Ok(given.or(api::credential(flags)?.map(|credential| credential.principal().to_owned())))
}

fn harmless(c: char) -> char {
    if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }
}

fn command(flags: &Flags, argv: Vec<String>, image: bool) -> Result<Command, Trouble> {
    match (flags.values.text("command"), argv.is_empty()) {
        (Some(_), false) => Err(usage("give --command or `-- program arguments`, not both")),
        (Some(line), true) => Ok(Command::Shell(line.to_owned())),
        (None, false) if flags.values.bool("arguments")? => Ok(Command::Arguments(argv)),
        (None, false) => Ok(Command::Program(argv)),
        (None, true) if image => Ok(Command::Image),
        (None, true) => Err(usage(
            "nothing to run: give `-- program arguments`, --command=LINE, or --image=IMAGE with its own command",
        )),
    }
}

fn name(command: &Command, image: Option<&str>) -> String {
    let path = match (command, image) {
        (Command::Program(argv), _) => argv.first().map_or("task", String::as_str),
        (Command::Shell(_), None) => "sh",
        (_, Some(image)) => image.split('@').next().unwrap_or(image),
        (_, None) => "task",
    };
    let last = path.rsplit('/').next().unwrap_or(path).split(':').next().unwrap_or("task");
    if last.is_empty() { "task".to_owned() } else { last.to_owned() }
}

fn media(text: &str) -> Result<Media, Trouble> {
    match text {
        "json" | media::JSON => Ok(Media::Json),
        "protobuf" | media::PROTOBUF => Ok(Media::Protobuf),
        other => Err(bad("content_type", other, "expected protobuf or json").into()),
    }
}

fn role(text: &str) -> Result<Role, Trouble> {
    Role::new(text).map_err(|error| bad("role", text, &error.to_string()).into())
}

fn wanted(flags: &Flags) -> Result<Resources, Trouble> {
    let text = flags.values.text("resources").unwrap_or_default();
    let read = resources::parse(text, &Role::any());
    let mut wanted = read.map_err(|error| bad("resources", text, &error.to_string()))?;
    for name in ["cpus", "mem"] {
        let Some(text) = flags.values.text(name) else { continue };
        let amount = text.parse().ok().and_then(Milli::from_f64).filter(|amount| *amount > Milli::ZERO);
        let amount = amount.ok_or_else(|| bad(name, text, "expected a number above zero"))?;
        wanted = wanted.filter(|r| &*r.name != name);
        wanted.add_one(&Resource::scalar(name, amount));
    }
    if wanted.iter().any(|r| !r.kind.reservations.is_empty() || matches!(r.amount, Amount::Set(_))) {
        let why = "name amounts only, such as cpus:1;mem:64;ports:[80-80]; --role chooses reserved ones";
        return Err(bad("resources", text, why).into());
    }
    if wanted.is_empty() {
        return Err(bad("resources", text, "a task needs some cpus or mem").into());
    }
    Ok(wanted)
}

fn limits(text: &str) -> Result<Vec<(String, f64)>, Trouble> {
    let read = |part: &str| {
        let (name, most) = part.split_once(':')?;
        let most = match most.trim() {
            "infinite" | "infinity" | "Infinity" => f64::INFINITY,
            number => number.parse().ok().filter(|number: &f64| *number > 0.0)?,
        };
        Some((name.trim().to_owned(), most))
    };
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    let wrong =
        || bad("limits", text, "expected name:amount;name:amount, such as cpus:2;mem:infinite").into();
    parts.map(|part| read(part).ok_or_else(wrong)).collect()
}

fn environment(texts: &[String]) -> Result<Vec<(String, String)>, Trouble> {
    let mut all = Vec::new();
    for text in texts {
        if let Ok(serde_json::Value::Object(object)) = serde_json::from_str(text) {
            // Mesos: --env='{"NAME":"value"}'.
            for (name, value) in object {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                all.push((name, value));
            }
            continue;
        }
        let variable = text.split_once('=').filter(|(name, _)| !name.is_empty());
        let (name, value) = variable.ok_or_else(|| bad("env", text, "expected NAME=value"))?;
        all.push((name.to_owned(), value.to_owned()));
    }
    Ok(all)
}

fn volume(text: &str) -> Result<HostVolume, Trouble> {
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, writable) = match parts[..] {
        [host, container] | [host, container, "rw"] => (host, container, true),
        [host, container, "ro"] => (host, container, false),
        _ => return Err(bad("volume", text, "expected /host/path:/container/path or …:ro").into()),
    };
    if !host.starts_with('/') || container.is_empty() {
        return Err(bad("volume", text, "the host's path must be absolute").into());
    }
    Ok(HostVolume { host: host.to_owned(), container: container.to_owned(), writable })
}
