//! Block devices: how much was read and written. Pure.

use serde::{Deserialize, Serialize};

/// Most devices that are told of.
const MOST: usize = 64;

/// One block device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceIo {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Bytes.
    pub bytes: IoCounts,
    /// Operations.
    pub operations: IoCounts,
}

/// By kind of operation, as far as the kernel tells them apart (v2 knows neither sync nor async).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IoCounts {
    /// Read.
    pub read: Option<u64>,
    /// Written.
    pub write: Option<u64>,
    /// Waited for.
    pub sync: Option<u64>,
    /// Not waited for.
    pub r#async: Option<u64>,
    /// Told the device that it isn't needed.
    pub discard: Option<u64>,
    /// All together.
    pub total: Option<u64>,
}

/// `io.stat`: a line a device, `254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`.
pub(super) fn of_v2(text: &str) -> Vec<DeviceIo> {
    text.lines().filter_map(device_of_v2).take(MOST).collect()
}

fn device_of_v2(line: &str) -> Option<DeviceIo> {
    let (number, values) = line.split_once(' ')?;
    let (major, minor) = device_number(number)?;
    let mut device = DeviceIo { major, minor, ..DeviceIo::default() };
    for (key, value) in values.split_whitespace().filter_map(|word| word.split_once('=')) {
        let slot = match key {
            "rbytes" => &mut device.bytes.read,
            "wbytes" => &mut device.bytes.write,
            "dbytes" => &mut device.bytes.discard,
            "rios" => &mut device.operations.read,
            "wios" => &mut device.operations.write,
            "dios" => &mut device.operations.discard,
            _ => continue,
        };
        *slot = value.parse().ok();
    }
    for counts in [&mut device.bytes, &mut device.operations] {
        let parts = [counts.read, counts.write, counts.discard];
        counts.total = parts.iter().flatten().copied().reduce(u64::saturating_add);
    }
    (device.bytes != IoCounts::default()).then_some(device)
}

/// `blkio.throttle.io_service_bytes`: a line a device and kind, `254:0 Read 4096`.
pub(super) fn of_v1(text: &str) -> Vec<DeviceIo> {
    let mut devices = Vec::new();
    add(&mut devices, text, |device| &mut device.bytes);
    devices
}

/// `blkio.throttle.io_serviced`, likewise.
pub(super) fn add_operations(devices: &mut Vec<DeviceIo>, text: &str) {
    add(devices, text, |device| &mut device.operations);
}

fn add(devices: &mut Vec<DeviceIo>, text: &str, counts: impl Fn(&mut DeviceIo) -> &mut IoCounts) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(number), Some(kind), Some(value)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let (Some((major, minor)), Ok(value)) = (device_number(number), value.parse()) else { continue };
        let known = devices.iter().position(|device| (device.major, device.minor) == (major, minor));
        let at = match known {
            Some(at) => at,
            None if devices.len() < MOST => {
                devices.push(DeviceIo { major, minor, ..DeviceIo::default() });
                devices.len() - 1
            }
            None => continue,
        };
        let counts = counts(&mut devices[at]);
        let slot = match kind {
            "Read" => &mut counts.read,
            "Write" => &mut counts.write,
            "Sync" => &mut counts.sync,
            "Async" => &mut counts.r#async,
            "Discard" => &mut counts.discard,
            "Total" => &mut counts.total,
            _ => continue,
        };
        *slot = Some(value);
    }
}

fn device_number(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
