"""Holds gaps.hlog, as PyPI's hdrhistogram reads it, against the `icl` of report.json."""

import json
import sys
from pathlib import Path

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

# One hour in ns, at the harness's own three digits.
LONGEST_NS = 3_600_000_000_000
DIGITS = 3

# A bucket of three digits, its edge taken by either side, and the report's rounding to 1 us.
RELATIVE = 2e-3
ABSOLUTE_MS = 2e-3


def read(path):
    """One histogram for each endpoint, over all intervals; and how many intervals each has."""
    totals, intervals = {}, {}
    reader = HistogramLogReader(str(path), HdrHistogram(1, LONGEST_NS, DIGITS))
    last_end = {}
    while (part := reader.get_next_interval_histogram()) is not None:
        # The endpoint and the worker, whose intervals follow each other.
        tag = part.get_tag()
        endpoint = tag.split(".")[0]
        begin, end = part.get_start_time_stamp(), part.get_end_time_stamp()
        assert begin < end, f"{tag}: an interval of no length at {begin}"
        # Ends are given to the millisecond.
        assert begin >= last_end.get(tag, 0) - 2, f"{tag}: intervals overlap at {begin}"
        last_end[tag] = end
        totals.setdefault(endpoint, HdrHistogram(1, LONGEST_NS, DIGITS)).add(part)
        intervals[endpoint] = intervals.get(endpoint, 0) + 1
    return totals, intervals


def main(folder):
    report = json.loads((folder / "report.json").read_text())
    totals, intervals = read(folder / "gaps.hlog")
    shown = {name: e["latency_ms"]["icl"] for name, e in report["endpoints"].items()}
    expected = {name: icl for name, icl in shown.items() if icl is not None}
    assert expected, "the report has no gaps: name a run with streams in it"
    assert set(totals) == set(expected), f"tags {set(totals)}, endpoints {set(expected)}"
    for name, icl in expected.items():
        gaps = totals[name]
        assert gaps.get_total_count() == icl["count"], (
            f"{name}: {gaps.get_total_count()} gaps in the log, {icl['count']} in the report"
        )
        for key, percentile in [("p50", 50), ("p95", 95), ("p99", 99), ("max", 100)]:
            # A rank is rounded to the nearest there, and up in the report: one beside it is right too.
            beside = 100 / icl["count"]
            low, high = (
                gaps.get_value_at_percentile(min(max(p, 0), 100)) / 1e6
                for p in (percentile - beside, percentile + beside)
            )
            slack = max(RELATIVE * icl[key], ABSOLUTE_MS)
            assert low - slack <= icl[key] <= high + slack, (
                f"{name} {key}: {low} to {high} ms in the log, {icl[key]} ms in the report"
            )
        print(f"{name}: {icl['count']} gaps in {intervals[name]} intervals agree, p50 to max")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
