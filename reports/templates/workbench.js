"use strict";
// The SQL workbench. Values of rows and names only ever become text, never markup.
(() => {
  const $ = (id) => document.getElementById(id);
  const bench = $("bench").dataset;
  const say = (name, values = {}) =>
    Object.entries(values).reduce((text, [key, value]) => text.replace(`{${key}}`, value), bench[name]);
  const sql = $("sql");
  const ROWS = 1000;
  const KEYWORDS = ("select from where group by order having limit distinct with as join left on and or not in is " +
    "null between like case when then else end union all over partition asc desc interval timestamp date").split(" ");
  const element = (tag, text, kind) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const number = (value) => Number(value).toLocaleString(document.documentElement.lang);

  // Names that can be completed.
  const names = new Map(KEYWORDS.map((word) => [word, ""]));
  for (const pick of document.querySelectorAll(".pick")) names.set(pick.textContent, bench[pick.dataset.kind]);
  fetch("/v1/functions").then((answer) => (answer.ok ? answer.json() : { functions: [] })).then(({ functions }) => {
    for (const { name } of functions) if (!names.has(name)) names.set(name, bench.function);
  });
  const list = $("names");
  const wordBefore = () => /[A-Za-z_][A-Za-z_0-9]*$/.exec(sql.value.slice(0, sql.selectionStart))?.[0] ?? "";
  const insert = (text, from) => {
    sql.focus();
    sql.setRangeText(text, from, sql.selectionStart, "end");
    offerParameters();
  };
  const closeNames = () => { list.hidden = true; sql.removeAttribute("aria-activedescendant"); };
  const choose = (place) => {
    [...list.children].forEach((item, i) => item.setAttribute("aria-selected", i === place));
    const chosen = list.children[place];
    sql.setAttribute("aria-activedescendant", chosen.id);
    chosen.scrollIntoView({ block: "nearest" });
  };
  const chosen = () => [...list.children].findIndex((item) => item.getAttribute("aria-selected") === "true");
  const accept = (place) => {
    insert(list.children[place].dataset.name, sql.selectionStart - wordBefore().length);
    closeNames();
  };
  const offerNames = (asked) => {
    const word = wordBefore().toLowerCase();
    const found = word || asked ? [...names].filter(([name]) => name.startsWith(word) && name !== word).slice(0, 50) : [];
    if (!found.length || (!asked && word.length < 2)) return closeNames();
    list.replaceChildren(...found.map(([name, kind], i) => {
      const item = element("li", name);
      item.append(element("span", kind));
      item.setAttribute("role", "option");
      item.id = `name-${i}`;
      item.dataset.name = name;
      item.addEventListener("mousedown", (event) => { event.preventDefault(); accept(i); });
      return item;
    }));
    list.hidden = false;
    choose(0);
  };

  // A field for each $parameter of the statement.
  const TYPES = ["text", "integer", "decimal", "double", "boolean", "timestamp", "date"];
  const fields = $("parameters");
  const parameters = () => {
    const text = sql.value.replace(/'(?:[^']|'')*'/g, "''").replace(/--.*$/gm, "");
    return [...new Set([...text.matchAll(/\$([A-Za-z_][A-Za-z_0-9]*)/g)].map((match) => match[1]))];
  };
  const declared = new Map();
  function offerParameters() {
    const wanted = parameters();
    const shown = [...fields.querySelectorAll("label")];
    for (const label of shown) if (!wanted.includes(label.dataset.name)) label.remove();
    for (const name of wanted) {
      if (shown.some((label) => label.dataset.name === name)) continue;
      const label = element("label");
      label.dataset.name = name;
      label.append(element("code", `$${name}`));
      const value = element("input");
      value.setAttribute("aria-label", `$${name}`);
      value.value = declared.get(name)?.default ?? "";
      const type = element("select");
      type.setAttribute("aria-label", `$${name}: ${bench.type}`);
      type.append(...TYPES.map((kind) => element("option", kind)));
      type.value = declared.get(name)?.type ?? "text";
      label.append(value, type);
      fields.append(label);
    }
    fields.hidden = !wanted.length;
  }
  const values = () => {
    const given = {};
    for (const label of fields.querySelectorAll("label")) {
      const [value, type] = [label.querySelector("input").value, label.querySelector("select").value];
      given[label.dataset.name] = { type, value };
    }
    return given;
  };

  // Asking.
  let asking = null;
  const fail = (text) => { $("fault").textContent = text; $("fault").hidden = !text; };
  const busy = (controller) => {
    asking = controller;
    $("run").disabled = $("explain").disabled = Boolean(controller);
    $("stop").disabled = !controller;
  };
  async function ask(path, body, method = "POST") {
    const answer = await fetch(path, {
      method,
      headers: { "Content-Type": "application/json" },
      body: body && JSON.stringify(body),
      signal: asking?.signal,
    });
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({}));
    const place = problem.position ? say("position", problem.position) + " " : "";
    const hint = problem.hint ? ` ${problem.hint}` : "";
    throw new Error(place + (problem.detail ?? `${answer.status} ${answer.statusText}`) + hint);
  }
  const question = () => ({ sql: sql.value, params: values() });
  async function asked(work) {
    closeNames();
    if (asking || !sql.value.trim()) return;
    busy(new AbortController());
    fail("");
    $("banner").hidden = $("picture").hidden = true;
    $("state").textContent = say("running");
    const began = performance.now();
    try {
      await work(() => ((performance.now() - began) / 1000).toFixed(2));
    } catch (error) {
      $("state").textContent = "";
      $("answer").hidden = $("tile").hidden = true;
      fail(error.name === "AbortError" ? say("stopped") : error.message);
    }
    busy(null);
    if ($("history").open) showHistory();
  }
  const run = () => asked(async (seconds) => {
    const body = { ...question(), format: "json", int64: "string", max_rows: ROWS, truncate: true };
    const answer = await ask("/v1/query", body).then((answer) => answer.json());
    show(answer.columns, answer.rows);
    const rows = number(answer.row_count), read = answer.statistics.rows_scanned;
    // An organization is not told what was read.
    $("state").textContent = read === undefined
      ? say("answered", { rows, seconds: seconds() })
      : say("done", { rows, seconds: seconds(), read: number(read), as_of: answer.as_of });
    $("banner").hidden = !answer.truncated;
    $("banner").textContent = say("truncated", { rows: number(ROWS) });
  });
  const explain = () => asked(async (seconds) => {
    const { plan, scan } = await ask("/v1/query/explain", question()).then((answer) => answer.json());
    $("tile").hidden = true;
    $("answer").replaceChildren(element("pre", plan));
    $("answer").hidden = false;
    $("state").textContent = scan
      ? say("planned", { files: number(scan.files), bytes: number(scan.bytes), rows: number(scan.rows) })
      : say("plannedin", { seconds: seconds() });
  });
  function show(columns, rows) {
    const isText = (column) => ["text", "timestamp", "date", "boolean"].includes(column.type);
    const table = element("table");
    const head = table.createTHead().insertRow();
    for (const column of columns) {
      const cell = element("th", column.name, isText(column) ? "text" : "");
      cell.scope = "col";
      cell.append(element("small", column.type));
      head.append(cell);
    }
    const body = table.createTBody();
    for (const row of rows) {
      const line = body.insertRow();
      for (const column of columns) {
        const value = row[column.name];
        const text = value === null || value === undefined ? "∅" : typeof value === "object" ? JSON.stringify(value) : String(value);
        const cell = element("td", text, (isText(column) ? "text" : "") + (value === null ? " null" : ""));
        cell.title = text;
        line.append(cell);
      }
    }
    $("answer").replaceChildren(table);
    $("answer").hidden = false;
    $("tile").hidden = !rows.length;
  }

  // A chart of the answer, drawn by the server as the tile of a dashboard will be.
  const chart = () => asked(async (seconds) => {
    const body = { ...question(), draw: $("draw").value, lang: document.documentElement.lang };
    const answer = await ask("/sql/chart", body);
    if (answer.status === 204) return void ($("state").textContent = say("undrawn"));
    // Parsed as a picture: nothing of it runs, and the page's policy forbids scripts of others.
    const picture = new DOMParser().parseFromString(await answer.text(), "image/svg+xml").documentElement;
    $("picture").replaceChildren(document.importNode(picture, true));
    $("picture").hidden = false;
    $("state").textContent = say("plannedin", { seconds: seconds() });
  });
  async function listBoards() {
    const { dashboards } = await fetch("/v1/dashboards").then((answer) => answer.json());
    const own = dashboards.filter((board) => !board.built_in);
    $("board").replaceChildren($("board").options[0], ...own.map((board) => {
      const option = element("option", board.title[document.documentElement.lang] ?? board.title.en);
      option.value = board.name;
      return option;
    }));
    return own.map((board) => board.name);
  }
  // Saves the query, and the dashboard with one more tile.
  const add = () => asked(async () => {
    const stamp = new Date().toISOString().replace(/\D/g, "").slice(0, 14);
    const query = $("name").value.trim() || `query-${stamp}`;
    const both = (text) => ({ en: text, "zh-CN": text });
    const tile = { kind: "query", query, draw: $("draw").value, title: both(query), note: both("SQL") };
    await ask("/v1/saved-queries", declaration(query));
    const name = $("board").value || `sql-${stamp}`;
    let change = { definition: { name, title: both(name), tiles: [tile] } };
    if ($("board").value) {
      const { definition, version } = await ask(`/v1/dashboards/${name}`, undefined, "GET").then((answer) => answer.json());
      change = { definition: { ...definition, tiles: [...definition.tiles, tile] }, version };
    }
    await ask(`/v1/dashboards/${name}`, change, "PUT");
    await listBoards();
    $("board").value = name;
    const link = element("a", say("opened"));
    link.href = `/dashboards/${name}?lang=${document.documentElement.lang}`;
    $("state").replaceChildren(say("added", { name: query, board: name }), " ", link);
  });
  const download = () => asked(async (seconds) => {
    const format = $("format").value;
    const csv = format === "csv" ? "spreadsheet" : null;
    const answer = await ask("/v1/query", { ...question(), format, csv, max_rows: Number.MAX_SAFE_INTEGER });
    const file = await answer.blob();
    const link = element("a");
    link.href = URL.createObjectURL(file);
    link.download = `query.${format === "arrow" ? "arrows" : format}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    $("state").textContent = say("downloaded", { bytes: number(file.size), seconds: seconds() });
  });

  // Saved queries and the history.
  const entry = (text, notes, open) => {
    const item = element("li");
    const button = element("button", text);
    button.type = "button";
    button.title = text;
    button.addEventListener("click", open);
    item.append(button, ...notes.filter(Boolean).map((note) => element("span", note)));
    return item;
  };
  const open = (text, parameters = {}) => {
    sql.value = text;
    declared.clear();
    for (const [name, kind] of Object.entries(parameters)) declared.set(name, kind);
    fields.replaceChildren();
    offerParameters();
    sql.focus();
    sql.scrollIntoView({ block: "center" });
  };
  const fill = (id, items) => {
    const empty = element("li", say("nothing"));
    $(id).querySelector("ul").replaceChildren(...(items.length ? items : [empty]));
  };
  async function showSaved() {
    const { saved_queries } = await fetch("/v1/saved-queries").then((answer) => answer.json());
    fill("saved", saved_queries.map((query) =>
      entry(query.name, [query.description, `v${query.version}`, query.shared_with.join(", ")], () => {
        $("name").value = query.name;
        $("shared").value = query.shared_with[0] ?? "";
        open(query.sql, query.parameters);
      })));
  }
  async function showHistory() {
    const { queries } = await fetch("/v1/queries?limit=50").then((answer) => answer.json());
    fill("history", queries.map((query) => {
      const at = new Date(query.started_at).toLocaleString(document.documentElement.lang);
      const status = query.code ? `${query.status}: ${query.code}` : query.status;
      return entry(query.sql, [at, `${number(query.duration_ms)} ms`, status], () => open(query.sql));
    }));
  }
  function declaration(name) {
    const declare = Object.entries(values()).map(([name, { type, value }]) =>
      [name, value ? { type, default: value } : { type }]);
    return {
      name, sql: sql.value, parameters: Object.fromEntries(declare),
      shared_with: $("shared").value ? [$("shared").value] : [],
    };
  }
  async function keep(event) {
    event.preventDefault();
    fail("");
    try {
      const saved = await ask("/v1/saved-queries", declaration($("name").value.trim())).then((answer) => answer.json());
      $("state").textContent = say("kept", { name: saved.name, version: saved.version });
      $("saved").open = true;
      showSaved();
    } catch (error) {
      fail(error.message);
    }
  }

  sql.addEventListener("input", () => { offerNames(false); offerParameters(); });
  sql.addEventListener("blur", closeNames);
  sql.addEventListener("keydown", (event) => {
    const count = list.children.length;
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") { event.preventDefault(); run(); }
    else if (event.ctrlKey && event.key === " ") { event.preventDefault(); offerNames(true); }
    else if (list.hidden) return;
    else if (event.key === "ArrowDown") { event.preventDefault(); choose((chosen() + 1) % count); }
    else if (event.key === "ArrowUp") { event.preventDefault(); choose((chosen() + count - 1) % count); }
    else if (event.key === "Tab") { event.preventDefault(); accept(chosen()); }
    else if (event.key === "Escape") { event.stopPropagation(); closeNames(); }
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") asking?.abort(); });
  for (const pick of document.querySelectorAll("button.pick")) {
    pick.addEventListener("click", () => insert(pick.textContent, sql.selectionStart));
  }
  $("run").addEventListener("click", run);
  $("stop").addEventListener("click", () => asking?.abort());
  $("explain").addEventListener("click", explain);
  $("download").addEventListener("click", download);
  $("chart").addEventListener("click", chart);
  $("add").addEventListener("click", add);
  listBoards();
  $("keep").addEventListener("submit", keep);
  $("saved").addEventListener("toggle", () => { if ($("saved").open) showSaved(); });
  $("history").addEventListener("toggle", () => { if ($("history").open) showHistory(); });
  offerParameters();
})();
