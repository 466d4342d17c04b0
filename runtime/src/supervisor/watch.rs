//! The keeper's loop: wait for the builder, PID 1, its reports, callers, signals and time; do what the
//! lifecycle says.
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, pidfd_open, pidfd_send_signal, wait,
};

use super::builder::{Builder, Progress};
use super::clients::{Clients, Source};
use super::rotate::Outputs;
use super::unix_ms;
use super::verdict::{broken, exec_failed, exit_of};
use crate::cgroups::{Cgroups, Counters, Statistics};
use crate::ending::{Ending, Exit, ExitRecord, Failure, FailureKind, KillReason, Stage, chain};
use crate::init::{self, InitReport};
use crate::kernel::Processes;
use crate::lifecycle::{Effect, Event, Lifecycle, State};
use crate::protocol::{Command, Decoder, Report};
use crate::spec::ContainerSpec;

/// How to end a container's processes.
struct Living<'a> {
    first: Option<&'a First>,
    cgroups: &'a Cgroups,
}

impl Processes for Living<'_> {
    fn terminate(&self) -> io::Result<()> {
        self.first.map_or(Ok(()), |first| Ok(pidfd_send_signal(&first.pidfd, Signal::TERM)?))
    }

    fn kill_all(&self) -> io::Result<()> {
        // PID 1 first: with it the kernel ends its pid namespace, even if the cgroup is in trouble.
        let first = self.first.map_or(Ok(()), |first| pidfd_send_signal(&first.pidfd, Signal::KILL));
        self.cgroups.kill().map_err(|error| io::Error::other(chain(&error)))?;
        first.or_else(|errno| if errno == rustix::io::Errno::SRCH { Ok(()) } else { Err(errno.into()) })
    }
}

/// PID 1 of the container, a child of ours, so its id stays its own until we reap it.
struct First {
    pid: Pid,
    pidfd: OwnedFd,
}

/// What the loop waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wake {
    Builder,
    FirstProcess,
    Report,
    Signals,
    Output(usize),
    Caller(Source),
}

/// How long a container runs before its keeper does what can wait.
const QUIET: Duration = Duration::from_millis(100);

/// Keeps a container until its first process is gone.
pub(crate) struct Watch<'a> {
    /// The builder's connection, while it builds.
    builder: Option<UnixStream>,
    progress: Decoder,
    /// PID 1, once it is there.
    first: Option<First>,
    /// Where PID 1 reports, while that is open.
    report: Option<OwnedFd>,
    /// What the command writes, if that is rotated.
    outputs: Outputs,
    cgroups: &'a Cgroups,
    clients: &'a mut Clients,
    signals: &'a OwnedFd,
    life: Lifecycle,
    born: Instant,
    grace: Duration,
    /// The command itself is PID 1: the pipe closes when it runs.
    own_init: bool,
    /// Why the caller wants it dead, if it says so and no other reason came before.
    why: Option<KillReason>,
    /// How PID 1 itself ended.
    exit: Option<WaitStatus>,
    /// What PID 1 said last that matters.
    said: Option<InitReport>,
    /// The command's `execve` succeeded.
    ran: bool,
    /// By the wall clock, and by the one that never jumps.
    started_at: (u64, Instant),
    /// Memory pressure, where the kernel doesn't count it by itself.
    pressure: Option<Counters>,
    /// Done once, when the start is over.
    later: Option<Box<dyn FnOnce() + 'a>>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(
        builder: Builder,
        cgroups: &'a Cgroups,
        clients: &'a mut Clients,
        signals: &'a OwnedFd,
        spec: &ContainerSpec,
        later: Box<dyn FnOnce() + 'a>,
    ) -> Self {
        Self {
            builder: Some(builder.stream),
            progress: Decoder::default(),
            first: None,
            report: Some(builder.report),
            outputs: builder.outputs,
            cgroups,
            clients,
            signals,
            life: Lifecycle::new(spec.max_completion, spec.kill_grace),
            born: Instant::now(),
            grace: spec.kill_grace,
            own_init: spec.own_init,
            why: None,
            exit: None,
            said: None,
            ran: false,
            started_at: (unix_ms(), Instant::now()),
            pressure: None,
            later: Some(later),
        }
    }

    /// Runs until the start failed, or the container's first process is gone.
    pub(crate) fn run(mut self) -> Ending {
        loop {
            for wake in self.wait() {
                let ended = match wake {
                    Wake::Builder => self.hear_builder().err().map(Ending::Failed),
                    Wake::FirstProcess => Some(self.gone()),
                    Wake::Report => {
                        self.read_reports();
                        None
                    }
                    Wake::Signals => {
                        self.hear_signals();
                        None
                    }
                    Wake::Output(at) => {
                        self.outputs.pump(at);
                        None
                    }
                    Wake::Caller(Source::Listener) => {
                        self.clients.accept();
                        None
                    }
                    Wake::Caller(Source::Client(index)) => {
                        self.obey(index);
                        None
                    }
                };
                if let Some(ending) = ended {
                    return ending;
                }
            }
            self.clients.drop_broken();
            self.step(Event::Tick);
            if let Some(later) = self.later.take_if(|_| self.born.elapsed() >= QUIET) {
                later();
                self.count_pressure();
            }
        }
    }

    /// Everything that is ready, in the order in which it is to be believed: what PID 1 said before its
    /// end, and callers last, so that a kill that arrives with the end does not count.
    fn wait(&self) -> Vec<Wake> {
        let (mut wakes, mut fds) = (Vec::new(), Vec::new());
        let mut watch = |wake, fd, interest| {
            wakes.push(wake);
            fds.push(PollFd::from_borrowed_fd(fd, interest));
        };
        if let Some(builder) = &self.builder {
            watch(Wake::Builder, builder.as_fd(), PollFlags::IN);
        }
        if let Some(report) = &self.report {
            watch(Wake::Report, report.as_fd(), PollFlags::IN);
        }
        // While the builder lives it tells what became of PID 1, with a reason.
        if let (Some(first), None) = (&self.first, &self.builder) {
            watch(Wake::FirstProcess, first.pidfd.as_fd(), PollFlags::IN);
        }
        watch(Wake::Signals, self.signals.as_fd(), PollFlags::IN);
        for (at, pipe) in self.outputs.sources() {
            watch(Wake::Output(at), pipe, PollFlags::IN);
        }
        for (source, fd, writing) in self.clients.sources() {
            let room = if writing { PollFlags::OUT } else { PollFlags::empty() };
            watch(Wake::Caller(source), fd, PollFlags::IN | room);
        }
        match poll(&mut fds, self.patience().as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => tracing::error!(%error, "the keeper can't wait"),
        }
        let ready = fds.iter().zip(wakes).filter(|(fd, _)| !fd.revents().is_empty());
        ready.map(|(_, wake)| wake).collect()
    }

    /// Time until something is due.
    fn patience(&self) -> Option<Timespec> {
        let quiet = self.later.is_some().then_some(QUIET);
        let wake_at = self.life.wake_at().into_iter().chain(quiet).min()?;
        let left = wake_at.saturating_sub(self.born.elapsed());
        Some(Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::from(i32::MAX), tv_nsec: 0 }))
    }

    fn hear_builder(&mut self) -> Result<(), Failure> {
        let mut bytes = [0; 1024];
        let read = self.builder.as_mut().map(|builder| builder.read(&mut bytes));
        let closed = match read {
            Some(Ok(0)) => true,
            Some(Ok(length)) => {
                self.progress.feed(&bytes[..length]);
                false
            }
            Some(Err(error)) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
            None => return Ok(()),
        };
        let unreadable = |error| Failure::host(Stage::Build, "the builder can't be understood", &error);
        while let Some(progress) = self.progress.next().map_err(unreadable)? {
            match progress {
                Progress::Built { pid } => self.first = Some(first(pid)?),
                Progress::LetGo => {
                    self.builder = None;
                    self.reap();
                    return Ok(());
                }
                Progress::Failed(failure) => return Err(self.not_started(failure)),
            }
        }
        if closed {
            Err(self.not_started(self.lost("the process that builds the container ended")))
        } else {
            Ok(())
        }
    }

    /// A process of the start is gone without a word.
    fn lost(&self, what: &str) -> Failure {
        let why = match self.cgroups.oom_kills() {
            Ok(1..) => "the container's memory limit is too low for its start",
            _ => "was it killed?",
        };
        let message = format!("{what} before the command ran; {why}");
        Failure::new(Stage::Build, FailureKind::Host, message)
    }

    /// A start that was killed is no fault of the container.
    fn not_started(&self, failure: Failure) -> Failure {
        match self.life.state() {
            State::Starting { hard: None } | State::Running { .. } | State::Ended { why: None, .. } => {
                failure
            }
            _ => {
                let message = "it was killed before the command ran";
                Failure::new(failure.stage, FailureKind::Killed, message)
            }
        }
    }

    fn gone(&mut self) -> Ending {
        self.read_reports();
        self.outputs.finish();
        self.reap();
        self.step(Event::Gone);
        // Its status is unknown only if somebody else took it; what is known is that it is gone.
        self.ending(self.exit.map_or(Exit::Signal(libc::SIGKILL), |status| exit_of(status.as_raw())))
    }

    fn step(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.life.step(self.born.elapsed(), event, &mut effects);
        let living = Living { first: self.first.as_ref(), cgroups: self.cgroups };
        for effect in effects {
            match effect {
                Effect::Announce { why, grace } => {
                    let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
                    self.clients.tell(&Report::Killing { reason: why, grace_ms });
                }
                Effect::Terminate | Effect::KillAll => act(&living, effect),
                Effect::Finish => {}
            }
        }
    }

    fn read_reports(&mut self) {
        let mut bytes = [0; init::REPORT_SIZE];
        while let Some(report) = &self.report {
            match rustix::io::read(report, &mut bytes) {
                Ok(0) => {
                    self.report = None;
                    if self.own_init && self.said.is_none() {
                        self.ran();
                    }
                }
                Ok(length) => match init::decode(&bytes[..length]) {
                    Some(InitReport::Running { .. }) => self.ran(),
                    Some(other) => self.said = Some(other),
                    None => tracing::warn!("PID 1 reported what is no report"),
                },
                Err(rustix::io::Errno::AGAIN) => return,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::warn!(%error, "PID 1's reports can't be read");
                    self.report = None;
                }
            }
        }
    }

    fn ran(&mut self) {
        if !matches!(self.life.state(), State::Starting { .. }) {
            return;
        }
        self.ran = true;
        self.started_at = (unix_ms(), Instant::now());
        self.clients.announce(&Report::Started { pid: self.pid(), at_ms: self.started_at.0 });
        self.step(Event::Ran);
    }

    /// PID 1's id on the host.
    fn pid(&self) -> u32 {
        self.first.as_ref().map_or(0, |first| first.pid.as_raw_nonzero().get().unsigned_abs())
    }

    fn hear_signals(&mut self) {
        let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
        while let Ok(1..) = rustix::io::read(self.signals, &mut info) {
            // The first word is the signal's number.
            match i32::from_ne_bytes([info[0], info[1], info[2], info[3]]) {
                libc::SIGTERM => self.step(Event::Kill { grace: self.grace }),
                libc::SIGCHLD => self.reap(),
                _ => {}
            }
        }
    }

    /// Takes the status of every child that ended: the builder, libcontainer's helper, PID 1, and,
    /// without a pid namespace, whatever the command left behind.
    fn reap(&mut self) {
        // Not while the builder's word is awaited: what ended may be PID 1, of which nothing is known yet.
        if self.builder.is_some() {
            return;
        }
        let first = self.first.as_ref().map(|first| first.pid);
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if Some(pid) == first {
                self.exit = Some(status);
            }
        }
    }

    fn obey(&mut self, index: usize) {
        for command in self.clients.read(index) {
            match command {
                Command::Kill { grace_ms, why } => {
                    let grace = grace_ms.map_or(self.grace, Duration::from_millis);
                    if matches!(self.life.state(), State::Starting { hard: None } | State::Running { .. }) {
                        self.why = why;
                    }
                    self.step(Event::Kill { grace });
                }
                Command::Statistics {} => {
                    let usage = self.usage();
                    self.clients.answer(index, &Report::Statistics { at_ms: unix_ms(), usage });
                }
                Command::Unknown(_) => tracing::warn!("a caller sent a command of a newer version"),
            }
        }
    }

    fn usage(&mut self) -> Statistics {
        let mut usage = self.cgroups.statistics().unwrap_or_else(|error| {
            tracing::warn!(error = chain(&error), "no statistics");
            Statistics::default()
        });
        if let Some(counters) = &mut self.pressure {
            counters.fill(&mut usage);
        }
        usage
    }

    fn count_pressure(&mut self) {
        self.pressure = self.cgroups.count_pressure().unwrap_or_else(|error| {
            tracing::warn!(error = chain(&error), "memory pressure is not counted");
            None
        });
    }

    fn ending(&self, exit: Exit) -> Ending {
        let State::Ended { why, forced } = self.life.state() else { unreachable!("Gone always ends it") };
        let status = match self.said {
            Some(InitReport::Ended { wait_status }) => exit_of(wait_status),
            Some(InitReport::ExecFailed { errno, program_found }) => {
                return Ending::Failed(exec_failed(errno, program_found));
            }
            Some(InitReport::Broken { errno }) => return Ending::Failed(broken(errno)),
            Some(InitReport::Running { .. }) | None => exit,
        };
        if !self.ran {
            return Ending::Failed(self.not_started(self.lost("PID 1 of the container ended")));
        }
        let oom_kills = self.cgroups.oom_kills().unwrap_or_else(|error| {
            tracing::warn!(error = chain(&error), "can't tell whether memory ran out");
            0
        });
        let (started_at_ms, started) = self.started_at;
        let ran = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ending::Exited(ExitRecord {
            status,
            oom_kills,
            killed_by_us: why.map(|why| self.why.filter(|_| why == KillReason::Requested).unwrap_or(why)),
            forced,
            pid: self.pid(),
            started_at_ms,
            // So long it ran, whatever was done to the wall clock meanwhile.
            finished_at_ms: started_at_ms.saturating_add(ran),
            left_behind: Vec::new(),
        })
    }
}

fn first(pid: i32) -> Result<First, Failure> {
    let failed =
        |error: &io::Error| Failure::host(Stage::Build, "can't watch the container's first process", error);
    let pid = Pid::from_raw(pid).ok_or_else(|| failed(&io::Error::from(ErrorKind::InvalidData)))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| failed(&errno.into()))?;
    Ok(First { pid, pidfd })
}

fn act(processes: &dyn Processes, effect: Effect) {
    let done = match effect {
        Effect::Terminate => processes.terminate(),
        Effect::KillAll => processes.kill_all(),
        Effect::Announce { .. } | Effect::Finish => Ok(()),
    };
    // A kill is repeated; a SIGTERM that failed is followed by SIGKILL.
    if let Err(error) = done {
        tracing::warn!(%error, ?effect, "a signal could not be sent");
    }
}
