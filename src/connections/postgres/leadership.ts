import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { TransientError } from '../../errors.ts';
import type { Leadership, Lease } from '../../ports/leadership.ts';
import { translatePostgres } from './errors.ts';
import { connectionConfig, sever, type PostgresOptions } from './pool.ts';

export interface LeadershipOptions extends PostgresOptions {
  /** How often a standby asks; default 500. */
  readonly pollMs?: number | undefined;
  /** How often a leader proves its connection; default 1000. */
  readonly heartbeatMs?: number | undefined;
  /** Longest wait for an answer before the connection counts as lost; default 1500. */
  readonly deadlineMs?: number | undefined;
}

const DEFAULTS = { pollMs: 500, heartbeatMs: 1_000, deadlineMs: 1_500 };

/**
 * The server gives up on a host that is gone after 1 + 2 × 1 s, and as soon on a process that is frozen,
 * whose kernel goes on answering. The leader's own heartbeat gives up after 1 + 1.5 s, so it knows
 * before a standby can hold the lock.
 */
const serverTimeouts = (silentMs: number): string =>
  '-c tcp_keepalives_idle=1 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=2 ' +
  `-c tcp_user_timeout=3000 -c idle_session_timeout=${silentMs}`;
const GRACE_MS = 500;

/**
 * Leadership by a session-level advisory lock on a connection of its own. It must reach Postgres
 * directly: a transaction pooler hands the session, and with it the lock, to others.
 */
export function createLeadership(options: LeadershipOptions): Leadership {
  const pollMs = options.pollMs ?? DEFAULTS.pollMs;
  const heartbeatMs = options.heartbeatMs ?? DEFAULTS.heartbeatMs;
  const deadlineMs = options.deadlineMs ?? DEFAULTS.deadlineMs;

  async function acquire(name: string, signal: AbortSignal): Promise<Lease> {
    signal.throwIfAborted();
    const session = openLockSession(options, {
      deadlineMs,
      silentMs: Math.max(heartbeatMs, pollMs) + deadlineMs + GRACE_MS,
    });
    const onAbort = (): void => session.close();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await session.client.connect();
      while (!(await tryLock(session.client, name))) await delay(pollMs, undefined, { signal });
      return startLease(session, name, heartbeatMs);
    } catch (error) {
      session.close();
      if (signal.aborted) throw signal.reason;
      throw translatePostgres(error, `waiting for the lease ${name}`);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  return { acquire };
}

/** Whether somebody holds the lease at this moment. */
export async function isLeaseHeld(pool: pg.Pool, name: string): Promise<boolean> {
  const { rows } = await pool
    .query<{ held: boolean }>(HELD, [`deltaferry ${name}`])
    .catch((error: unknown) => {
      throw translatePostgres(error, `looking who holds the lease ${name}`);
    });
  return rows[0]?.held === true;
}

// The halves of a lock's number, as pg_locks has them.
const HELD = `
  SELECT EXISTS (SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (classid::bigint << 32 | objid::bigint) = hashtextextended($1, 0)) AS held`;

/** A connection of its own for session-level locks. */
export interface LockSession {
  readonly client: pg.Client;
  /** Aborts when the connection breaks, with the driver's error as its reason. */
  readonly broken: AbortSignal;
  /** At once, whatever is in flight; the server frees the lock when it sees the end of the connection. */
  close(): void;
  /** Takes leave of the server; closes where it does not answer in time. */
  end(): Promise<void>;
}

/**
 * Not connected yet. `deadlineMs`: how long an answer may take; `silentMs`: after how long without a word
 * from us the server ends the session.
 */
export function openLockSession(
  options: PostgresOptions,
  { deadlineMs, silentMs }: { readonly deadlineMs: number; readonly silentMs: number },
): LockSession {
  const config = connectionConfig(options);
  const client = new pg.Client({
    ...config,
    query_timeout: deadlineMs,
    options: `${config.options} ${serverTimeouts(silentMs)}`,
  });
  const broken = new AbortController();
  client.on('error', (error) => broken.abort(error));
  client.on('end', () => broken.abort(new Error('Connection terminated')));
  const close = (): void => sever(client);
  return {
    client,
    broken: broken.signal,
    close,
    async end() {
      const impatient = setTimeout(close, deadlineMs);
      await client.end().catch(() => {});
      clearTimeout(impatient);
    },
  };
}

async function tryLock(client: pg.Client, name: string): Promise<boolean> {
  const answer = await client.query<{ held: boolean }>(
    'SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS held',
    [`deltaferry ${name}`],
  );
  return answer.rows[0]?.held === true;
}

function startLease(session: LockSession, name: string, heartbeatMs: number): Lease {
  const lost = new AbortController();
  const released = new AbortController();
  const lose = (cause: unknown): void => {
    session.close();
    if (released.signal.aborted) return;
    lost.abort(
      new TransientError({
        code: 'LEASE_LOST',
        message: `Lost the lease ${name}: its Postgres connection broke or did not answer in time.`,
        cause,
      }),
    );
  };
  session.broken.addEventListener('abort', () => lose(session.broken.reason), { once: true });
  if (session.broken.aborted) lose(session.broken.reason);
  const heartbeat = beat(session, heartbeatMs, released.signal).catch(lose);

  return {
    lost: lost.signal,
    async release() {
      released.abort();
      await heartbeat;
      // The end of the session frees the lock; an answer to the last query says that it was reached.
      if (!session.broken.aborted)
        await session.client.query('SELECT pg_advisory_unlock_all()').catch(() => {});
      session.close();
    },
  };
}

/** Returns once released, throws once the connection does not answer. */
async function beat(session: LockSession, everyMs: number, released: AbortSignal): Promise<void> {
  while (!released.aborted && !session.broken.aborted) {
    await delay(everyMs, undefined, { signal: released }).catch(() => {});
    if (!released.aborted) await session.client.query('SELECT 1');
  }
}
