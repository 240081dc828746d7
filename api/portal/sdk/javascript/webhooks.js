/** Webhooks: whether a request is ours, by Standard Webhooks 1.0. */

/** The request is not ours, or too old. */
export class InvalidSignature extends Error {
  constructor(message) {
    super(message);
    this.name = "InvalidSignature";
  }
}

// Node 18 has no global `crypto`. The name is no literal, so that bundlers for browsers leave it alone.
const NODE_CRYPTO = ["node", "crypto"].join(":");

/**
 * The event in a body, if one of the secrets signed it in the last `tolerance` seconds.
 *
 * Give the body as it came, not parsed. `webhook-id` is the same for all attempts of a delivery: handle each once.
 */
export async function verifyWebhook(body, headers, secret, { tolerance = 300, now = Date.now() / 1000 } = {}) {
  const text = typeof body === "string" ? body : new TextDecoder().decode(body);
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : new Uint8Array(body);
  const { id, timestamp, signatures } = ofHeaders(headers);
  const age = Math.abs(now - Number(timestamp));
  if (!(age <= tolerance)) throw new InvalidSignature(`it is ${Math.floor(age)} seconds old or ahead`);
  const signed = joined(new TextEncoder().encode(`${id}.${timestamp}.`), bytes);
  const subtle = globalThis.crypto?.subtle ?? (await import(/* webpackIgnore: true */ NODE_CRYPTO)).webcrypto.subtle;
  for (const one of Array.isArray(secret) ? secret : [secret]) {
    const key = await subtle.importKey("raw", keyOf(one), { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
    for (const signature of signatures) {
      if (await subtle.verify("HMAC", key, signature, signed)) return JSON.parse(text);
    }
  }
  throw new InvalidSignature("no signature fits");
}

function ofHeaders(headers) {
  const pairs = typeof headers[Symbol.iterator] === "function" ? [...headers] : Object.entries(headers);
  const lower = new Map(pairs.map(([name, value]) => [name.toLowerCase(), value]));
  const header = (name) => {
    const value = lower.get(name);
    if (value === undefined || value === null) throw new InvalidSignature(`a header is missing: ${name}`);
    return Array.isArray(value) ? value.join(" ") : String(value);
  };
  const [id, timestamp, signature] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(header);
  if (!/^\d+$/.test(timestamp)) throw new InvalidSignature("webhook-timestamp is no number");
  const known = signature.split(/\s+/).filter((one) => one.startsWith("v1,"));
  return { id, timestamp, signatures: known.map((one) => decoded(one.slice(3))).filter(Boolean) };
}

function keyOf(secret) {
  const key = typeof secret === "string" ? decoded(secret.replace(/^whsec_/, "")) : undefined;
  if (!key?.length) throw new TypeError("a secret is `whsec_` and Base64");
  return key;
}

function decoded(base64) {
  try {
    return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  } catch {
    return undefined;
  }
}

function joined(first, second) {
  const all = new Uint8Array(first.length + second.length);
  all.set(first);
  all.set(second, first.length);
  return all;
}
