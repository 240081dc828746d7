/** Events: how they are made, and sent in batches. */

import { ApiError } from "./errors.js";

/** A `usage.request` as the API takes it. Send it again with the same `id`, and it counts once. */
export function usageEvent(source, { id, time, ...data } = {}) {
  const at = time ?? new Date();
  return {
    specversion: "1.0",
    id: id ?? uuid(),
    source,
    type: "usage.request",
    time: at instanceof Date ? at.toISOString() : at,
    data,
  };
}

/**
 * Collects events and sends them in batches: when `batchSize` are there, every `interval` milliseconds, on `flush`, and
 * when the program ends.
 *
 * A batch that could not be sent stays in the queue, and is sent again. Events that the API rejects are given to
 * `onRejected`, each with its verdict; without it they are collected in `rejected`. When `queueMax` events wait, `send`
 * throws a `RangeError`: nothing is dropped unseen.
 */
export class EventQueue {
  #client;
  #batchSize;
  #queueMax;
  #onRejected;
  #onError;
  #timer;
  #waiting = [];
  #sending = Promise.resolve();
  #inBackground = false;
  #closed = false;

  constructor(client, { batchSize = 500, interval = 1000, queueMax = 100_000, onRejected, onError } = {}) {
    this.#client = client;
    this.#batchSize = Math.max(1, Math.min(batchSize, 1000));
    this.#queueMax = queueMax;
    this.#onRejected = onRejected;
    this.#onError = onError;
    this.accepted = 0;
    this.duplicate = 0;
    this.rejected = [];
    this.#timer = setInterval(() => this.#flushInBackground(), interval);
    // The timer alone does not keep a program of Node running.
    this.#timer.unref?.();
    globalThis.process?.once?.("beforeExit", this.#onExit);
  }

  /** Adds an event. */
  send(event) {
    if (this.#closed) throw new Error("the queue is closed");
    if (this.#waiting.length >= this.#queueMax) throw new RangeError(`${this.#queueMax} events wait`);
    this.#waiting.push(event);
    if (this.#waiting.length >= this.#batchSize) this.#flushInBackground();
  }

  /** Sends all that waits. Throws what the last attempt threw. */
  flush() {
    const flushed = this.#sending.then(() => this.#sendAll());
    this.#sending = flushed.catch(() => {});
    return flushed;
  }

  /** Sends all that waits, and ends. */
  close() {
    this.#closed = true;
    clearInterval(this.#timer);
    globalThis.process?.removeListener?.("beforeExit", this.#onExit);
    return this.flush();
  }

  #onExit = async () => {
    try {
      await this.close();
    } catch (error) {
      // Without a handler Node reports the error, and the program fails.
      if (!this.#onError) throw error;
      this.#onError(error);
    }
  };

  async #flushInBackground() {
    if (this.#inBackground) return;
    this.#inBackground = true;
    try {
      await this.flush();
    } catch (error) {
      // The events stay in the queue.
      this.#onError?.(error);
    } finally {
      this.#inBackground = false;
    }
  }

  async #sendAll() {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.slice(0, this.#batchSize);
      const verdicts = await this.#verdicts(batch);
      this.#waiting.splice(0, batch.length);
      await this.#count(batch, verdicts);
    }
  }

  async #verdicts(batch) {
    try {
      return await this.#client.sendEvents(batch);
    } catch (error) {
      if (error instanceof ApiError && error.code === "all_rejected") return error.problem;
      throw error;
    }
  }

  async #count(batch, verdicts) {
    for (const verdict of verdicts.results ?? []) {
      const event = batch[verdict.index];
      if (verdict.status === "accepted") this.accepted += 1;
      else if (verdict.status === "duplicate") this.duplicate += 1;
      else if (this.#onRejected) await this.#onRejected(event, verdict);
      else this.rejected.push({ event, verdict });
    }
  }
}

/** A random UUID. */
export function uuid() {
  const { crypto } = globalThis;
  // Browsers have it on secure pages only.
  if (crypto?.randomUUID) return crypto.randomUUID();
  const bytes = new Uint8Array(16);
  if (crypto?.getRandomValues) crypto.getRandomValues(bytes);
  // Node 18 has no global `crypto`. An id need not be secret.
  else bytes.forEach((_, index) => (bytes[index] = Math.floor(Math.random() * 256)));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
