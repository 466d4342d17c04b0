//! Runs one container from a spec in a JSON file, for tests and measurements of the keeper.
//!
//! `keeper-probe run SPEC RUNTIME_DIR [CGROUPS_ROOT]` prints each report as a line of JSON and exits
//! as the command did (128 + signal), or with 125 when it never ran.
//!
//! `keeper-probe hold-start LOG` marks a log as a launch does before there is a keeper, and waits.
//!
//! `keeper-probe knock [SOCKET]...` connects to Unix sockets, to all that listen if none is named, and says of each whether
//! it was refused, closed the connection, said something, or was silent.
//!
//! `keeper-probe time SPEC RUNTIME_DIR COUNT` runs it COUNT times one after the other and prints for each
//! the milliseconds from the launch to the report that the command runs, and to the report of its end.
#![forbid(unsafe_code)]

use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::process::exit;
use std::time::{Duration, Instant};

use runtime::protocol::Report;
use runtime::{ContainerSpec, Exit, Isolation, Runtime, RuntimeConfig};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["supervise"] => runtime::supervise_main(),
        ["run", spec, runtime_dir] => run(spec, runtime_dir, "mesos"),
        ["run", spec, runtime_dir, root] => run(spec, runtime_dir, root),
        ["time", spec, runtime_dir, count] => finish(time(Path::new(spec), runtime_dir, count).map(|()| 0)),
        ["knock", sockets @ ..] => finish(knock(sockets).map(|()| 0)),
        ["hold-start", log] => finish(hold_start(log).map(|()| 0)),
        _ => {
            eprintln!(
                "usage: keeper-probe run SPEC RUNTIME_DIR [CGROUPS_ROOT] | time SPEC RUNTIME_DIR COUNT"
            );
            exit(2);
        }
    }
}

fn run(spec: &str, runtime_dir: &str, root: &str) -> ! {
    finish(contain(Path::new(spec), runtime_dir, root))
}

fn finish(result: Result<i32, Box<dyn std::error::Error>>) -> ! {
    match result {
        Ok(code) => exit(code),
        Err(error) => {
            eprintln!("keeper-probe: {error}");
            exit(125);
        }
    }
}

fn prepare(
    spec: &Path,
    runtime_dir: &str,
    root: &str,
) -> Result<(Runtime, ContainerSpec), Box<dyn std::error::Error>> {
    let spec: ContainerSpec = serde_json::from_slice(&std::fs::read(spec)?)?;
    let mut config = RuntimeConfig::new(runtime_dir);
    config.cgroups_root = root.to_owned();
    let host = Runtime::probe(&config, &Isolation::default())?;
    Ok((Runtime::new(config, host)?, spec))
}

fn contain(spec: &Path, runtime_dir: &str, root: &str) -> Result<i32, Box<dyn std::error::Error>> {
    let (runtime, spec) = prepare(spec, runtime_dir, root)?;
    let mut keeper = runtime.launch(&spec)?;
    loop {
        let report = keeper.report()?;
        println!("{}", serde_json::to_string(&report)?);
        let code = match report {
            Report::Exited(record) => match record.status {
                Exit::Code(code) => code,
                Exit::Signal(signal) => 128 + signal,
            },
            Report::Failed(_) => 125,
            _ => continue,
        };
        runtime.cleanup(&spec.id)?;
        return Ok(code);
    }
}

/// Marks a log as a launch does, says so by one byte, and holds the mark until its input ends.
fn hold_start(log: &str) -> Result<(), Box<dyn std::error::Error>> {
    let file = std::fs::OpenOptions::new().append(true).create_new(true).open(log)?;
    runtime::announce_start(&file)?;
    println!();
    std::io::stdin().read_line(&mut String::new())?;
    drop(file);
    Ok(())
}

/// Knocks at sockets; names of abstract ones begin with `@`.
fn knock(sockets: &[&str]) -> Result<(), Box<dyn std::error::Error>> {
    let mut names: Vec<String> = sockets.iter().map(ToString::to_string).collect();
    if names.is_empty() {
        let table = std::fs::read_to_string("/proc/net/unix")?;
        // Only those that listen take connections: __SO_ACCEPTCON.
        let listening = table.lines().filter(|line| line.split_whitespace().nth(3) == Some("00010000"));
        names.extend(listening.filter_map(|line| line.split_whitespace().nth(7)).map(str::to_owned));
    }
    for name in names {
        println!("{} {name}", answer(&name));
    }
    Ok(())
}

fn answer(name: &str) -> &'static str {
    let stream = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).and_then(|at| UnixStream::connect_addr(&at)),
        None => UnixStream::connect(name),
    };
    let Ok(mut stream) = stream else { return "refused" };
    // A keeper greets at once.
    let read = stream.set_read_timeout(Some(Duration::from_millis(500))).and_then(|()| stream.read(&mut [0]));
    match read {
        Ok(0) => "closed",
        Ok(_) => "answered",
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => "silent",
        Err(_) => "closed",
    }
}

fn time(spec: &Path, runtime_dir: &str, count: &str) -> Result<(), Box<dyn std::error::Error>> {
    let (runtime, spec) = prepare(spec, runtime_dir, "tepui-time")?;
    for _ in 0..count.parse::<u32>()? {
        let begin = Instant::now();
        let mut keeper = runtime.launch(&spec)?;
        keeper.wait_started()?;
        let started = begin.elapsed();
        keeper.wait_exit()?;
        let ended = begin.elapsed();
        println!("{:.3} {:.3}", started.as_secs_f64() * 1e3, ended.as_secs_f64() * 1e3);
        runtime.cleanup(&spec.id)?;
    }
    runtime.host().layout.remove_root("tepui-time")?;
    Ok(())
}
