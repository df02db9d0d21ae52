"""LiteLLM's spend log as a CSV, without its database. Runs inside LiteLLM, as one of its callbacks.

LiteLLM writes its spend log to PostgreSQL and nowhere else. A callback gets what the writer of that
table gets; here LiteLLM's own function makes the row of it, and the cost is put in as LiteLLM's
writer does. Columns are those of the table that a ledger needs.
"""

import csv
import os
import threading

from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy.spend_tracking.spend_tracking_utils import get_logging_payload

COLUMNS = (
    *("request_id", "call_type", "spend", "total_tokens", "prompt_tokens", "completion_tokens"),
    *("startTime", "endTime", "model", "model_group", "cache_hit", "status"),
)


class SpendLog(CustomLogger):
    def __init__(self, path):
        super().__init__()
        self.path, self.lock = path, threading.Lock()
        self.write(COLUMNS, "w")

    def write(self, cells, mode="a"):
        with self.lock, open(self.path, mode, newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(cells)

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        row = get_logging_payload(kwargs, response_obj, start_time, end_time)
        known = kwargs.get("standard_logging_object") or {}
        row["spend"] = known.get("response_cost") or kwargs.get("response_cost") or 0.0
        self.write([text(row.get(name)) for name in COLUMNS])


def text(cell):
    return "" if cell is None else cell.isoformat() if hasattr(cell, "isoformat") else str(cell)


rows = SpendLog(os.environ["SPEND_LOG"])
