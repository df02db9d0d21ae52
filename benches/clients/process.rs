//! A process of one part of the bench: pinned to a core, ended with the bench, measured as a whole.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::client::Job;

/// Holds a part's [`Job`] as JSON. The arguments stay free: they are those of the harness's own command line.
const JOB: &str = "WEIGHBRIDGE_BENCH_JOB";

/// How often a process is asked whether it has ended.
const POLL: Duration = Duration::from_millis(20);

/// What a whole process used, from its start.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Used {
    /// User and system time of all threads, in seconds.
    pub cpu_s: f64,
    /// Largest resident size, in KiB.
    pub memory_kib: u64,
}

/// A running part; dropping it kills it.
#[derive(Debug)]
pub struct Part(Child);

/// The job of this process, if it is a part; it is then pinned, and ends with its parent.
pub fn job() -> Option<Job> {
    let text = std::env::var(JOB).ok()?;
    let job: Job = serde_json::from_str(&text).expect("the bench wrote the job");
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .expect("a signal may be chosen");
    let mut cores = CpuSet::new();
    cores.set(job.core);
    // Before any thread, so that all inherit it. A machine with one core measures contention as well.
    if let Err(error) = sched_setaffinity(None, &cores) {
        eprintln!("not pinned to core {}: {error}", job.core);
    }
    Some(job)
}

/// What this process has used by now.
pub fn used() -> anyhow::Result<Used> {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    Ok(Used {
        cpu_s: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
        memory_kib: memory_peak_kib("self")?,
    })
}

/// As many open files as the system allows; the parts inherit it.
pub fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    // If it stays too low, the part that needs more says so.
    let _ = setrlimit(Resource::Nofile, limit);
}

impl Part {
    /// Starts this program again for `job`, with `arguments`; its words on stderr go to the file `stderr`.
    pub fn start(
        job: &Job,
        arguments: &[String],
        stdout: Stdio,
        stderr: &Path,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program has no path")?;
        let child = Command::new(program)
            .args(arguments)
            .env(JOB, serde_json::to_string(job)?)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(File::create(stderr)?)
            .spawn()
            .context("a part of the bench does not start")?;
        Ok(Self(child))
    }

    /// Its output, once.
    pub fn stdout(&mut self) -> std::process::ChildStdout {
        self.0.stdout.take().expect("asked for, and taken once")
    }

    /// Waits for its end, at most this long.
    pub fn wait(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            anyhow::ensure!(begun.elapsed() < limit, "no end after {limit:?}");
            std::thread::sleep(POLL);
        }
    }

    /// What it has used by now.
    pub fn used(&self) -> anyhow::Result<Used> {
        let id = self.0.id().to_string();
        let mut cpu_ns = 0;
        for thread in fs::read_dir(format!("/proc/{id}/task"))? {
            let path = thread?.path().join("schedstat");
            // The first field is the time on a CPU. A thread may end in between.
            let text = fs::read_to_string(path).unwrap_or_default();
            let first = text.split_ascii_whitespace().next();
            cpu_ns += first.map_or(Ok(0), str::parse::<u64>)?;
        }
        Ok(Used {
            cpu_s: cpu_ns as f64 / 1e9,
            memory_kib: memory_peak_kib(&id)?,
        })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Both fail only for a process that is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn memory_peak_kib(process: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse().ok())
        .context("the system does not say how large a process was")
}

/// The end of what a part said on stderr.
pub fn last_words(stderr: &Path) -> String {
    let text = fs::read_to_string(stderr).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
