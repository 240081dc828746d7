/** The client: the operations of the API, and how requests are sent, repeated and read. */

import { ApiError, ConnectionFailed, errorOf } from "./errors.js";
import { EventQueue, usageEvent, uuid } from "./events.js";

const VERSION = "<< version >>";

// Answers that may be other when asked again.
const RETRIED = [408, 429, 500, 502, 503, 504];

/**
 * Calls the API with a key.
 *
 * A request without an answer, and one with a status of `RETRIED`, is sent again up to `retries` times, after pauses
 * that double, or as long as `Retry-After` says. Requests that change something carry the same `Idempotency-Key` in all
 * attempts, so that nothing is done twice. Times are milliseconds.
 */
export class Client {
  #apiKey;
  #timeout;
  #retries;
  #pause;
  #pauseMax;
  #fetch;
  #organization;

  constructor(baseUrl, apiKey, { timeout = 30_000, retries = 4, pause = 500, pauseMax = 30_000, fetch } = {}) {
    this.baseUrl = baseUrl.replace(/\/+$/, "");
    this.#apiKey = apiKey;
    this.#timeout = timeout;
    this.#retries = retries;
    this.#pause = pause;
    this.#pauseMax = pauseMax;
    this.#fetch = fetch;
  }

  /** Sends one `usage.request`: its members are columns, such as `model` and `input_tokens`. */
  async sendUsage({ source, ...usage }) {
    return this.sendEvents([usageEvent(source ?? (await this.defaultSource()), usage)]);
  }

  /** `/organizations/{id}/javascript` for an organization's own key, else `/javascript`. */
  async defaultSource() {
    this.#organization ??= (await this.getMe()).organization_id ?? "";
    return this.#organization ? `/organizations/${this.#organization}/javascript` : "/javascript";
  }

  /** Collects events and sends them in batches, also when the program ends. */
  eventQueue(options) {
    return new EventQueue(this, options);
  }

  // ---- the operations ----
<% macro signature(operation) -%>
<% for parameter in operation.path_parameters %><% if not loop.first %>, <% endif %><< parameter.camel >><% endfor %>
<%- if operation.body %><% if operation.path_parameters %>, <% endif %>body<% endif %>
<%- if operation.query_parameters %><% if operation.path_parameters or operation.body %>, <% endif %>query<% endif %>
<%- endmacro %>
<% for operation in operations %>

  /** << operation.summary >> */
  async << operation.camel >>(<< signature(operation) >>) {
<% set given = operation.path_parameters or operation.query_parameters or operation.body %>
    return this.#call("<< operation.method >>", "<< operation.path >>"<% if given %>, {
<% if operation.path_parameters %>
      path: {
<% for parameter in operation.path_parameters %>
        "<< parameter.name >>": << parameter.camel >>,
<% endfor %>
      },
<% endif %>
<% if operation.query_parameters %>
      query: named(query, {
<% for parameter in operation.query_parameters %>
        << parameter.camel >>: "<< parameter.name >>",
<% endfor %>
      }),
<% endif %>
<% if operation.body %>
      body,
<% if operation.id != "send_events" and operation.body.content_type != "application/json" %>
      contentType: "<< operation.body.content_type >>",
<% endif %>
<% endif %>
    }<% endif %>);
  }
<% if operation.page %>

  /** << operation.summary >> All pages, one item after the other. */
  iterate<< operation.camel[:1] | upper >><< operation.camel[1:] >>(<< signature(operation) >>) {
    const ask = (query) => this.<< operation.camel >>(<< signature(operation) >>);
    return pages(ask, query, "<< operation.page.list >>", "<< operation.page.next >>", "<< operation.page.camel >>");
  }
<% endif %>
<% endfor %>

  // ---- how it is done ----

  async #call(method, template, { path = {}, query = {}, body, contentType = "application/json" } = {}) {
    const filled = template.replace(/\{([^}]*)\}/g, (_, name) => segment(name, path[name]));
    const url = new URL(this.baseUrl + filled, globalThis.location?.href);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined && value !== null) url.searchParams.set(name, String(value));
    }
    const headers = new Headers({ Authorization: `Bearer ${this.#apiKey}`, Accept: "application/json, */*;q=0.5" });
    // In browsers it is a header that other hosts must allow.
    if (globalThis.process?.versions?.node) headers.set("User-Agent", `aihub-analytics-javascript/${VERSION}`);
    let data;
    if (body !== undefined && body !== null) {
      data = typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body, finite);
      headers.set("Content-Type", contentType);
    }
    if (method === "POST" || method === "PATCH") headers.set("Idempotency-Key", `"${uuid()}"`);
    return this.#attempts(url.href, { method, headers, body: data, credentials: "omit" });
  }

  async #attempts(url, request) {
    for (let attempt = 0; ; attempt += 1) {
      let pause;
      try {
        return await this.#once(url, request);
      } catch (error) {
        const again = error instanceof ApiError
          ? RETRIED.includes(error.status) || error.code === "request_in_progress"
          : error instanceof ConnectionFailed;
        if (!again || attempt >= this.#retries) throw error;
        pause = error.retryAfter === undefined ? undefined : error.retryAfter * 1000;
      }
      pause ??= this.#pause * 2 ** attempt * (0.5 + Math.random() / 2);
      await new Promise((resolve) => setTimeout(resolve, Math.min(pause, this.#pauseMax)));
    }
  }

  async #once(url, request) {
    const fetch = this.#fetch ?? globalThis.fetch;
    const abort = new AbortController();
    let timer;
    const wait = () => {
      clearTimeout(timer);
      const stop = () => abort.abort(new Error(`nothing came for ${this.#timeout} ms`));
      // Timers cannot be longer.
      if (this.#timeout < 2 ** 31) timer = setTimeout(stop, this.#timeout);
    };
    let answer, data;
    try {
      wait();
      answer = await fetch(url, { ...request, signal: abort.signal });
      data = await readAll(answer, wait);
    } catch (error) {
      const reason = error?.cause?.message || error?.cause?.code || error?.message || error;
      throw new ConnectionFailed(`${request.method} ${url}: ${reason}`, { cause: error });
    } finally {
      clearTimeout(timer);
    }
    if (!answer.ok) throw errorOf(answer.status, answer.headers, data);
    return read(answer.headers.get("Content-Type") ?? "", data);
  }
}

/** Query parameters by the names of the API. */
function named(given, names) {
  const query = {};
  for (const [name, value] of Object.entries(given ?? {})) {
    if (!Object.hasOwn(names, name)) throw new TypeError(`there is no parameter ${name}`);
    query[names[name]] = value;
  }
  return query;
}

/** A value as a part of an address. An address with dots would be another one. */
function segment(name, value) {
  const text = String(value ?? "");
  if (["", ".", ".."].includes(text)) throw new TypeError(`${name} is missing, or cannot be in an address`);
  return encodeURIComponent(text);
}

/** JSON would have `null` for these numbers. */
function finite(name, value) {
  if (typeof value === "number" && !Number.isFinite(value)) throw new TypeError(`${name} is no finite number`);
  return value;
}

async function* pages(ask, query, items, following, parameter) {
  let asked = query;
  for (;;) {
    const page = await ask(asked);
    yield* page[items] ?? [];
    const { [following]: cursor, has_more: hasMore = true } = page;
    if (cursor === undefined || cursor === null || !hasMore) return;
    asked = { ...asked, [parameter]: cursor };
  }
}

/** The bytes of an answer. `onPart` is called when some of them came. */
async function readAll(answer, onPart) {
  if (!answer.body?.getReader) return answer.arrayBuffer();
  const reader = answer.body.getReader();
  const parts = [];
  for (;;) {
    onPart();
    const { done, value } = await reader.read();
    if (done) return new Blob(parts).arrayBuffer();
    parts.push(value);
  }
}

function read(contentType, data) {
  if (data.byteLength === 0) return undefined;
  const kind = contentType.split(";")[0].trim().toLowerCase();
  const text = () => new TextDecoder().decode(data);
  if (kind === "application/json" || kind.endsWith("+json")) return JSON.parse(text());
  if (kind.startsWith("text/") || kind === "application/x-ndjson" || kind === "application/yaml") return text();
  return data;
}
