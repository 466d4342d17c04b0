//! Callers that die while a keeper is being started: what is found afterwards is never a keeper that is yet to come.
use std::fs;
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use runtime::protocol::Command;
use runtime::{ContainerSpec, Found, KeeperHandle};

use crate::world::{PROBE, World, eventually, world};

fn launcher(world: &World, spec: &ContainerSpec) -> Child {
    let file = world.path(&format!("{}.json", spec.id));
    fs::write(&file, serde_json::to_vec(spec).unwrap()).unwrap();
    Process::new(PROBE)
        .args(["run".as_ref(), file.as_os_str(), world.config.runtime_dir.as_os_str(), world.marker.as_ref()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn pause(time: Duration) {
    let pause = rustix::event::Timespec::try_from(time).unwrap();
    let _ = rustix::event::poll(&mut [], Some(&pause));
}

#[test]
fn a_caller_killed_at_any_moment_of_a_launch_leaves_a_container_or_nothing() {
    let Some(world) = world("a_caller_killed_at_any_moment_of_a_launch_leaves_a_container_or_nothing") else {
        return;
    };
    let mut kinds = [0; 3];
    for step in 0..60u32 {
        let spec = world.spec(&format!("half{step}"), &["sleep", "1000"]);
        let mut caller = launcher(&world, &spec);
        let folder = world.config.runtime_dir.join("containers").join(spec.id.as_str());
        if step % 3 != 0 {
            // From the first trace on, in steps of a fifth of a millisecond.
            eventually("the launch begins", || folder.exists() || caller.try_wait().unwrap().is_some());
        }
        // The last ones far enough for the slowest machine.
        let late = u64::from(step.saturating_sub(54)) * 100_000;
        pause(Duration::from_micros(u64::from(step) * 200 + late));
        caller.kill().unwrap();
        caller.wait().unwrap();
        let found = world.runtime.recover();
        match found.into_iter().next().map(|one| one.state) {
            None => kinds[0] += 1,
            Some(Found::Lost) => {
                kinds[1] += 1;
                // Then nobody may ever come.
                assert!(!world.runtime.lives(&spec.id));
                world.runtime.cleanup(&spec.id).unwrap();
                pause(Duration::from_millis(30));
                assert!(
                    !folder.exists() && world.processes().is_empty(),
                    "step {step}: {:?}",
                    world.processes()
                );
            }
            Some(Found::Running(stream)) => {
                kinds[2] += 1;
                let mut keeper = KeeperHandle::new(spec.id.clone(), stream);
                keeper.wait_started().unwrap_or_else(|error| panic!("{error}\n{}", world.log(&spec.id)));
                world.kill(keeper, Some(0));
            }
            Some(Found::Ended(ending)) => panic!("step {step}: it ended: {ending:?}"),
        }
        if folder.exists() {
            world.runtime.cleanup(&spec.id).unwrap();
        }
        assert_eq!(world.cgroups().len(), 0, "step {step}");
    }
    println!("not begun, lost, running: {kinds:?}");
    assert!(kinds[2] > 0, "{kinds:?}");
}

#[test]
fn a_keeper_that_is_slow_to_start_is_waited_for() {
    let Some(world) = world("a_keeper_that_is_slow_to_start_is_waited_for") else { return };
    // As a launch leaves it: a folder, a log with the caller's mark that a process holds which is not yet a keeper.
    let spec = world.spec("slow", &["true"]);
    let folder = world.config.runtime_dir.join("containers/slow");
    fs::create_dir(&folder).unwrap();
    let holder = Process::new(PROBE)
        .arg("hold-start")
        .arg(folder.join("keeper.log"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut holder = holder;
    let mut ready = [0; 1];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut ready).unwrap();
    assert!(world.runtime.lives(&spec.id));
    let error = world.runtime.connect(&spec.id).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(world.runtime.cleanup(&spec.id).is_err(), "what is being started is not removed");
    std::thread::scope(|scope| {
        let found = scope.spawn(|| world.runtime.recover());
        pause(Duration::from_millis(200));
        assert!(!found.is_finished(), "it must be waited for");
        holder.kill().unwrap();
        holder.wait().unwrap();
        let found = found.join().unwrap();
        assert!(matches!(found[0].state, Found::Lost));
    });
    world.runtime.cleanup(&spec.id).unwrap();
}

#[test]
fn a_keeper_that_stopped_answering_before_recovery_still_holds_its_container() {
    let Some(world) = world("a_keeper_that_stopped_answering_before_recovery_still_holds_its_container")
    else {
        return;
    };
    let spec = world.spec("stopped", &["sleep", "1000"]);
    let mut keeper = world.start(&spec);
    // The kernel accepts in its stead: it is found as running, and obeys once it goes on.
    let pid = keeper_pid(&world, &spec);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let found = world.runtime.recover();
    assert!(matches!(found[0].state, Found::Running(_)));
    keeper.send(&Command::Kill { grace_ms: Some(0), why: None }).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    keeper.wait_exit().unwrap();
    world.bury(keeper, &spec.id);
}

fn keeper_pid(world: &World, spec: &ContainerSpec) -> rustix::process::Pid {
    let mut other = KeeperHandle::new(spec.id.clone(), world.runtime.connect(&spec.id).unwrap());
    let runtime::protocol::Report::Hello { keeper_pid, .. } = other.report().unwrap() else {
        panic!("no greeting")
    };
    rustix::process::Pid::from_raw(i32::try_from(keeper_pid).unwrap()).unwrap()
}
