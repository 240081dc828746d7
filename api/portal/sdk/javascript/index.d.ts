/** The types of the JavaScript SDK of AI Hub Analytics, version << version >>. */

// ---- the client ----

/** How a client works. Times are milliseconds. */
export interface ClientOptions {
  /** How long nothing may come before a request counts as failed: 30,000 unless this says otherwise. */
  timeout?: number;
  /** How often a request is sent again: 4 times unless this says otherwise. */
  retries?: number;
  /** The first pause, 500 unless this says otherwise. Each one after it is twice as long. */
  pause?: number;
  /** The longest pause, 30,000 unless this says otherwise. It limits `Retry-After` too. */
  pauseMax?: number;
  /** Used instead of the global `fetch`. */
  fetch?: typeof globalThis extends { fetch: infer F } ? F : never;
}

/** The data of a usage event. Members are columns, such as `model` and `input_tokens`. */
export interface UsageData {
  /** Unique within its source. Left out: a random one. */
  id?: string;
  /** When it happened. Left out: now. */
  time?: Date | string;
  [column: string]: unknown;
}

<# What the macros give stands in one line: `-` takes the space around a tag away. #>
<% macro type(kind) -%>
<% if kind in ["integer", "number"] %>number
<%- elif kind == "boolean" %>boolean
<%- elif kind == "array" %>readonly string[]
<%- else %>string
<%- endif %>
<%- endmacro %>
<% macro pascal(operation) %><< operation.camel[:1] | upper >><< operation.camel[1:] >><% endmacro %>
<% macro signature(operation) -%>
<% for parameter in operation.path_parameters -%>
<% if not loop.first %>, <% endif %><< parameter.camel >>: << type(parameter.kind) >>
<%- endfor %>
<%- if operation.body -%>
<% if operation.path_parameters %>, <% endif %>body
<%- if not operation.body.required and operation.id != "send_events" %>?<% endif %>: <% if operation.body.is_json -%>
<< operation.body.type.typescript >>
<%- else %>string | Uint8Array<% endif %>
<%- endif %>
<%- if operation.query_parameters -%>
<% if operation.path_parameters or operation.body %>, <% endif %>query
<%- if not operation.query_parameters | selectattr("required") | list %>?<% endif %>: << pascal(operation) >>Query
<%- endif %>
<%- endmacro %>
/**
 * Calls the API with a key.
 *
 * A request without an answer, and one with the status 408, 429, 500, 502, 503 or 504, is sent again up to `retries`
 * times, after pauses that double, or as long as `Retry-After` says. Requests that change something carry the same
 * `Idempotency-Key` in all attempts, so that nothing is done twice.
 *
 * Where `format` makes the answer another one, say what it is, such as `getInvoiceDocument<ArrayBuffer>(…)` for a PDF:
 * `string` for text, `ArrayBuffer` for all else that is no JSON.
 */
export class Client {
  constructor(baseUrl: string, apiKey: string, options?: ClientOptions);

  readonly baseUrl: string;

  /** Sends one `usage.request`: its members are columns, such as `model` and `input_tokens`. */
  sendUsage(usage: UsageData & { source?: string }): Promise<Verdicts>;

  /** `/organizations/{id}/javascript` for an organization's own key, else `/javascript`. */
  defaultSource(): Promise<string>;

  /** Collects events and sends them in batches, also when the program ends. */
  eventQueue(options?: EventQueueOptions): EventQueue;
<% for operation in operations %>

<% if operation.description %>
  /**
   * << operation.summary >>
   *
   * << operation.description >>
   */
<% else %>
  /** << operation.summary >> */
<% endif %>
<% set formats = operation.query_parameters | selectattr("name", "equalto", "format") | list %>
<% if formats or operation.id == "run_query" or (operation.answers and not operation.is_json) %>
  << operation.camel ~ "<T = " ~ operation.answer_type.typescript ~ ">" >>(<< signature(operation) >>): Promise<T>;
<% else %>
  << operation.camel >>(<< signature(operation) >>): << "Promise<" ~ operation.answer_type.typescript ~ ">" >>;
<% endif %>
<% if operation.page %>

  /** << operation.summary >> All pages, one item after the other. */
<% set generator = "AsyncGenerator<" ~ operation.page.type.typescript ~ ", void, undefined>" %>
  iterate<< pascal(operation) >>(<< signature(operation) >>): << generator >>;
<% endif %>
<% endfor %>
}

// ---- events ----

/** A `usage.request` as the API takes it. Send it again with the same `id`, and it counts once. */
export function usageEvent(source: string, usage?: UsageData): CloudEvent;

/** How a queue works. */
export interface EventQueueOptions {
  /** How many events are sent at once: 500 unless this says otherwise, at most 1,000. */
  batchSize?: number;
  /** How often the queue sends what waits, in milliseconds: 1,000 unless this says otherwise. */
  interval?: number;
  /** How many events may wait: 100,000 unless this says otherwise. */
  queueMax?: number;
  /** Called for each event that the API rejects. Without it they are collected in `rejected`. */
  onRejected?: (event: CloudEvent, verdict: EventResult) => void | Promise<void>;
  /** Called when sending in the background failed. The events stay in the queue. */
  onError?: (error: unknown) => void;
}

/**
 * Collects events and sends them in batches: when `batchSize` are there, every `interval` milliseconds, on `flush`, and
 * when the program ends. `process.exit` ends it at once: call `close` before.
 *
 * A batch that could not be sent stays in the queue, and is sent again. Events that the API rejects are given to
 * `onRejected`, each with its verdict; without it they are collected in `rejected`. When `queueMax` events wait, `send`
 * throws a `RangeError`: nothing is dropped unseen.
 */
export class EventQueue {
  constructor(client: Client, options?: EventQueueOptions);

  readonly accepted: number;
  readonly duplicate: number;
  readonly rejected: Array<{ event: CloudEvent; verdict: EventResult }>;

  /** Adds an event. */
  send(event: CloudEvent): void;

  /** Sends all that waits. Throws what the last attempt threw. */
  flush(): Promise<void>;

  /** Sends all that waits, and ends. */
  close(): Promise<void>;
}

// ---- webhooks ----

/** The request is not ours, or too old. */
export class InvalidSignature extends Error {}

/** The headers of a request: an object, a `Map` or `Headers`. */
export type WebhookHeaders =
  | Iterable<readonly [string, string]>
  | { readonly [name: string]: string | readonly string[] | undefined };

/** How old a webhook may be. Times are seconds. */
export interface WebhookOptions {
  /** 300 unless this says otherwise. */
  tolerance?: number;
  /** The time since 1970. Left out: that of the clock. */
  now?: number;
}

/**
 * The event in a body, if one of the secrets signed it in the last `tolerance` seconds.
 *
 * Give the body as it came, not parsed. `webhook-id` is the same for all attempts of a delivery: handle each once.
 */
export function verifyWebhook(
  body: string | Uint8Array,
  headers: WebhookHeaders,
  secret: string | readonly string[],
  options?: WebhookOptions,
): Promise<any>;

// ---- errors ----

/** There was no answer. `cause` says why. */
export class ConnectionFailed extends Error {
  readonly cause?: unknown;
}

/** The API refused a request. `code` is stable: decide by it, or by the class. */
export class ApiError extends Error {
  readonly status: number;
  /** The whole answer, by RFC 9457. */
  readonly problem: { readonly [member: string]: any };
  readonly code: string | undefined;
  readonly detail: string | undefined;
  /** Names the request in our logs. */
  readonly requestId: string | undefined;
  /** Seconds. */
  readonly retryAfter: number | undefined;
}

/** One class for each code of the API. */
export namespace errors {
<% for code in codes %>
  /** `<< code.code >>` */
  class << code.pascal >> extends ApiError {}
<% endfor %>
}

// ---- the parameters of operations ----
<% for operation in operations if operation.query_parameters %>

/** Parameters of `<< operation.camel >>`. */
export interface << pascal(operation) >>Query {
<% for parameter in operation.query_parameters %>
<% if parameter.description %>
  /** << parameter.description >> */
<% endif %>
  << parameter.camel >><% if not parameter.required %>?<% endif %>: << type(parameter.kind) >>;
<% endfor %>
}
<% endfor %>

// ---- the types of the API ----
<% for model in models %>

<% if model.description %>
/** << model.description >> */
<% endif %>
<% if model.is_object %>
export interface << model.name >> {
<% for member in model.members %>
  "<< member.name >>"<% if not member.required %>?<% endif %>: << member.typescript >>;
<% endfor %>
}
<% else %>
export type << model.name >> = << model.typescript >>;
<% endif %>
<% endfor %>
