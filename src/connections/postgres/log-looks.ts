import type { Pool, PoolClient, QueryResult } from 'pg';
import { OperatorError, TransientError } from '../../errors.ts';
import { logRemedy } from '../../flow/log-position.ts';
import type { LogMark, Snapshot } from '../../ports/postgres-log.ts';
import { MARK, MARKED_SNAPSHOT, SNAPSHOT, SYSTEM } from './log-sql.ts';

export interface LogLooks {
  /** Throws an OperatorError where the database is not, or no longer, the one that was published from. */
  snapshot(acknowledged: Snapshot | null, mark: LogMark | null): Promise<Snapshot>;
  mark(): Promise<LogMark>;
  close(): void;
}

interface Looker {
  readonly client: PoolClient;
  /** Null where the server does not say. */
  readonly system: string | null;
}

/**
 * Snapshots and marks of one database. Both come over one connection: after a fail-over there is another one, so a mark
 * is never left in another server than the one whose snapshot it stands for.
 */
export function createLogLooks(
  pool: Pool,
  table: { readonly name: string; readonly table: string },
): LogLooks {
  let looker: Looker | null = null;

  async function connected(): Promise<Looker> {
    if (looker !== null) return looker;
    const client = await pool.connect();
    try {
      looker = { client, system: await systemOf(client) };
      return looker;
    } catch (error) {
      client.release(true);
      throw error;
    }
  }

  async function over<T>({ client }: Looker, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (looker?.client === client) {
        looker = null;
        client.release(true);
      }
      throw error;
    }
  }

  return {
    async snapshot(acknowledged, mark) {
      const at = await connected();
      const query =
        mark === null
          ? { name: 'deltaferry log snapshot', text: SNAPSHOT }
          : { name: 'deltaferry marked log snapshot', text: MARKED_SNAPSHOT };
      const { rows } = await over(at, () =>
        at.client.query<{ snapshot: Snapshot; behind: boolean; mark?: string }>({
          ...query,
          values: [acknowledged],
        }),
      );
      const [found] = rows;
      if (found === undefined || found.behind) throw behind(table, acknowledged, found?.snapshot);
      if (mark !== null) checkMark(table, mark, { system: at.system, number: found.mark ?? '0' });
      return found.snapshot;
    },

    async mark() {
      const at = looker;
      if (at === null)
        throw new TransientError({
          code: 'POSTGRES_CONNECTION',
          message: `The connection that looks at the log of ${table.name} broke.`,
        });
      // Several statements have several results, which the driver's types do not know.
      const results = (await over(at, () => at.client.query(MARK))) as unknown as QueryResult<{
        mark: string;
      }>[];
      return `${at.system ?? ''}/${results.at(-1)?.rows[0]?.mark}`;
    },

    close() {
      looker?.client.release(true);
      looker = null;
    },
  };
}

/** Every role may ask, but for those of services that have taken the right away: marks alone tell most of it. */
async function systemOf(client: PoolClient): Promise<string | null> {
  try {
    const { rows } = await client.query<{ system: string }>(SYSTEM);
    return rows[0]?.system ?? null;
  } catch (error) {
    if (/^(42|0A)/.test((error as { code?: string }).code ?? '')) return null;
    throw error;
  }
}

function checkMark(
  { name, table }: { readonly name: string; readonly table: string },
  mark: LogMark,
  now: { readonly system: string | null; readonly number: string },
): void {
  const [system = '', number = '0'] = mark.split('/');
  if (system !== '' && now.system !== null && system !== now.system)
    throw restored(
      name,
      `The database of ${table} is in another cluster (${now.system}) than the one that was published from (${system}).`,
    );
  if (BigInt(now.number) < BigInt(number))
    throw restored(
      name,
      `The database of ${table} has lost transactions that were published (its mark is ${now.number}, not ${number}): it was restored from a copy, or a standby took over that had not received them.`,
    );
}

function behind(
  { name, table }: { readonly name: string; readonly table: string },
  acknowledged: Snapshot | null,
  now: Snapshot | undefined,
): OperatorError {
  return restored(
    name,
    `The database of ${table} is at ${now}, but ${acknowledged} has been published: it was restored from a copy, or is another one.`,
  );
}

function restored(name: string, message: string): OperatorError {
  return new OperatorError({ code: 'POSTGRES_RESTORED', message, remedy: logRemedy(name) });
}
