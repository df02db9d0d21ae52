//! What the system says of this thread and of this process's limits, where it says it (Linux).

use std::fs;
use std::path::PathBuf;

/// How this thread has been scheduled since its start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scheduled {
    /// How long it was ready to run while another ran on its core, in ns.
    pub waited_ns: u64,
    /// How many times it got a core.
    pub turns: u64,
}

/// The second and third number of `/proc/thread-self/schedstat`.
pub(super) fn thread_scheduled() -> Option<Scheduled> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let mut numbers = text.split_whitespace().skip(1).map(str::parse);
    Some(Scheduled {
        waited_ns: numbers.next()?.ok()?,
        turns: numbers.next()?.ok()?,
    })
}

/// Where the cgroup of this process says how long it was throttled.
#[derive(Debug)]
pub(super) struct Throttling(Option<PathBuf>);

impl Throttling {
    /// Finds the file: version 2 of cgroups, or the `cpu` controller of version 1. In a container
    /// the path of the cgroup is often that of the host, and the file stands at the root.
    pub fn find() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounted = groups.lines().filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let root = match controllers {
                "" => "/sys/fs/cgroup",
                _ if controllers.split(',').any(|name| name == "cpu") => "/sys/fs/cgroup/cpu",
                _ => return None,
            };
            Some([format!("{root}{path}"), root.to_owned()])
        });
        let mut files = mounted
            .flatten()
            .map(|folder| PathBuf::from(folder).join("cpu.stat"));
        Self(files.find(|file| throttled(&fs::read_to_string(file).unwrap_or_default()).is_some()))
    }

    /// How long the cgroup has been throttled, in ns since its start.
    pub fn ns(&self) -> Option<u64> {
        throttled(&fs::read_to_string(self.0.as_ref()?).ok()?)
    }
}

/// `throttled_usec` of version 2, or `throttled_time` (ns) of version 1.
fn throttled(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        let value: u64 = value.trim().parse().ok()?;
        match name {
            "throttled_usec" => Some(value * 1_000),
            "throttled_time" => Some(value),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::throttled;

    #[test]
    fn both_versions_of_cgroups_are_read() {
        let v2 = "usage_usec 9\nnr_periods 3\nnr_throttled 1\nthrottled_usec 250\n";
        assert_eq!(throttled(v2), Some(250_000));
        let v1 = "nr_periods 3\nnr_throttled 1\nthrottled_time 250\n";
        assert_eq!(throttled(v1), Some(250));
        assert_eq!(throttled("usage_usec 9\n"), None);
    }
}
