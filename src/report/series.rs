//! `series.csv`: the load second by second, for charts.

use std::fmt::Write as _;

use super::Report;
use crate::metrics::Load;

const HEADER: &str = "endpoint,offset_s,length_s,sent,ok,not_ok,token_events,bytes,in_flight,\
                      ttft_count,ttft_ms_p50,ttft_ms_p99\n";

/// The rows, by endpoint and time. `offset_s` counts from the begin of the measured window, and is
/// negative in the warm-up; what was not measured is an empty cell.
pub fn series_csv(report: &Report) -> String {
    let mut out = HEADER.to_owned();
    for point in &report.series {
        let _ = write!(
            out,
            "{},{},{}",
            point.endpoint, point.offset_s, point.length_s
        );
        let load = |get: fn(&Load) -> f64| point.load.as_ref().map(get);
        for value in [
            load(|l| l.sent),
            load(|l| l.ok),
            load(|l| l.not_ok),
            load(|l| l.token_events),
            load(|l| l.bytes),
            load(|l| l.in_flight),
        ] {
            cell(&mut out, value);
        }
        let _ = write!(out, ",{}", point.ttft_count);
        cell(&mut out, point.ttft_ms_p50);
        cell(&mut out, point.ttft_ms_p99);
        out.push('\n');
    }
    out
}

/// A number with as many decimals as it has, three at most.
fn cell(out: &mut String, value: Option<f64>) {
    out.push(',');
    if let Some(value) = value {
        // Zero has no sign.
        let _ = write!(out, "{}", (value * 1e3).round() / 1e3 + 0.0);
    }
}
