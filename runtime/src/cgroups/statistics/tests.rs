//! From the kernel's texts to figures.

use std::fs;

use proptest::prelude::*;

use super::*;

fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Folder) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("leaf")).unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let folder = Folder::open(dir.path()).unwrap().unwrap();
    (dir, folder)
}

fn counts(read: u64, write: u64, discard: u64) -> IoCounts {
    IoCounts {
        read: Some(read),
        write: Some(write),
        discard: Some(discard),
        total: Some(read + write + discard),
        ..IoCounts::default()
    }
}

#[test]
fn every_figure_of_v2() {
    let (_dir, folder) = folder(&[
        (
            "cpu.stat",
            "usage_usec 9\nuser_usec 5\nsystem_usec 4\nnr_periods 3\nnr_throttled 2\nthrottled_usec 1\n",
        ),
        ("memory.current", "100\n"),
        ("memory.max", "max\n"),
        ("memory.low", "50\n"),
        ("memory.swap.current", "7\n"),
        ("memory.stat", "anon 10\nfile 20\nkernel 30\nsock 40\nfile_mapped 50\nunevictable 60\n"),
        ("memory.events", "low 1\nhigh 2\nmax 4\noom 3\noom_kill 5\noom_group_kill 1\n"),
        ("pids.current", "3\n"),
        ("pids.max", "max\n"),
        ("io.stat", "254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n7:0 \n"),
        ("leaf/cgroup.procs", "1\n2\n"),
        (
            "cpu.pressure",
            "some avg10=1.23 avg60=0.00 avg300=100.00 total=42\nfull avg10=0.01 avg60=0.00 avg300=0.00 total=1\n",
        ),
    ]);
    let (mut all, buffer) = (Statistics::default(), &mut String::new());
    v2::read(&folder, &mut all, buffer).unwrap();
    pressure::read(&folder, &mut all, buffer).unwrap();
    let some = PressureLine { avg10_centi: 123, avg60_centi: 0, avg300_centi: 10_000, total_us: 42 };
    let full = PressureLine { avg10_centi: 1, total_us: 1, ..PressureLine::default() };
    let want = Statistics {
        cpu_user_us: Some(5),
        cpu_system_us: Some(4),
        cpu_periods: Some(3),
        cpu_throttled_periods: Some(2),
        cpu_throttled_us: Some(1),
        memory_current_bytes: Some(100),
        memory_and_swap_bytes: Some(107),
        memory_low_bytes: Some(50),
        memory_anon_bytes: Some(10),
        memory_file_bytes: Some(20),
        memory_mapped_bytes: Some(50),
        memory_kernel_bytes: Some(30),
        memory_sock_bytes: Some(40),
        memory_unevictable_bytes: Some(60),
        swap_bytes: Some(7),
        pressure_low: Some(7),
        pressure_medium: Some(4),
        pressure_critical: Some(3),
        pids_current: Some(3),
        processes: Some(2),
        threads: Some(3),
        oom_kills: Some(5),
        io: Some(vec![DeviceIo {
            major: 254,
            minor: 0,
            bytes: counts(1, 2, 5),
            operations: counts(3, 4, 6),
        }]),
        psi_cpu: Some(Pressure { some, full: Some(full) }),
        ..Statistics::default()
    };
    assert_eq!(all, want);
}

#[test]
fn every_figure_of_v1() {
    let (_dir, folder) = folder(&[
        ("cpuacct.usage_user", "5000\n"),
        ("cpuacct.usage_sys", "4999\n"),
        ("cpu.stat", "nr_periods 3\nnr_throttled 2\nthrottled_time 1000\n"),
        ("memory.usage_in_bytes", "100\n"),
        ("memory.limit_in_bytes", "200\n"),
        ("memory.soft_limit_in_bytes", "9223372036854771712\n"),
        ("memory.memsw.usage_in_bytes", "107\n"),
        ("memory.kmem.usage_in_bytes", "30\n"),
        ("memory.kmem.tcp.usage_in_bytes", "40\n"),
        (
            "memory.stat",
            "rss 1\ntotal_rss 10\ntotal_cache 20\ntotal_mapped_file 50\ntotal_unevictable 60\ntotal_swap 7\n",
        ),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"),
        ("pids.current", "3\n"),
        ("pids.max", "9\n"),
        (
            "blkio.throttle.io_service_bytes",
            "254:0 Read 1\n254:0 Write 2\n254:0 Sync 3\n254:0 Async 0\n254:0 Discard 5\n254:0 Total 8\nTotal 8\n",
        ),
        ("blkio.throttle.io_serviced", "254:0 Read 3\n7:1 Write 1\nTotal 4\n"),
    ]);
    let mut all = Statistics::default();
    v1::read(&folder, &mut all, &mut String::new()).unwrap();
    let bytes = IoCounts { sync: Some(3), r#async: Some(0), ..counts(1, 2, 5) };
    let operations = IoCounts { read: Some(3), ..IoCounts::default() };
    let written = IoCounts { write: Some(1), ..IoCounts::default() };
    let want = Statistics {
        cpu_user_us: Some(5),
        cpu_system_us: Some(4),
        cpu_periods: Some(3),
        cpu_throttled_periods: Some(2),
        cpu_throttled_us: Some(1),
        memory_current_bytes: Some(100),
        memory_and_swap_bytes: Some(107),
        memory_limit_bytes: Some(200),
        memory_anon_bytes: Some(10),
        memory_file_bytes: Some(20),
        memory_mapped_bytes: Some(50),
        memory_kernel_bytes: Some(30),
        memory_sock_bytes: Some(40),
        memory_unevictable_bytes: Some(60),
        swap_bytes: Some(7),
        pids_current: Some(3),
        pids_limit: Some(9),
        oom_kills: Some(5),
        io: Some(vec![
            DeviceIo { major: 254, minor: 0, bytes, operations },
            DeviceIo { major: 7, minor: 1, operations: written, ..DeviceIo::default() },
        ]),
        ..Statistics::default()
    };
    assert_eq!(all, want);
}

#[test]
fn nothing_there_is_nothing_not_zero() {
    let (_dir, folder) = folder(&[]);
    let (mut all, buffer) = (Statistics::default(), &mut String::new());
    v1::read(&folder, &mut all, buffer).unwrap();
    v2::read(&folder, &mut all, buffer).unwrap();
    pressure::read(&folder, &mut all, buffer).unwrap();
    assert_eq!(all, Statistics::default());
}

#[test]
fn figures_travel_and_older_ones_are_read() {
    let all = Statistics {
        io: Some(vec![DeviceIo { major: 1, ..DeviceIo::default() }]),
        psi_io: Some(Pressure::default()),
        ..Statistics::default()
    };
    let text = serde_json::to_string(&all).unwrap();
    assert_eq!(serde_json::from_str::<Statistics>(&text).unwrap(), all);
    let old = serde_json::from_str::<Statistics>(r#"{"cpu_user_us":1,"later":[]}"#).unwrap();
    assert_eq!(old, Statistics { cpu_user_us: Some(1), ..Statistics::default() });
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(?s).{0,200}", line in "[0-9]{1,3}:[0-9]{1,3}( [a-zR]{1,7}=?[0-9]{0,30}){0,6}") {
        for text in [&text, &line] {
            let mut devices = io::of_v1(text);
            io::add_operations(&mut devices, text);
            let _ = (io::of_v2(text), pressure::parse(text));
        }
    }
}
