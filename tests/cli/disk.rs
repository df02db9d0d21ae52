use crate::facts::{ENDPOINTS, measured, report};
use crate::program::Sandbox;
use crate::target::{Upstream, quick};

#[test]
fn a_full_disk_ends_the_run_and_keeps_what_was_measured() {
    let sandbox = Sandbox::new();
    let upstream = Upstream::start(quick());
    sandbox
        .program(["run", "live.toml", "--out", "out"])
        .args(["--target", &upstream.origin])
        .args(["--set", "load.count=1000000"])
        .no_file_above(64)
        .output()
        .exits(2)
        .says(&[
            "cannot write out/requests.csv",
            "File too large",
            "make room, or name a place that has some with `--out`",
        ]);
    let folder = sandbox.path("out");
    let bytes = std::fs::read(folder.join("requests.csv")).expect("rows");
    assert_eq!(bytes.last(), Some(&b'\n'), "whole rows only");
    assert!(measured(&folder).len() >= 10, "{} bytes", bytes.len());
    let manifest = std::fs::read_to_string(folder.join("run.json")).expect("a manifest");
    assert!(manifest.contains("\"partial\": true"), "{manifest}");

    sandbox
        .weighbridge(["report", "out"])
        .exits(3)
        .shows(&["NO VERDICT", "incomplete"]);
    let report = report(&folder);
    assert_eq!(report["run"]["partial"], true);
    assert_eq!(report["verdict"]["status"], "no_verdict");
    // Requests whose rows found no room came due all the same.
    let sum = |key: &str| -> u64 {
        ENDPOINTS
            .map(|name| report["endpoints"][name]["requests"][key].as_u64())
            .iter()
            .flatten()
            .sum()
    };
    assert_eq!(sum("attempts"), measured(&folder).len() as u64);
    assert!(sum("planned") > sum("attempts"));
}
