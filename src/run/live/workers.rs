//! The threads that send: a runtime of one thread each, with a client and a clock of its own.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::RunError;
use crate::client::http::{HttpTransport, Options};
use crate::client::{Connects, Transport as _};
use crate::clock::{Clock, Start};
use crate::run::Conduct;

/// Makes the conduct of a worker from its thread's clock and transport.
pub(super) type MakeConduct =
    Box<dyn FnOnce(Clock, HttpTransport) -> Conduct<HttpTransport> + Send>;

/// What a worker comes to: the connections that it made.
type Worked = Result<Connects, RunError>;

/// The workers of a process.
pub(super) struct Workers {
    threads: Vec<JoinHandle<()>>,
    begin: Vec<oneshot::Sender<MakeConduct>>,
    worked: mpsc::UnboundedReceiver<Worked>,
    report: mpsc::UnboundedSender<Worked>,
}

impl Workers {
    /// Starts `count` threads, and waits until the runtime, clock and client of each are there, so
    /// that the first request is as much on time as any other.
    pub async fn ready(count: u32, since: Start, options: &Options) -> Result<Self, RunError> {
        let (report, worked) = mpsc::unbounded_channel();
        let mut workers = Self {
            threads: Vec::new(),
            begin: Vec::new(),
            worked,
            report,
        };
        for index in 0..count {
            let (ready, is_ready) = oneshot::channel();
            let (begin, begins) = oneshot::channel();
            let (options, report) = (options.clone(), workers.report.clone());
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || {
                    let work = || work(since, &options, ready, begins);
                    // A bug in one worker must end the run, not leave it waiting for that one.
                    let worked = std::panic::catch_unwind(AssertUnwindSafe(work))
                        .unwrap_or(Err(RunError::WorkerPanicked(index)));
                    // Nobody listens only where the run has failed already.
                    let _ = report.send(worked);
                })?;
            workers.threads.push(thread);
            workers.begin.push(begin);
            // If it could not get ready, its result says why.
            let _ = is_ready.await;
        }
        Ok(workers)
    }

    /// Lets each begin with what `make` gives for its number.
    pub fn begin(&mut self, mut make: impl FnMut(u32) -> MakeConduct) {
        for (begin, index) in self.begin.drain(..).zip(0..) {
            // A worker that is gone shows its error in its result.
            let _ = begin.send(make(index));
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// The result of the next worker that is done; all of them come.
    pub async fn next(&mut self) -> Worked {
        self.worked.recv().await.expect("the sender is held here")
    }

    /// Waits for the threads to end; every result has come.
    pub fn join(self) {
        for thread in self.threads {
            thread.join().expect("a worker's panic is its result");
        }
    }
}

fn work(
    since: Start,
    options: &Options,
    ready: oneshot::Sender<()>,
    begins: oneshot::Receiver<MakeConduct>,
) -> Worked {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let transport = HttpTransport::new(options)?;
        let clock = Clock::live(since)?;
        let _ = ready.send(());
        // Without a word to begin there is no load.
        let Ok(make) = begins.await else {
            return Ok(Connects::default());
        };
        let worker = Arc::new(make(clock, transport.clone()));
        let (over, pulse_ends) = oneshot::channel();
        let pulse = tokio::spawn(worker.clone().pulse(pulse_ends));
        worker.drive().await;
        drop(over);
        pulse.await.expect("the pulse does not panic");
        Ok(transport.connects())
    })
}
