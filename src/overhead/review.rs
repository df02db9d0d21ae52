//! The folder of an overhead command -> its [`Overhead`], from the facts alone.

use super::assembly::{ReadArm, ReadLevel, assemble};
use super::console::console;
use super::level::{Done, Request};
use super::markdown::markdown;
use super::report::{Arm, Overhead};
use crate::review::{self, ReviewError};
use crate::store::{PairsFolder, RunFolder, StoreError};

/// Makes the report. Each arm's own report is made again, too.
pub fn review(folder: &PairsFolder) -> Result<Overhead, ReviewError> {
    let pairs = folder.pairs()?;
    let mut read = Vec::new();
    for &endpoint in &pairs.endpoints {
        for level in 0..pairs.levels.len() {
            let names = [0, 1].map(|arm| pairs.folder(endpoint, level, arm));
            let runs = names.each_ref().map(|name| folder.run(name));
            let [Some(direct), Some(via)] = &runs else {
                break;
            };
            read.push(ReadLevel {
                endpoint,
                level,
                arms: [read_arm(direct, &names[0])?, read_arm(via, &names[1])?],
            });
        }
    }
    Ok(assemble(&pairs, read))
}

fn read_arm(folder: &RunFolder, name: &str) -> Result<ReadArm, ReviewError> {
    let report = review::review(folder, None)?;
    // A folder that can only be read has its report all the same.
    let _ = review::write(folder, &report);
    let mut done = Done {
        blocks: folder.blocks()?.unwrap_or_default(),
        requests: Vec::new(),
    };
    folder.each_request(|record| {
        done.requests.extend(Request::of(&record));
        Ok(())
    })?;
    Ok(ReadArm {
        arm: Arm {
            folder: name.to_owned(),
            run: report.run.id,
            requests: 0,
            ok: 0,
            connected: 0,
            seconds: 0.0,
            valid: report.validity.valid,
            reasons: report.validity.reasons,
            partial: report.run.partial,
            warnings: report.run.warnings,
        },
        interrupted: folder.manifest()?.interrupted,
        done,
    })
}

/// Writes the report's files into the folder.
pub fn write(folder: &PairsFolder, overhead: &Overhead) -> Result<(), StoreError> {
    folder.write("overhead.json", overhead.json().as_bytes())?;
    folder.write("overhead.md", markdown(overhead).as_bytes())?;
    folder.write("overhead.txt", console(overhead, false).as_bytes())
}
