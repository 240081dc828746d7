/** Errors: one class for each code of the API. */

/** There was no answer. `cause` says why. */
export class ConnectionFailed extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = "ConnectionFailed";
  }
}

/** The API refused a request. `code` is stable: decide by it, or by the class. */
export class ApiError extends Error {
  constructor(status, problem, headers) {
    const text = problem.detail ?? problem.title ?? "";
    super(`${status} ${problem.code ?? "without a code"}: ${text}`);
    this.name = new.target.name;
    this.status = status;
    /** The whole answer, by RFC 9457. */
    this.problem = problem;
    this.code = problem.code;
    this.detail = problem.detail;
    /** Names the request in our logs. */
    this.requestId = headers.get("X-Request-Id") ?? problem.instance;
    /** Seconds. */
    this.retryAfter = seconds(headers.get("Retry-After"));
  }
}

function seconds(text) {
  const number = Number(text?.trim() || NaN);
  return Number.isFinite(number) ? Math.max(0, number) : undefined;
}

export const errors = Object.freeze({
<% for code in codes %>
  /** `<< code.code >>` */
  << code.pascal >>: class << code.pascal >> extends ApiError {},
<% endfor %>
});

const BY_CODE = new Map([
<% for code in codes %>
  ["<< code.code >>", errors.<< code.pascal >>],
<% endfor %>
]);

/** The error that an answer stands for. */
export function errorOf(status, headers, body) {
  const text = new TextDecoder().decode(body);
  let problem;
  try {
    problem = JSON.parse(text);
  } catch {
    // It did not come from the API, but from something before it.
  }
  if (typeof problem !== "object" || problem === null || Array.isArray(problem)) {
    problem = { title: text.slice(0, 200) };
  }
  const Class = BY_CODE.get(problem.code) ?? ApiError;
  return new Class(status, problem, headers);
}
