//! The program under test: started in a folder of its own, with an empty environment, watched by a
//! limit.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// No command of these tests takes nearly this long, on any machine.
const LIMIT: Duration = Duration::from_secs(60);

/// How often a condition outside the process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until `LIMIT`.
const LOOKS_MAX: u32 = 12_000;

/// A scenario for any target: over in a tenth of a second, and judged by nothing that depends on
/// how busy the machine is.
pub const SCENARIO: &str = r#"name = "quick"
gates = ["error_rate == 0%", "cost.coverage == 100%", "cost.delta_abs == 0 USD"]

[target]
endpoint = "both"
model = "magistral-small-latest"

[workload]
input_tokens = { fixed = 60 }
output_tokens = { fixed = 4 }

[load]
concurrency = 2
count = 3
"#;

/// The embedded upstream at its quickest.
pub const OFFLINE: &str = "
[offline]
ttft_ms_median = 2.0
gap_ms_median = 1.0
";

/// A folder of one test.
pub struct Sandbox {
    folder: TempDir,
}

impl Sandbox {
    /// Holds `live.toml`, for `--target`, and `quick.toml`, for the embedded upstream.
    pub fn new() -> Self {
        let sandbox = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        sandbox.write("live.toml", SCENARIO);
        sandbox.write("quick.toml", &format!("{SCENARIO}{OFFLINE}"));
        sandbox
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file in the sandbox");
        path
    }

    /// `weighbridge ARGS...`, in this folder.
    pub fn program<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weighbridge"));
        // Whoever runs the tests may have a proxy or a key of their own.
        command
            .env_clear()
            .current_dir(self.folder.path())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Program { command }
    }

    /// A run of `live.toml` against `origin`, into the folder `out`.
    pub fn run_against(&self, origin: &str) -> Program {
        self.program(["run", "live.toml", "--target", origin, "--out", "out"])
    }

    /// `weighbridge ARGS...`, to its end.
    pub fn weighbridge<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.program(args).output()
    }
}

/// A command that is not started yet.
pub struct Program {
    command: Command,
}

impl Program {
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// A pipe whose other end is closed before the program begins.
    pub fn closed_stdout(mut self) -> Self {
        self.command.stdout(closed_pipe());
        self
    }

    pub fn closed_stderr(mut self) -> Self {
        self.command.stderr(closed_pipe());
        self
    }

    /// No file of the program grows beyond so many blocks of the shell (512 or 1,024 bytes): to it,
    /// that is a disk that is full.
    pub fn no_file_above(self, blocks: u32) -> Self {
        let limited = format!("ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let mut command = Command::new("/bin/sh");
        command
            .env_clear()
            .arg("-c")
            .arg(limited)
            .arg(self.command.get_program())
            .args(self.command.get_args())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(folder) = self.command.get_current_dir() {
            command.current_dir(folder);
        }
        Self { command }
    }

    pub fn start(mut self) -> Running {
        let mut child = self.command.spawn().expect("the program starts");
        let (told, news) = channel();
        let stdout = Collected::of(child.stdout.take(), &told);
        let stderr = Collected::of(child.stderr.take(), &told);
        Running {
            child,
            stdout,
            stderr,
            news,
        }
    }

    pub fn output(self) -> Output {
        self.start().end()
    }
}

fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// What a stream has carried so far.
#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<u8>>>);

impl Collected {
    /// Reads `stream` to its end on a thread of its own. `told` lives as long as the stream does.
    fn of(stream: Option<impl Read + Send + 'static>, told: &Sender<()>) -> Self {
        let collected = Self::default();
        if let Some(mut stream) = stream {
            let (collected, told) = (collected.clone(), told.clone());
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    collected
                        .0
                        .lock()
                        .expect("nobody panics with it")
                        .extend_from_slice(&buffer[..n]);
                    let _ = told.send(());
                }
            });
        }
        collected
    }

    fn text(&self) -> String {
        let bytes = self.0.lock().expect("nobody panics with it");
        String::from_utf8(bytes.clone()).expect("the program writes UTF-8")
    }
}

/// A program that runs. Dropping it kills it.
pub struct Running {
    child: Child,
    stdout: Collected,
    stderr: Collected,
    /// A word for whatever the program wrote; disconnected once both streams have ended.
    news: Receiver<()>,
}

impl Running {
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub fn signal(&self, signal: Signal) {
        // The child is not reaped before `end`, so this is nobody else's id.
        kill_process(Pid::from_child(&self.child), signal).expect("a signal to a child");
    }

    /// Waits for `condition`, which something else brings about.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        for _ in 0..LOOKS_MAX {
            if condition() {
                return;
            }
            let ended = self.has_ended(LOOK_EVERY);
            assert!(!ended, "ended before {what}: {}", self.so_far());
        }
        panic!("no sign of {what}: {}", self.so_far());
    }

    /// Does `act` again and again until the program has ended.
    #[track_caller]
    pub fn until_it_ends(self, act: impl Fn(&Self)) -> Output {
        for _ in 0..LOOKS_MAX {
            act(&self);
            if self.has_ended(LOOK_EVERY) {
                return self.end();
            }
        }
        panic!("does not end: {}", self.so_far());
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Output {
        while !self.has_ended(LIMIT) {}
        Output {
            status: self.child.wait().expect("a child"),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
        }
    }

    /// Whether both streams have ended; silence for longer than `LIMIT` is a failure.
    #[track_caller]
    fn has_ended(&self, within: Duration) -> bool {
        match self.news.recv_timeout(within) {
            Err(RecvTimeoutError::Disconnected) => true,
            Err(RecvTimeoutError::Timeout) if within == LIMIT => {
                panic!("hangs: {}", self.so_far())
            }
            Ok(()) | Err(RecvTimeoutError::Timeout) => false,
        }
    }

    fn so_far(&self) -> String {
        format!(
            "stdout:\n{}\nstderr:\n{}",
            self.stdout.text(),
            self.stderr.text()
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail for a child that is gone, as after `end`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a program ended, and all that it wrote.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Holds the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.status.code(),
            Some(code),
            "{}\nstdout:\n{}\nstderr:\n{}",
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Every part is in what it said on stderr; wherever lines are broken.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        has(&self.stderr, parts);
        self
    }

    /// Every part is in its data on stdout; wherever lines are broken.
    #[track_caller]
    pub fn shows(self, parts: &[&str]) -> Self {
        has(&self.stdout, parts);
        self
    }
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in parts {
        assert!(
            words(text).contains(&words(part)),
            "no `{part}` in:\n{text}"
        );
    }
}

/// Every file below `folder`.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
