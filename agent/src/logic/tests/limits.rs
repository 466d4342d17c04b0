//! Tasks that go over a limit, and limits that can't be.

use expect_test::expect;
use wire::v1;

use super::world::{FINISHED, TERMINATED, World, framework, task};
use crate::logic::{Event, Exit, ExitStatus, KillCause};

const KILLED: Exit =
    Exit { status: ExitStatus::Signal(9), out_of_memory: false, killed: Some(KillCause::DiskQuota) };

fn over(world: &mut World) {
    let why = "Disk usage (20MB) exceeds quota (10MB)".to_owned();
    world.give(Event::DiskQuotaExceeded { container: world.container(), why });
}

/// A running task that asked for 10 MB of disk.
fn with_disk() -> World {
    let mut world = World::registered();
    let mut info = task("t");
    let disk = model::resources::parse("disk:10", &model::Role::any()).unwrap();
    info.resources.extend(disk.to_wire());
    world.run(&framework("F", true), info);
    world.started();
    world.acknowledge();
    world.acknowledge();
    world.told();
    world
}

/// isolators.md: disk/du kills with CONTAINER_LIMITATION_DISK.
#[test]
fn too_much_disk_ends_a_task_at_once() {
    let mut world = with_disk();
    over(&mut world);
    over(&mut world);
    world.exited(KILLED);
    expect![[r#"
        evict t
        write update t TASK_FAILED
        destroy t
        say t TASK_FAILED SOURCE_AGENT REASON_CONTAINER_LIMITATION_DISK 'Disk usage (20MB) exceeds quota (10MB)'
    "#]]
    .assert_eq(&world.told());
    let status = world.sent.last().unwrap().status.as_ref().unwrap();
    let limit = &status.limitation.as_ref().unwrap().resources[0];
    assert_eq!((limit.name.as_str(), limit.scalar.unwrap().value), ("disk", 10.0));
}

#[test]
fn a_task_that_ends_by_itself_or_by_a_kill_is_not_over_its_quota() {
    let mut world = with_disk();
    over(&mut world);
    world.exited(FINISHED);
    assert!(world.told().contains("TASK_FINISHED"));
    let mut world = with_disk();
    world.kill("t", None);
    over(&mut world);
    world.exited(TERMINATED);
    let told = world.told();
    assert!(told.contains("TASK_KILLED") && !told.contains("evict"), "{told}");
    over(&mut world);
    assert_eq!(world.told(), "");
}

/// behaviour.md section 5: only cpus and mem, each at least its request.
#[test]
fn a_limit_below_the_request_is_an_error() {
    let mut world = World::registered();
    let mut info = task("t");
    info.limits.insert("mem".to_owned(), v1::value::Scalar { value: 32.0 });
    world.run(&framework("F", true), info);
    expect![[r#"
        destroy beeb8da1-658e-4c67-b893-a2eefb32555e
        say t TASK_ERROR SOURCE_AGENT REASON_TASK_INVALID 'The task's limit of 32 mem is below its request of 64'
    "#]]
    .assert_eq(&world.told());
    let mut info = task("u");
    info.limits.insert("mem".to_owned(), v1::value::Scalar { value: f64::INFINITY });
    world.run(&framework("F", true), info);
    assert!(world.told().contains("launch u"));
}
