"""The bills of a running demo, computed once more from its events, without SQL and without the rules of billing.

Every organization gets a subscription that began a month ago and some days, so that a period ended within its
history. Polars reads the events; plain Python counts, prices and rounds. To the last unit must be equal: the lines
and totals of invoices, `invoice_lines`, `rated_usage_daily`, what is not invoiced yet, and recurring revenue.

Usage: AIHUB_URL=… AIHUB_API_KEY=… bills.py
The key has the scopes read and admin. The bills stay: run it on a demo that nobody needs any more.
"""

import collections
import datetime
import decimal
import fractions
import io
import math
import os
import time

import polars
import requests

URL = os.environ["AIHUB_URL"]
HEADERS = {"Authorization": "Bearer " + os.environ["AIHUB_API_KEY"]}
SETTLE_SECONDS_MAX = 120
UTC = datetime.timezone.utc
PRICES = """
plans:
  - plan: judged
    versions:
      - from: 2025-01-01
        currency: USD
        charges:
          - {name: Base, price: {flat: 49}, in_advance: true}
          - {name: Support, price: {flat: "7.50"}}
          - {name: Requests, meter: requests, included: 5, price: {graduated: [{up_to: 30, unit: "0.125"}, {unit: "0.0625"}]}}
          - {name: Volume, meter: requests, price: {volume: [{up_to: 50, unit: "0.03"}, {unit: "0.01", flat: 1}]}}
          - {name: Tokens, meter: tokens, price: {per_unit: {amount: "2.50", per: 1000000}}, maximum: 1}
          - {name: Cached, meter: cached_input_tokens, price: {package: {amount: "0.10", size: 10000}}}
          - {name: Images, meter: images, models: ['mosaic-*'], price: {per_unit: {amount: "0.015"}}}
          - {name: Listed, meter: list_price, discount_percent: 10, price: {per_unit: {amount: 1}}}
          - {name: Models, meter: model_price, minimum: 2, price: {per_unit: {amount: 1}}}
models:
  - {model: '*', versions: [{from: 2025-01-01, currency: USD, tokens: {input: 2, output: 4}}]}
  - {model: 'mosaic-*', versions: [{from: 2025-01-01, currency: USD, tokens: {input: "1.25", cached_input: "0.125", output: 10}}]}
"""
# Input, cached input and output of a million tokens.
OF_MOSAIC = tuple(map(fractions.Fraction, ("1.25", "0.125", "10")))
OF_OTHERS = tuple(map(fractions.Fraction, ("2", "2", "4")))


def asked(method, path, expected=200, **body):
    answer = requests.request(method, URL + path, headers=HEADERS | body.pop("headers", {}), timeout=120, **body)
    assert answer.status_code == expected, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer


def rows(sql):
    answer = asked("POST", "/v1/query", json={"sql": sql, "format": "arrow"})
    return polars.read_ipc_stream(io.BytesIO(answer.content)).rows(named=True)


def rounded(amount):
    """Half away from zero, to cents."""
    cents = math.floor(abs(amount) * 100 + fractions.Fraction(1, 2))
    return decimal.Decimal(cents if amount >= 0 else -cents) / 100


def owed(events, is_over):
    """What a period's events cost by charge; what is flat counts from its first day, and the minimum when it is over."""
    number = fractions.Fraction
    requests_count = len(events)
    sums = collections.Counter()
    listed, models = number(0), number(0)
    for event in events:
        mosaic = event["model"].startswith("mosaic-")
        plain, cached, output = OF_MOSAIC if mosaic else OF_OTHERS
        read, input_tokens = event["cached_input_tokens"] or 0, event["input_tokens"] or 0
        written = event["output_tokens"] or 0
        sums["tokens"] += input_tokens + written
        sums["cached"] += read
        sums["images"] += (event["images"] or 0) if mosaic else 0
        listed += number(event["list_price"] or 0)
        models += ((input_tokens - read) * plain + read * cached + written * output) / 10**6
    above = max(requests_count - 5, 0)
    exact = {
        "Support": number("7.50"),
        "Requests": min(above, 30) * number("0.125") + max(above - 30, 0) * number("0.0625"),
        "Volume": requests_count * number("0.03") if requests_count <= 50 else 1 + requests_count * number("0.01"),
        "Tokens": min(sums["tokens"] * number("2.50") / 10**6, number(1)),
        "Cached": -(-sums["cached"] // 10_000) * number("0.10"),
        "Images": sums["images"] * number("0.015"),
        "Listed": listed * number(9, 10),
        "Models": models,
    }
    amounts = {charge: rounded(amount) for charge, amount in exact.items()}
    if is_over:
        amounts["Models"] = max(amounts["Models"], decimal.Decimal(2))
    return amounts


def without_zeros(amounts):
    return {key: amount for key, amount in amounts.items() if amount}


def until_equal(what, expected, found):
    """The lake is told by the outbox: a moment later."""
    until = time.monotonic() + SETTLE_SECONDS_MAX
    while (last := found()) != expected:
        if time.monotonic() > until:
            missing = {key: (last.get(key), expected.get(key)) for key in last.keys() | expected.keys()
                       if last.get(key) != expected.get(key)}
            raise AssertionError(f"{what} (found, expected): {missing}")
        time.sleep(0.2)


def month_later(day):
    """A month later where that month has the day, else None."""
    try:
        return day.replace(year=day.year + day.month // 12, month=day.month % 12 + 1)
    except ValueError:
        return None


def period_ended(today):
    """First days of a period that ended some days ago, and of the one after it."""
    for back in range(3, 10):
        for length in range(28, 32):
            second = today - datetime.timedelta(days=back)
            first = second - datetime.timedelta(days=length)
            if month_later(first) == second:
                return first, second
    raise AssertionError("no such month")


def recurring(today):
    metric = asked("GET", f"/v1/metrics/mrr?from={today}&to={today + datetime.timedelta(days=1)}").json()
    return sum(decimal.Decimal(row["value"]) for row in metric["rows"])


def line_amounts(invoice):
    amounts = collections.defaultdict(decimal.Decimal)
    for line in invoice["document"]["lines"]:
        amounts[line["charge"]] += decimal.Decimal(line["amount"])
    return without_zeros(amounts)


def main():
    now = datetime.datetime.now(UTC)
    if now.hour == 23 and now.minute >= 50:
        time.sleep((60 - now.minute) * 60)
    today = datetime.datetime.now(UTC).date()
    first, second = period_ended(today)
    organizations = sorted(row["organization_id"] for row in rows("select organization_id from organizations"))
    asked("PUT", "/v1/admin/prices", data=PRICES.encode(), headers={"Content-Type": "application/yaml"})
    before = recurring(today)
    for organization in organizations:
        act = {"act": "start", "plan": "judged", "starts_on": first.isoformat()}
        asked("POST", f"/v1/admin/organizations/{organization}/subscription", json=act)
    report = asked("POST", "/v1/billing/runs").json()
    assert not report["failures"], report

    events = {organization: ([], []) for organization in organizations}
    for event in rows("select organization_id, occurred_at, model, input_tokens, cached_input_tokens, output_tokens, "
                      "images, list_price from usage_events where source not like '/organizations/%'"):
        day = event["occurred_at"].date()
        if first <= day < today and event["organization_id"] in events:
            events[event["organization_id"]][day >= second].append(event)

    rated, lines = {}, {}
    for organization in organizations:
        ended, running = (owed(of, at == 0) for at, of in enumerate(events[organization]))
        due = without_zeros(ended)
        drafts = asked("GET", f"/v1/invoices?organization={organization}&status=draft").json()["invoices"]
        for draft in sorted(drafts, key=lambda draft: draft["billed_on"]):
            asked("POST", f"/v1/admin/invoices/{draft['invoice_id']}/finalize")
        issued = asked("GET", f"/v1/invoices?organization={organization}").json()["invoices"]
        found = sorted((asked("GET", f"/v1/invoices/{of['invoice_id']}").json() for of in issued),
                       key=lambda invoice: invoice["number"])
        base = {"Base": decimal.Decimal(49)}
        assert [line_amounts(invoice) for invoice in found] == [base, base | due], (organization, due, found)
        assert [decimal.Decimal(invoice["total"]) for invoice in found] == [49, 49 + sum(due.values())]
        for at, amounts in enumerate((base | due, base | without_zeros(running))):
            rated |= {(organization, at, charge): amount for charge, amount in amounts.items()}
        lines |= {(organization, charge): amount for charge, amount in (due | {"Base": decimal.Decimal(98)}).items()}

    def sums(table, keys):
        found = rows(f"select {keys}, sum(amount) as amount from {table} group by {keys}")
        return lambda key: without_zeros({key(row): row["amount"] for row in found})

    until_equal("invoice_lines", lines, lambda: sums("invoice_lines", "organization_id, charge")(
        lambda row: (row["organization_id"], row["charge"])))
    until_equal("rated_usage_daily", rated, lambda: sums("rated_usage_daily", "organization_id, period_start, charge")(
        lambda row: (row["organization_id"], int(row["period_start"].date() == second), row["charge"])))
    accrued = {"all": sum(rated.values()) - sum(lines.values())}
    until_equal("rated without invoiced", accrued, lambda: {"all": rows(
        "select (select sum(amount) from rated_usage_daily) - (select sum(amount) from invoice_lines) as amount"
    )[0]["amount"]})
    # What is flat recurs.
    mrr = {"mrr": before + decimal.Decimal("56.50") * len(organizations)}
    until_equal("recurring revenue", mrr, lambda: {"mrr": recurring(today)})
    print(f"{len(organizations)} organizations, {sum(len(part) for of in events.values() for part in of)} events, "
          f"{len(lines)} sums of invoice lines, {len(rated)} of rated usage: invoiced {sum(lines.values())}, "
          f"accrued {accrued['all']}, MRR {before} -> {mrr['mrr']}: all equal")


if __name__ == "__main__":
    main()
