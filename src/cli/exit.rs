//! Exit codes: their one home.
//!
//! In order of precedence:
//!
//! | code | meaning |
//! |---|---|
//! | 130 | interrupted; facts are kept and the report is marked partial |
//! | 2 | the command line, a file, the key or the target is wrong; also a refused preflight |
//! | 1 | a gate failed, or nothing succeeded |
//! | 3 | no verdict: the run is invalid, inconclusive, without data, or incomplete |
//! | 0 | passed |

use std::process::ExitCode;

use crate::verdict::Status;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Every gate holds, or the command has done its work.
    Passed = 0,
    /// A gate failed, or nothing succeeded.
    Failed = 1,
    /// The command line, a file, the key or the target is wrong.
    Wrong = 2,
    /// The run cannot tell.
    NoVerdict = 3,
    /// Stopped by a signal.
    Interrupted = 130,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Status> for Exit {
    fn from(status: Status) -> Self {
        match status {
            Status::Passed => Self::Passed,
            Status::Failed => Self::Failed,
            Status::NoVerdict => Self::NoVerdict,
            Status::Interrupted => Self::Interrupted,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
