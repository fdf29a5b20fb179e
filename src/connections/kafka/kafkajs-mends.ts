import { createRequire } from 'node:module';
import { produceRequest } from './produce-request.ts';
import { decodeBatch } from './record-batch-decoder.ts';

/** The part of kafkajs's request queue that is mended (kafkajs 2.2.4, its last release). */
interface RequestQueue {
  readonly inflight: ReadonlyMap<number, unknown>;
  readonly pending: readonly unknown[];
  readonly throttledUntil: number;
  throttleCheckTimeoutId: NodeJS.Timeout | null;
  readonly requestTimeoutIntervalId?: NodeJS.Timeout;
  checkPendingRequests(): void;
}

const OVERLOAD_CHECK_MS = 10;
const load = createRequire(import.meta.url);
let mended = false;

/**
 * kafkajs re-arms the timer for queued requests for ever on every connection, also with nothing to wait for
 * and then with a negative time: a wake-up each millisecond, and TimeoutNegativeWarning on Node 24 (kafkajs
 * #1751). Only queued requests need it: whoever queues one calls this again.
 *
 * And it stops looking for requests that have waited too long as soon as a connection is closed. One that
 * slipped in while it closed would wait for ever, and with it whoever asked.
 */
export function mendRequestQueue(): void {
  const queue = load('kafkajs/src/network/requestQueue/index.js') as {
    prototype: RequestQueue & {
      scheduleCheckPendingRequests?: () => void;
      scheduleRequestTimeoutCheck?: () => void;
      destroy?: () => void;
    };
  };
  const { scheduleRequestTimeoutCheck: watch } = queue.prototype;
  if (mended || watch === undefined) return;
  mended = true;
  queue.prototype.scheduleCheckPendingRequests = function schedule(this: RequestQueue): void {
    if (this.pending.length === 0 || this.throttleCheckTimeoutId !== null) return;
    const wait = this.throttledUntil - Date.now();
    this.throttleCheckTimeoutId = setTimeout(
      () => {
        this.throttleCheckTimeoutId = null;
        this.checkPendingRequests();
      },
      wait > 0 ? wait : OVERLOAD_CHECK_MS,
    );
  };
  queue.prototype.scheduleRequestTimeoutCheck = function schedule(this: RequestQueue): void {
    clearInterval(this.requestTimeoutIntervalId);
    watch.call(this);
  };
  // Called again by each look at what has waited too long, once the connection is closed.
  queue.prototype.destroy = function destroy(this: RequestQueue): void {
    if (this.inflight.size > 0 || this.pending.length > 0) return;
    clearInterval(this.requestTimeoutIntervalId);
    clearTimeout(this.throttleCheckTimeoutId ?? undefined);
    this.throttleCheckTimeoutId = null;
  };
}

/** kafkajs loads what encodes and decodes batches with the first request of its kind; from now on it finds ours. */
export function mendBatches(): void {
  const replace = (module: string, by: unknown): void => {
    const path = load.resolve(`kafkajs/src/protocol/${module}.js`);
    load(path);
    load.cache[path]!.exports = by;
  };
  replace('requests/produce/v3/request', produceRequest);
  replace('recordBatch/v0/decoder', decodeBatch);
}
