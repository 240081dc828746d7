"""Answers of a server that has data, judged by the contract: what is answered is what its schema says.

Every list is asked for, and every analysis, metric and forecast, with the example of its body; of each list, the first
three are asked for by their ids. The fuzzer asks a server without history: it never sees a forecast or an anomaly.

Usage: AIHUB_URL=… AIHUB_API_KEY=… answers.py
The key is of staff: it has the scopes read and admin.
"""

import os
import re
import sys

import jsonschema
import requests

URL = os.environ["AIHUB_URL"]
HEADERS = {"Authorization": "Bearer " + os.environ["AIHUB_API_KEY"]}
# What asks and changes nothing. Others are asked by the Postman collection.
ASKED_BY_POST = re.compile("^(query_|explain_|run_query|validate_|try_alert|list_next_times|preview_prices)")
# It has no end.
SKIPPED = {"stream_usage"}
# Names that stand for an element in the path of another operation; their lists have them under `id` or the name itself.
LISTS = {
    "metric": ("/v1/metrics", "metrics"), "/v1/anomalies": ("/v1/anomalies", "anomalies"),
    "/v1/dashboards": ("/v1/dashboards", "dashboards"), "invoice_id": ("/v1/invoices", "invoices"),
    "/v1/queries": ("/v1/queries", "queries"), "/v1/admin/jobs": ("/v1/admin/jobs", "jobs"),
    "/v1/metrics": ("/v1/metrics", "metrics"), "organization_id": ("/v1/admin/organizations", "organizations"),
}
# Of metrics and forecasts, what has kinds of its own: a ratio, a percentile, a balance, an amount.
METRICS = ["requests", "error_rate", "p95_latency", "mrr", "usage_revenue"]


def ask(method, path, **options):
    return requests.request(method, URL + path, headers=HEADERS, timeout=120, **options)


def elements(path):
    """Values of the parameters of a path, or none if the server has nothing of the kind."""
    names = re.findall(r"{(\w+)}", path)
    if not names:
        return [path]
    if len(names) > 1:
        return []
    name = names[0]
    place = LISTS.get(name) or LISTS.get(path[: path.index("/{")])
    if not place:
        return []
    if place[1] == "metrics":
        asked = [path.replace(f"{{{name}}}", metric) for metric in METRICS]
        # Days need weeks of history.
        return asked + [f"{one}?grain=hour&horizon=24" for one in asked if path == "/v1/forecasts/{metric}"]
    found = ask("GET", place[0]).json()[place[1]]
    ids = [one.get("id") or one.get(name) or one.get("query_id") or one.get("name") for one in found[:3]]
    return [path.replace(f"{{{name}}}", str(one)) for one in ids]


def main():
    contract = ask("GET", "/openapi.json").json()
    count, skipped, wrong = 0, 0, []
    for path, item in contract["paths"].items():
        for method, operation in item.items():
            name = operation["operationId"]
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
            if name in SKIPPED or method != "get" and not (method == "post" and ASKED_BY_POST.match(name)):
                continue
            needed = [one for one in operation.get("parameters", []) if one.get("required") and one["in"] == "query"]
            if needed:
                skipped += 1
                continue
            for asked in elements(path):
                answer = ask(method.upper(), asked, **({"json": body} if body is not None else {}))
                said = operation["responses"].get(str(answer.status_code))
                if said is None:
                    wrong.append(f"{name} {asked}: {answer.status_code} is not in the contract")
                    continue
                content = said.get("content", {}).get("application/json")
                if content is None or answer.status_code >= 300:
                    skipped += 1
                    continue
                schema = {"components": contract["components"]} | content["schema"]
                validator = jsonschema.Draft202012Validator(schema)
                for error in list(validator.iter_errors(answer.json()))[:3]:
                    wrong.append(f"{name} {asked}: {error.json_path}: {error.message[:300]}")
                count += 1
    if wrong:
        sys.exit("\n".join(wrong))
    assert count > 60, f"only {count} answers"
    print(f"answers: {count} are what the contract says; {skipped} were none, or of another kind")


if __name__ == "__main__":
    main()
