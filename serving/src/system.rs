//! What is told of the machine: `/system/stats.json` and the gauges `system/*`.

use crate::metrics::Snapshot;

/// The load and memory of this machine. What can't be read is left out, as in Mesos.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct System {
    /// Averages over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Processors.
    pub cpus: Option<f64>,
    /// Bytes.
    pub memory_total: Option<f64>,
    /// Bytes that nobody uses.
    pub memory_free: Option<f64>,
}

impl System {
    /// Reads it now, from `/proc`: a few microseconds.
    pub fn read() -> System {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let cpus = std::thread::available_parallelism().ok();
        System {
            cpus: cpus.and_then(|count| u32::try_from(count.get()).ok()).map(f64::from),
            ..System::parse(&load, &memory)
        }
    }

    fn parse(load: &str, memory: &str) -> System {
        let mut loads = load.split_whitespace().map_while(|word| word.parse::<f64>().ok());
        let load = (|| Some([loads.next()?, loads.next()?, loads.next()?]))();
        let bytes = |name: &str| {
            let line = memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kilobytes * 1024.0)
        };
        System { load, cpus: None, memory_total: bytes("MemTotal"), memory_free: bytes("MemFree") }
    }

    fn parts(&self, names: [&'static str; 6]) -> Vec<(&'static str, f64)> {
        let load = |at: usize| self.load.map(|load| load[at]);
        let values = [load(0), load(1), load(2), self.cpus, self.memory_total, self.memory_free];
        names.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// `/system/stats.json`
    pub fn json(&self) -> Vec<u8> {
        let names = [
            "avg_load_1min",
            "avg_load_5min",
            "avg_load_15min",
            "cpus_total",
            "mem_total_bytes",
            "mem_free_bytes",
        ];
        let object: serde_json::Map<_, _> = self
            .parts(names)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), serde_json::Value::from(value)))
            .collect();
        serde_json::Value::from(object).to_string().into_bytes()
    }

    /// Adds the gauges.
    pub fn add_to(&self, snapshot: &mut Snapshot) {
        let names = [
            "system/load_1min",
            "system/load_5min",
            "system/load_15min",
            "system/cpus_total",
            "system/mem_total_bytes",
            "system/mem_free_bytes",
        ];
        self.parts(names).into_iter().for_each(|(name, value)| snapshot.gauge(name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        let memory = "MemTotal:       16384 kB\nMemFree:  1024 kB\nMemAvailable: 7 kB\n";
        let system = System::parse("0.10 1.50 2.00 1/234 5678\n", memory);
        assert_eq!(system.load, Some([0.1, 1.5, 2.0]));
        assert_eq!((system.memory_total, system.memory_free), (Some(16_777_216.0), Some(1_048_576.0)));
        assert_eq!(System::parse("", "MemTotal: much"), System::default());
        assert_eq!(System::default().json(), b"{}");
        let here: serde_json::Value = serde_json::from_slice(&System::read().json()).unwrap();
        assert!(here["cpus_total"].as_f64() >= Some(1.0) && here["mem_total_bytes"].as_f64() > Some(0.0));
    }
}
