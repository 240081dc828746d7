"""The scenario in Python: prints one line of JSON."""

import json
import os
import sys

from aihub_analytics import ApiError, Client, errors

client = Client(os.environ["AIHUB_URL"], os.environ["AIHUB_API_KEY"])
source = client.default_source().rsplit("/", 1)[0] + "/scenario-" + sys.argv[1]
seen = {}


def event(number):
    return {
        "specversion": "1.0",
        "id": f"s-{number}",
        "source": source,
        "type": "usage.request",
        "time": os.environ["SCENARIO_TIME"],
        "data": {"model": "scenario-" + sys.argv[1], "input_tokens": number, "output_tokens": 1, "status_code": 200},
    }


first = client.send_events([event(number) for number in range(1, 8)])
again = client.send_events([event(number) for number in range(1, 8)])
seen["accepted"], seen["duplicate"] = first["accepted"], again["duplicate"]
with client.event_queue(batch_size=10) as queue:
    for number in range(8, 31):
        queue.send(event(number))
    queue.send({**event(31), "data": {"model": "x", "input_tokens": -1}})
seen["queued"], seen["rejected"] = queue.accepted, [one["verdict"]["code"] for one in queue.rejected]
sql = "select count(*) as n, sum(input_tokens) as tokens from usage_events where source = $source"
seen["rows"] = client.run_query({"sql": sql, "params": {"source": source}})["rows"]
metric = client.get_metric("requests", range="last_7_days", today=True, filter="model=scenario-" + sys.argv[1])
seen["metric"] = metric["rows"][0]["value"]
try:
    client.get_invoice("inv_none")
except errors.NotFound as error:
    seen["error"] = [error.status, error.code, error.request_id is not None]
try:
    client.run_query({"sql": "select nothing from nowhere"})
except ApiError as error:
    seen["query_error"] = error.code
seen["pages"] = sum(1 for _ in client.iterate_list_requests(limit=4, model="scenario-" + sys.argv[1]))
faulty = Client(os.environ["AIHUB_FAULTY_URL"], os.environ["AIHUB_API_KEY"], pause=0.01)
seen["retried"] = faulty.create_annotation({"at": "2026-01-31T00:00:00Z", "text": sys.argv[1]})["text"] == sys.argv[1]
print(json.dumps(seen, sort_keys=True, separators=(",", ":")))
