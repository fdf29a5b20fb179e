import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { TransientError } from '../../errors.ts';
import { translatePostgres } from './errors.ts';
import { openLockSession, type LockSession } from './leadership.ts';
import type { PostgresOptions } from './pool.ts';

export interface MergeTurnsOptions extends PostgresOptions {
  /** How often an idle connection is proven; default 1000. */
  readonly heartbeatMs?: number | undefined;
  /** Longest wait for an answer before the connection counts as lost; default 5000. */
  readonly deadlineMs?: number | undefined;
}

/** The lock of one table's merges, held on a connection that may be used for what the holder notes. */
export interface HeldTurn {
  readonly client: pg.Client;
  /** Aborts when the connection breaks, and with it the lock. */
  readonly lost: AbortSignal;
  readonly release: () => Promise<void>;
}

export interface MergeTurns {
  /** Waits in line with the other processes; throws the signal's reason. */
  take(signal: AbortSignal): Promise<HeldTurn>;
  takeIfFree(): Promise<HeldTurn | null>;
  close(): Promise<void>;
}

const DEFAULTS = { heartbeatMs: 1_000, deadlineMs: 5_000 };
/** A waiting session says a word at least so often. */
const LINE_MS = 1_000;
const GRACE_MS = 500;
const LOCK_NOT_AVAILABLE = '55P03';
const LOCK_KEY = 'hashtextextended($1, 0)';

/**
 * A session-level advisory lock, on a connection that is kept for the next turn: it must reach Postgres
 * directly, not through a transaction pooler. The lock ends with the connection, so a process that is killed
 * or cut off loses it within seconds; what it may still send to Delta is fenced off by the epoch.
 */
export function createMergeTurns(name: string, options: MergeTurnsOptions): MergeTurns {
  const heartbeatMs = options.heartbeatMs ?? DEFAULTS.heartbeatMs;
  const deadlineMs = options.deadlineMs ?? DEFAULTS.deadlineMs;
  const key = `deltaferry merge ${name}`;
  const closing = new AbortController();
  let line: Promise<unknown> = Promise.resolve();
  /** How many of this process have the turn or wait for it. */
  let inHand = 0;
  let current: Kept | undefined;

  /** Postgres lets one session take the lock twice, so the turns of one process queue up here. */
  async function inLine<T extends HeldTurn | null>(signal: AbortSignal, take: () => Promise<T>): Promise<T> {
    const before = line;
    const done = Promise.withResolvers<void>();
    line = before.then(() => done.promise);
    inHand += 1;
    void done.promise.then(() => (inHand -= 1));
    try {
      await unlessAborted(before, signal);
      signal.throwIfAborted();
      const turn = await take();
      if (turn === null) {
        done.resolve();
        return turn;
      }
      const release = (): Promise<void> => turn.release().finally(done.resolve);
      return { ...turn, release };
    } catch (error) {
      done.resolve();
      throw error;
    }
  }

  async function connected(): Promise<Kept> {
    if (current !== undefined && !current.session.broken.aborted) return current;
    const session = openLockSession(
      { ...options, lockTimeoutMs: LINE_MS },
      { deadlineMs, silentMs: Math.max(heartbeatMs, LINE_MS) + deadlineMs + GRACE_MS },
    );
    try {
      await session.client.connect();
    } catch (error) {
      session.close();
      throw error;
    }
    const kept: Kept = { session, busy: false };
    current = kept;
    void keepAlive(kept, heartbeatMs, closing.signal);
    return kept;
  }

  async function locked(kept: Kept, attempt: () => Promise<boolean>, signal: AbortSignal): Promise<boolean> {
    const onAbort = (): void => kept.session.close();
    signal.addEventListener('abort', onAbort, { once: true });
    kept.busy = true;
    try {
      return await attempt();
    } catch (error) {
      // What was granted without our knowing must not stay granted.
      kept.session.close();
      if (signal.aborted) throw signal.reason;
      throw translatePostgres(error, `waiting for the turn to merge ${name}`);
    } finally {
      kept.busy = false;
      signal.removeEventListener('abort', onAbort);
    }
  }

  async function open(): Promise<Kept> {
    try {
      return await connected();
    } catch (error) {
      throw translatePostgres(error, `waiting for the turn to merge ${name}`);
    }
  }

  function held({ session }: Kept): HeldTurn {
    const lost = new AbortController();
    const onBroken = (): void => lost.abort(turnLost(name, session.broken.reason));
    session.broken.addEventListener('abort', onBroken, { once: true });
    if (session.broken.aborted) onBroken();
    return {
      client: session.client,
      lost: lost.signal,
      async release() {
        session.broken.removeEventListener('abort', onBroken);
        if (session.broken.aborted) return;
        // All of it: a wait that timed out just as it was granted has left the session with one more hold.
        await session.client.query('SELECT pg_advisory_unlock_all()').catch(() => session.close());
      },
    };
  }

  return {
    take: (signal) =>
      inLine(signal, async () => {
        const kept = await open();
        const wait = async (): Promise<boolean> => {
          for (;;) if (await waitInLine(kept.session.client, key)) return true;
        };
        await locked(kept, wait, signal);
        return held(kept);
      }),

    async takeIfFree() {
      if (inHand > 0) return null;
      const never = new AbortController().signal;
      return inLine(never, async () => {
        const kept = await open();
        const free = await locked(kept, () => tryLock(kept.session.client, key), never);
        return free ? held(kept) : null;
      });
    },

    async close() {
      closing.abort();
      await current?.session.end();
    },
  };
}

interface Kept {
  readonly session: LockSession;
  /** A statement that waits is on its way: no heartbeat behind it. */
  busy: boolean;
}

/** False where it was not granted in time. */
async function waitInLine(client: pg.Client, key: string): Promise<boolean> {
  try {
    await client.query(`SELECT pg_advisory_lock(${LOCK_KEY})`, [key]);
    return true;
  } catch (error) {
    if (error instanceof pg.DatabaseError && error.code === LOCK_NOT_AVAILABLE) return false;
    throw error;
  }
}

async function tryLock(client: pg.Client, key: string): Promise<boolean> {
  const answer = await client.query<{ held: boolean }>(`SELECT pg_try_advisory_lock(${LOCK_KEY}) AS held`, [
    key,
  ]);
  return answer.rows[0]?.held === true;
}

/** Until the connection breaks, by its own or by not answering in time. */
async function keepAlive(kept: Kept, everyMs: number, closing: AbortSignal): Promise<void> {
  const { session } = kept;
  const stop = AbortSignal.any([closing, session.broken]);
  while (!stop.aborted) {
    await delay(everyMs, undefined, { signal: stop, ref: false }).catch(() => {});
    if (stop.aborted || kept.busy) continue;
    await session.client.query('SELECT 1').catch(() => session.close());
  }
}

async function unlessAborted(work: Promise<unknown>, signal: AbortSignal): Promise<void> {
  const aborted = Promise.withResolvers<void>();
  const onAbort = (): void => aborted.resolve();
  if (signal.aborted) return;
  signal.addEventListener('abort', onAbort, { once: true });
  await Promise.race([work, aborted.promise]);
  signal.removeEventListener('abort', onAbort);
}

function turnLost(name: string, cause: unknown): TransientError {
  return new TransientError({
    code: 'MERGE_TURN_LOST',
    message: `Lost the turn to merge ${name}: its Postgres connection broke or did not answer in time.`,
    cause,
  });
}
