"""Statements over small tables: NULLs, duplicates, ties, empty tables and extremes. Each is a function of its seed."""

import random

EXTREMES = ["null", "0", "1", "-1", "2", "3", "5", "7", "1000000007", "-1000000007"]
TEXTS = ["null", "'a'", "'b'", "'ab'", "''", "'B'"]
DECIMALS = ["null", "0.00", "0.10", "-0.10", "1.25", "99999999.99"]
TIMES = ["null", "'2026-03-29 00:30:00'", "'2026-03-29 02:30:00'", "'2026-10-25 23:59:59'", "'1970-01-01 00:00:00'"]
COLUMNS = {"id": "int", "k": "int", "x": "int", "s": "text", "d": "decimal", "w": "time"}


class Writer:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.names = 0

    def pick(self, options):
        return self.random.choice(options)

    def chance(self, share):
        return self.random.random() < share

    # ---- tables

    def table(self, name):
        rows = self.pick([0, 1, 2, 4, 6, 9])
        values = [
            f"({id}, {self.pick(EXTREMES[:6])}, {self.pick(EXTREMES)}, {self.pick(TEXTS)}, "
            f"{self.pick(DECIMALS)}, {self.pick(TIMES)})"
            for id in range(1, rows + 1)
        ] or ["(1, 1, 1, 'a', 1.25, '1970-01-01 00:00:00')"]
        where = "" if rows else " where false"
        return (
            f"{name} as (select cast(id as bigint) as id, cast(k as bigint) as k, cast(x as bigint) as x, "
            f"cast(s as varchar) as s, cast(d as decimal(18, 2)) as d, cast(w as timestamp) as w "
            f"from (values {', '.join(values)}) v(id, k, x, s, d, w){where})"
        )

    def alias(self):
        self.names += 1
        return f"t{self.names}"

    # ---- expressions

    def column(self, scope, kind):
        alias = self.pick(scope)
        return f"{alias}.{self.pick([name for name, of in COLUMNS.items() if of == kind])}"

    def literal(self, kind):
        if kind == "int":
            return self.pick(EXTREMES[1:8])
        if kind == "text":
            return self.pick(TEXTS[1:])
        if kind == "decimal":
            return f"cast({self.pick(DECIMALS[1:])} as decimal(18, 2))"
        return f"cast({self.pick(TIMES[1:])} as timestamp)"

    def value(self, scope, kind, depth=2):
        if depth == 0 or self.chance(0.5):
            return self.column(scope, kind) if self.chance(0.85) else self.literal(kind)
        one, two = self.value(scope, kind, depth - 1), self.value(scope, kind, depth - 1)
        forms = [f"coalesce({one}, {two})", f"nullif({one}, {two})",
                 f"case when {self.condition(scope, 1)} then {one} else {two} end"]
        if kind == "int":
            small = self.column(scope, "int")
            forms += [f"({one} + {self.pick(['1', '2', small])})", f"({one} - {two})", f"abs({one})",
                      f"({small} * {self.pick(['2', '-1', '3'])})"]
        if kind == "decimal":
            forms += [f"({self.column(scope, 'decimal')} + {self.column(scope, 'decimal')})", f"-({one})",
                      f"round({one}, 1)"]
        if kind == "text":
            forms += [f"upper({one})", f"({one} || {two})", f"substr({one}, 1, 1)"]
        if kind == "time":
            forms += [f"date_trunc('{self.pick(['day', 'month', 'hour'])}', {one})",
                      f"({one} + interval '{self.pick(['1 day', '1 month', '2 hours'])}')"]
        return self.pick(forms)

    def comparison(self, scope, depth):
        kind = self.pick(["int", "int", "text", "decimal", "time"])
        one, two = self.value(scope, kind, depth), self.value(scope, kind, depth)
        return self.pick([
            f"{one} {self.pick(['=', '<>', '<', '<=', '>', '>='])} {two}",
            f"{one} is {self.pick(['', 'not '])}null",
            f"{one} {self.pick(['', 'not '])}in ({two}, {self.literal(kind)})",
            f"{one} {self.pick(['', 'not '])}between {two} and {self.literal(kind)}",
            f"({one} is {self.pick(['', 'not '])}distinct from {two})",
        ])

    def condition(self, scope, depth=2):
        if depth <= 1 or self.chance(0.6):
            return self.comparison(scope, max(depth - 1, 0))
        one, two = self.condition(scope, depth - 1), self.condition(scope, depth - 1)
        return self.pick([f"({one} and {two})", f"({one} or {two})", f"not ({one})"])

    def subcondition(self, scope):
        """With a subquery, of its own or of the outer query."""
        inner = self.alias()
        source = f"{self.pick('abc')} {inner}"
        own = self.condition([inner], 2)
        outer = f"{inner}.k {self.pick(['=', '=', '<', '>='])} {self.column(scope, 'int')}"
        where = self.pick([own, outer, f"{outer} and {own}"])
        kind = self.pick(["int", "text"])
        left, right = self.value(scope, kind, 1), self.value([inner], kind, 1)
        aggregate = self.pick([f"count(*)", f"max({inner}.x)", f"sum({inner}.x)", f"count({inner}.x)", f"min({inner}.id)"])
        return self.pick([
            f"{left} in (select {right} from {source} where {where})",
            f"{left} not in (select {right} from {source} where {own})",
            f"{left} not in (select {right} from {source} where {where})",
            f"exists (select 1 from {source} where {where})",
            f"not exists (select 1 from {source} where {where})",
            f"(select {aggregate} from {source} where {where}) {self.pick(['=', '<', '>='])} {self.value(scope, 'int', 1)}",
            f"exists (select {inner}.k from {source} where {where} group by {inner}.k having count(*) > 1)",
            f"{left} in (select distinct {right} from {source} where {where})",
        ])

    # ---- queries

    def source(self):
        scope = [self.alias()]
        text = f"{self.pick('abc')} {scope[0]}"
        for _ in range(self.pick([0, 0, 1, 1, 2])):
            alias = self.alias()
            kind = self.pick(["join", "join", "left join", "right join", "full join", "cross join"])
            text += f" {kind} {self.pick('abc')} {alias}"
            if kind != "cross join":
                on = f"{alias}.k = {self.column(scope, 'int')}"
                if self.chance(0.3):
                    on += f" and {self.condition([*scope, alias], 1)}"
                text += f" on {on}"
            scope.append(alias)
        return scope, text

    def where(self, scope):
        parts = []
        if self.chance(0.6):
            parts.append(self.condition(scope))
        if self.chance(0.35):
            parts.append(self.subcondition(scope))
        glue = " or " if self.chance(0.15) else " and "
        return " where " + glue.join(parts) if parts else ""

    def aggregate(self, scope):
        kind = self.pick(["int", "int", "decimal"])
        of = self.column(scope, kind)
        any_kind = self.column(scope, self.pick(["int", "text", "decimal", "time"]))
        text = self.pick([
            "count(*)", f"count({any_kind})", f"count(distinct {any_kind})", f"sum({of})", f"sum(distinct {of})",
            f"min({any_kind})", f"max({any_kind})", f"bool_or({self.comparison(scope, 0)})",
        ])
        if self.chance(0.2):
            text += f" filter (where {self.condition(scope, 1)})"
        return text

    def grouped(self):
        scope, source = self.source()
        keys = [self.column(scope, self.pick(["int", "text", "int"])) for _ in range(self.pick([0, 1, 1, 2]))]
        keys = list(dict.fromkeys(keys))
        items = keys + [self.aggregate(scope) for _ in range(self.pick([1, 2, 3]))]
        text = f"select {self.listed(items)} from {source}{self.where(scope)}"
        if keys:
            joined = ", ".join(keys)
            text += " group by " + self.pick([joined, joined, f"rollup ({joined})", f"cube ({joined})",
                                              f"grouping sets (({joined}), ({keys[0]}), ())"])
        if self.chance(0.25):
            text += f" having {self.aggregate_condition(scope)}"
        return text, len(items)

    def aggregate_condition(self, scope):
        aggregate = self.pick(["count(*)", f"sum({self.column(scope, 'int')})"])
        return f"{aggregate} {self.pick(['>', '<=', '='])} {self.pick(['0', '1', '2'])}"

    def window(self, scope):
        partition = f"partition by {self.column(scope, self.pick(['int', 'text']))} " if self.chance(0.6) else ""
        ids = ", ".join(f"{alias}.id {self.pick(['', 'desc '])}nulls last" for alias in scope)
        by = self.column(scope, self.pick(["int", "decimal"]))
        total = f"order by {by} {self.pick(['', 'desc '])}nulls {self.pick(['first', 'last'])}, {ids}"
        of = self.column(scope, self.pick(["int", "decimal"]))
        frame = self.pick(["", "", " rows between unbounded preceding and current row",
                           " rows between 1 preceding and 1 following", " rows between 2 preceding and 1 preceding",
                           " rows between current row and unbounded following"])
        ties = f"order by {by} nulls last"
        return self.pick([
            f"row_number() over ({partition}{total})",
            f"rank() over ({partition}{ties})",
            f"dense_rank() over ({partition}{ties})",
            f"ntile(3) over ({partition}{total})",
            f"{self.pick(['lag', 'lead'])}({of}{self.pick(['', ', 2', ', 1, 0'])}) over ({partition}{total})",
            f"{self.pick(['lag', 'lead'])}({of}) ignore nulls over ({partition}{total})",
            f"sum({of}) over ({partition}{total}{frame})",
            f"count({of}) over ({partition}{total}{frame})",
            f"{self.pick(['min', 'max'])}({of}) over ({partition}{total}{frame})",
            f"sum({of}) over ({partition}{ties})",
            f"count(*) over ({partition})" if partition else "count(*) over ()",
            f"{self.pick(['first_value', 'last_value'])}({of}) over ({partition}{total}{frame})",
            f"nth_value({of}, 2) over ({partition}{total}{frame})",
        ])

    def listed(self, items):
        return ", ".join(f"{item} as c{place}" for place, item in enumerate(items))

    def plain(self):
        scope, source = self.source()
        kinds = [self.pick(["int", "int", "text", "decimal", "time"]) for _ in range(self.pick([1, 2, 3]))]
        items = [self.value(scope, kind) for kind in kinds]
        if self.chance(0.3):
            items.append(self.window(scope))
        if self.chance(0.1):
            inner = self.alias()
            items.append(f"(select {self.pick(['count(*)', f'max({inner}.x)'])} from b {inner} where {inner}.k = {self.column(scope, 'int')})")
        distinct = "distinct " if self.chance(0.2) else ""
        return f"select {distinct}{self.listed(items)} from {source}{self.where(scope)}", len(items)

    def of_set(self):
        parts = []
        kinds = [self.pick(["int", "text"]) for _ in range(self.pick([1, 2]))]
        for _ in range(self.pick([2, 2, 3])):
            scope, source = self.source()
            items = [self.value(scope, kind, 1) for kind in kinds]
            parts.append(f"(select {self.listed(items)} from {source}{self.where(scope)})")
        text = parts[0]
        for part in parts[1:]:
            text = f"({text} {self.pick(['union', 'union all', 'except', 'intersect', 'except all', 'intersect all'])} {part})"
        return f"select * from {text} u", len(kinds)

    def statement(self):
        tables = ", ".join(self.table(name) for name in "abc")
        body, width = self.pick([self.plain, self.plain, self.grouped, self.of_set])()
        if self.chance(0.2):
            order = ", ".join(f"{place} nulls last" for place in range(1, width + 1))
            body += f" order by {order} limit {self.pick([1, 2, 5])}"
        return f"with {tables} {body}"
