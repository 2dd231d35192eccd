//! The process, as the kernel sees it, under the names that Prometheus' own clients use. Elsewhere than on Linux there is
//! nothing to read, and the numbers are not shown.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Registry;

pub(super) const CPU_HELP: &str = "Processor time of the process, in seconds.";

/// Linux counts in hundredths of a second here, on every architecture (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;
/// What the kernel calls kB.
const KIB: f64 = 1024.0;

type Read = fn() -> Option<f64>;

const GAUGES: &[(&str, &str, Read)] = &[
    ("process_resident_memory_bytes", "Memory in use, in bytes.", || status("VmRSS:").map(|kib| kib * KIB)),
    ("process_virtual_memory_bytes", "Address space in use, in bytes.", || status("VmSize:").map(|kib| kib * KIB)),
    ("process_threads", "Threads.", || status("Threads:")),
    ("process_open_fds", "Open file descriptors.", open_fds),
    ("process_max_fds", "The most file descriptors that may be open.", max_fds),
];

/// The time of its start is given, because the kernel's word on it needs `/proc/stat`, which a hardened unit hides.
pub(super) fn register(registry: &mut Registry, started: SystemTime) {
    let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
    registry
        .gauge("process_start_time_seconds", "When the process started, in seconds since 1970-01-01 UTC.", &[])
        .set(since.as_secs_f64());
    for &(name, help, read) in GAUGES {
        if read().is_some() {
            registry.watch(name, help, &[], move || read().unwrap_or(f64::NAN));
        }
    }
    registry
        .gauge("proconf_build_info", "Always 1; the version is a label.", &[("version", env!("CARGO_PKG_VERSION"))])
        .set(1.0);
}

/// Processor time so far.
pub(super) fn cpu_seconds() -> Option<f64> {
    let stat = stat()?;
    // User and system.
    Some((field(&stat, 14)? + field(&stat, 15)?) / TICKS_PER_SECOND)
}

fn open_fds() -> Option<f64> {
    // One of them is the folder itself.
    let open = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u32::try_from(open).ok().map(f64::from)
}

fn max_fds() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A line of `status`; memory is in KiB there.
fn status(name: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

fn stat() -> Option<String> {
    fs::read_to_string("/proc/self/stat").ok()
}

/// A field by its number in proc(5). The second one is a name in parentheses, and may hold anything.
fn field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_whatever_the_process_is_called() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 1400 1500 16 17 18 19 20 21 2200 23";
        assert_eq!(field(stat, 14), Some(1400.0));
        assert_eq!(field(stat, 15), Some(1500.0));
        assert_eq!(field(stat, 22), Some(2200.0));
        assert_eq!(field(stat, 99), None);
    }

    #[test]
    fn the_numbers_are_this_process_s() {
        let kept = vec![1_u8; 64 << 20];
        assert!(status("VmRSS:").unwrap() * KIB > f64::from(u32::try_from(kept.len()).unwrap()));
        assert!(open_fds().unwrap() >= 1.0 && max_fds().unwrap() > 10.0 && cpu_seconds().unwrap() >= 0.0);
    }
}
