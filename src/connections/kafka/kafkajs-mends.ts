import { createRequire } from 'node:module';

/** The part of kafkajs's request queue that is mended (kafkajs 2.2.4, its last release). */
interface RequestQueue {
  readonly pending: readonly unknown[];
  readonly throttledUntil: number;
  throttleCheckTimeoutId: NodeJS.Timeout | null;
  checkPendingRequests(): void;
}

const OVERLOAD_CHECK_MS = 10;

/**
 * kafkajs re-arms this timer for ever on every connection, also with nothing to wait for and then with
 * a negative time: a wake-up each millisecond, and TimeoutNegativeWarning on Node 24 (kafkajs #1751).
 * Only queued requests need the timer: whoever queues one calls this again.
 */
export function mendRequestQueue(): void {
  const queue = createRequire(import.meta.url)('kafkajs/src/network/requestQueue/index.js') as {
    prototype: RequestQueue & { scheduleCheckPendingRequests?: () => void };
  };
  if (queue.prototype.scheduleCheckPendingRequests === undefined) return;
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
}
