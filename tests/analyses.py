"""Funnels, retention and the lifecycle of a running server, computed once more from its rows, without SQL.

Polars reads the rows and finds whose each act is; plain Python follows every unit's acts one by one. Questions are
drawn at random. Every count must be the same.

Usage: AIHUB_URL=… AIHUB_API_KEY=… analyses.py [QUESTIONS [SEED]]
The key sees persons: it has the scopes read and admin.
"""

import bisect
import datetime
import io
import os
import random
import sys
import zoneinfo

import polars
import requests

URL = os.environ["AIHUB_URL"]
HEADERS = {"Authorization": "Bearer " + os.environ["AIHUB_API_KEY"]}
UTC = datetime.timezone.utc
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]
UNITS = ["visitor", "user", "organization"]
DAY = 86_400_000_000


def rows(sql, as_of):
    body = {"sql": sql, "format": "arrow", "as_of": as_of}
    answer = requests.post(f"{URL}/v1/query", json=body, headers=HEADERS, timeout=120)
    answer.raise_for_status()
    return polars.read_ipc_stream(io.BytesIO(answer.content))


def ask(analysis, body):
    answer = requests.post(f"{URL}/v1/analyses/{analysis}", json=body, headers=HEADERS, timeout=120)
    assert answer.status_code == 200, f"{analysis} {body}: {answer.text}"
    return answer.json()


class Acts:
    """What every unit did, by time."""

    def __init__(self, as_of):
        of_staff = "source not like '/organizations/%'"
        columns = "occurred_at, event_id, organization_id"
        activity = rows(f"select {columns}, action as kind, anonymous_id, user_id, country, device "
                        f"from activity_events where {of_staff}", as_of)
        usage = rows(f"select {columns}, user_id, model, list_price, currency from usage_events "
                     f"where {of_staff}", as_of)
        billing = rows(f"select {columns}, kind from billing_events", as_of)
        at = polars.col("occurred_at").dt.epoch("us").alias("at")
        self.activity = activity.with_columns(at, ("activity." + polars.col("kind")).alias("type"))
        self.usage = usage.with_columns(at, polars.lit("usage.request").alias("type"))
        self.billing = billing.with_columns(at, ("billing." + polars.col("kind")).alias("type"))
        sign_ups = self.activity.filter(polars.col("kind") == "signed_up").sort("at", "event_id")
        self.of_visitor = {}
        self.visitor_of_user, self.founder = {}, {}
        for row in sign_ups.iter_rows(named=True):
            if row["anonymous_id"] is not None:
                self.of_visitor.setdefault(row["anonymous_id"], []).append(row)
                if row["user_id"] is not None:
                    self.visitor_of_user.setdefault(row["user_id"], row["anonymous_id"])
            if row["organization_id"] is not None:
                self.founder.setdefault(row["organization_id"], row)
        self.as_of = as_of
        self.earliest = self.activity["occurred_at"].min().date()
        self.by_unit = {unit: self.resolved(unit) for unit in UNITS}

    def sign_up(self, row):
        """The last sign-up before an act of a visitor, else the first after it."""
        found = self.of_visitor.get(row["anonymous_id"])
        if not found:
            return {}
        place = bisect.bisect_right([sign_up["at"] for sign_up in found], row["at"])
        return found[max(place - 1, 0)]

    def whose(self, row, table, unit):
        if unit == "organization":
            own = row["organization_id"]
            return own if own is not None or table != "activity" else self.sign_up(row).get("organization_id")
        if table == "billing":
            key = "anonymous_id" if unit == "visitor" else "user_id"
            return self.founder.get(row["organization_id"], {}).get(key)
        if unit == "user":
            own = row["user_id"]
            return own if own is not None or table != "activity" else self.sign_up(row).get("user_id")
        if table == "activity" and row["anonymous_id"] is not None:
            return row["anonymous_id"]
        if row["user_id"] is not None:
            return self.visitor_of_user.get(row["user_id"])
        if table == "usage":
            return self.founder.get(row["organization_id"], {}).get("anonymous_id")
        return None

    def resolved(self, unit):
        """The acts of each unit, sorted as an order of steps sees them."""
        units = {}
        for table in ["activity", "usage", "billing"]:
            for row in getattr(self, table).iter_rows(named=True):
                whose = self.whose(row, table, unit)
                if whose is not None:
                    units.setdefault(whose, []).append(row)
        for acts in units.values():
            acts.sort(key=lambda act: (act["at"], act["event_id"]))
        return units


def is_of(act, event):
    """Whether an act is of an event such as `activity.*` or `activity.page_viewed:device=mobile`."""
    kind, _, condition = event.partition(":")
    family, _, rest = kind.partition(".")
    if not act["type"].startswith(family + ".") or (rest != "*" and act["type"] != kind):
        return False
    name, _, value = condition.partition("=")
    return not condition or act.get(name) == value


class Window:
    """Days of a zone."""

    def __init__(self, pick, earliest, last):
        self.zone = zoneinfo.ZoneInfo(pick.choice(ZONES))
        self.first = earliest + datetime.timedelta(days=pick.randint(-2, (last - earliest).days - 2))
        self.last = min(self.first + datetime.timedelta(days=pick.randint(3, 30)), last)
        self.start, self.end = self.micros(self.first), self.micros(self.last)

    def micros(self, date):
        at = datetime.datetime(date.year, date.month, date.day, tzinfo=self.zone)
        return int(at.timestamp()) * 1_000_000

    def body(self):
        return {"from": str(self.first), "to": str(self.last), "tz": str(self.zone)}

    def period_of(self, micros, grain):
        """The first day of the period that an instant lies in."""
        at = datetime.datetime.fromtimestamp(micros / 1_000_000, UTC).astimezone(self.zone).date()
        return self.begin(at, grain)

    def begin(self, date, grain):
        if grain == "week":
            return date - datetime.timedelta(days=date.weekday())
        return date.replace(day=1) if grain == "month" else date

    def after(self, date, grain):
        if grain == "month":
            return (date + datetime.timedelta(days=32)).replace(day=1)
        return date + datetime.timedelta(days=7 if grain == "week" else 1)

    def periods(self, grain):
        """The periods that the window touches."""
        periods = [self.begin(self.first, grain)]
        while self.after(periods[-1], grain) < self.last:
            periods.append(self.after(periods[-1], grain))
        return periods


def funnel(acts, window, steps, within, exclusions):
    """How many units reach each step, and the seconds that each took: from every start, step by step."""
    counts, times = [0] * len(steps), [[] for _ in steps]
    def place(act):
        """Of acts at the same time, those of an earlier step come first; an exclusion is after the first step."""
        places = [2 * step + 2 for step, event in enumerate(steps) if is_of(act, event)]
        places += [3 for event in exclusions if is_of(act, event)]
        return act["at"], min(places, default=0), act["event_id"]

    for unit in acts.values():
        unit = sorted(unit, key=place)
        starts = [i for i, act in enumerate(unit)
                  if window.start <= act["at"] < window.end and is_of(act, steps[0])]
        if not starts:
            continue
        reached = {}
        for i in starts:
            at = i
            for step, event in enumerate(steps):
                if step > 0:
                    limit = unit[i]["at"] + within
                    at = next((j for j in range(at + 1, len(unit))
                               if unit[j]["at"] <= limit and is_of(unit[j], event)), None)
                if at is None:
                    break
                # Of the starts that come to a step first, the latest.
                if step not in reached or (at, -i) < (reached[step][0], -reached[step][1]):
                    reached[step] = (at, i)
        done = reached.get(len(steps) - 1, (len(unit),))[0]
        if any(is_of(unit[j], event) and any(i < j and unit[j]["at"] <= unit[i]["at"] + within for i in starts)
               for event in exclusions for j in range(done)):
            continue
        for step in reached:
            counts[step] += 1
            at, start = reached[step]
            times[step].append((unit[at]["at"] - unit[start]["at"]) / 1_000_000)
    return counts, [sum(t) / len(t) if t else None for t in times]


def retention(acts, window, start, again, grain, periods, mode, cohort, least, now):
    """The sizes and the cells of every cohort."""
    cohorts = {period: [0] + [0] * (periods + 1) for period in window.periods(grain)}
    for unit in acts.values():
        starts = [act["at"] for act in unit if is_of(act, start)]
        begun = {}
        for at in sorted(starts)[:1] if cohort == "first" else sorted(starts):
            begun.setdefault(window.period_of(at, grain), at)
        for period, at in begun.items():
            if period not in cohorts:
                continue
            cohorts[period][0] += 1
            returns = {}
            for act in unit:
                if act["at"] >= at and act["at"] < now and is_of(act, again):
                    found = window.period_of(act["at"], grain)
                    returns[found] = returns.get(found, 0) + 1
            step = period
            for k in range(periods + 1):
                number = (returns.get(step, 0) if mode == "on"
                          else sum(count for found, count in returns.items() if found >= step))
                cohorts[period][k + 1] += number >= least
                step = window.after(step, grain)
    return cohorts


def lifecycle(acts, window, events, grain):
    """The active, new, returning, resurrecting and dormant units of every period."""
    periods = window.periods(grain)
    before = {after: period for period, after in zip(periods, periods[1:])}
    first = periods[0] - datetime.timedelta(days=1)
    before[periods[0]] = window.begin(first, grain)
    counts = {period: [0] * 5 for period in periods}
    for unit in acts.values():
        active = {window.period_of(act["at"], grain) for act in unit if any(is_of(act, e) for e in events)}
        for period in periods:
            was = before[period] in active
            if period in active:
                is_new = min(active) == period
                counts[period][0] += 1
                counts[period][1 if is_new else 2 if was else 3] += 1
            elif was:
                counts[period][4] += 1
    return counts


def same(found, expected, question):
    assert found == expected, f"{question}\n  the server: {found}\n  computed:   {expected}"


def check_funnel(pick, acts, window, unit):
    events = ["activity.page_viewed", "activity.*", "activity.signed_up", "activity.page_viewed:device=mobile",
              "activity.login", "usage.request", "billing.payment_succeeded", "billing.*"]
    steps = [pick.choice(events[:4])] + [pick.choice(events) for _ in range(pick.randint(1, 3))]
    exclusions = [pick.choice(["activity.login", "activity.docs_viewed"])] if pick.random() < 0.3 else []
    days = pick.choice([1, 3, 14])
    body = window.body() | {"as_of": acts.as_of, "unit": unit, "steps": steps, "within": f"{days}d", "exclusions": exclusions}
    answer = ask("funnel", body)
    counts, means = funnel(acts.by_unit[unit], window, steps, days * DAY, exclusions)
    same([step["count"] for step in answer["steps"]], counts, body)
    for step, mean in list(zip(answer["steps"], means))[1:]:
        found = step["mean_seconds"]
        assert (found is None) == (mean is None) and (mean is None or abs(found - mean) < 1e-3), body
    return sum(counts[1:])


def check_retention(pick, acts, window, unit, now):
    start = pick.choice(["activity.signed_up", "activity.*", "usage.request"])
    again = pick.choice(["usage.request", "activity.*", "activity.login"])
    grain, mode = pick.choice(["day", "week", "month"]), pick.choice(["on", "on_or_after"])
    cohort, least, periods = pick.choice(["first", "recurring"]), pick.choice([1, 1, 3]), pick.randint(1, 5)
    body = window.body() | {"as_of": acts.as_of, "unit": unit, "start": start, "return": again, "period": grain, "mode": mode,
                            "cohort": cohort, "at_least": least, "periods": periods}
    answer = ask("retention", body)
    expected = retention(acts.by_unit[unit], window, start, again, grain, periods, mode, cohort, least, now)
    for found, (period, (size, *cells)) in zip(answer["cohorts"], expected.items(), strict=True):
        same(found["size"], size, (body, period))
        shown = [cell["count"] for cell in found["cells"]]
        same(shown, cells[:len(shown)], (body, period))
    return sum(size for size, *_ in expected.values())


def check_lifecycle(pick, acts, window, unit):
    events = pick.sample(["activity.page_viewed", "activity.login", "usage.request", "billing.*"], pick.randint(1, 2))
    grain = pick.choice(["day", "week", "month"])
    body = window.body() | {"as_of": acts.as_of, "unit": unit, "events": events, "period": grain}
    answer = ask("lifecycle", body)
    expected = lifecycle(acts.by_unit[unit], window, events, grain)
    names = ["active", "new", "returning", "resurrecting", "dormant"]
    found = [[row[name] for name in names] for row in answer["rows"]]
    same(found, list(expected.values()), body)
    return sum(active for active, *_ in expected.values())


def main():
    questions = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 2026
    pick = random.Random(seed)
    now = datetime.datetime.now(UTC)
    as_of = ask("lifecycle", {})["as_of"]
    acts = Acts(as_of)
    counted = {"funnel": 0, "retention": 0, "lifecycle": 0}
    for n in range(questions):
        window, unit = Window(pick, acts.earliest, now.date()), pick.choice(UNITS)
        micros = int(now.timestamp() * 1_000_000)
        match n % 3:
            case 0:
                counted["funnel"] += check_funnel(pick, acts, window, unit)
            case 1:
                counted["retention"] += check_retention(pick, acts, window, unit, micros)
            case 2:
                counted["lifecycle"] += check_lifecycle(pick, acts, window, unit)
    units = {unit: len(found) for unit, found in acts.by_unit.items()}
    print(f"{questions} analyses are as computed without SQL; seed {seed}, {units}, counted {counted}")
    assert all(count > 0 for count in counted.values()), "questions about nothing prove nothing"


main()
