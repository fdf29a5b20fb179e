import type { TableMapping } from '../../change/table.ts';
import { FencedError, TransientError } from '../../errors.ts';
import type { Load } from '../../ports/load.ts';
import type { DeltaLoad, LoadFile } from '../../ports/load-into-delta.ts';
import type { MergeLedger, MergeTurn } from '../../ports/merge-ledger.ts';
import type { Databricks } from './client.ts';
import { loadMergeSql, printSql, removeAbsentSql, type LoadMergeSqlOptions } from './load-merge-sql.ts';
import { createTouchedKeys } from './load-touched.ts';
import { createEpochFence, epochsTableOf } from './merge-epoch.ts';
import { createMergeHistory } from './merge-history.ts';
import { plainName } from './merge-mark.ts';
import { createMergeSettlement } from './merge-settlement.ts';
import { countsOf, neverLanded, type Counts } from './merge-statement.ts';

export interface LoadMergeOptions {
  /** Shared with others. */
  readonly client: Databricks;
  /** That of the live sink: its turn, its epoch and its pending mark are the load's as well. */
  readonly ledger: MergeLedger;
  readonly sink: string;
  readonly table: string;
  readonly mapping: TableMapping;
  /** Where the load's files are. */
  readonly folder: string;
  /** Whether what others change in Delta goes to Postgres, so that it counts more than the load. */
  readonly othersCount: boolean;
  /** A commit of somebody's came in between, and the statement begins again; a TransientError says how often by now. */
  readonly onConflict?: ((error: unknown) => void) | undefined;
}

const STATEMENT_MS = 24 * 60 * 60_000;

/**
 * Statements that bring a load into its table, in turn with the live merges and fenced as they are. Each leaves alone
 * what others have changed since the load's version: the keys are asked for first, and the statement does nothing
 * where a commit came between the question and the version that it works on. A commit while it runs makes it fail.
 */
export function createLoadMerge(options: LoadMergeOptions): DeltaLoad {
  const { client, ledger, sink, table, mapping } = options;
  const fence = createEpochFence(client, table, sink);
  const history = createMergeHistory(client, table, sink);
  const settlement = createMergeSettlement({ fence, history, staging: null });
  const epochs = epochsTableOf(table);
  const where = {
    doing: 'merging the load',
    table,
    mapping: mapping.name,
    columns: mapping.columns.map(({ name }) => name),
  };
  let touched: ReturnType<typeof createTouchedKeys> | null = null;
  let markSeen = false;

  async function print(version: number | null, signal: AbortSignal): Promise<string> {
    const [row] = await client.query({ ...where, sql: printSql(table, version), signal });
    return String(row?.['print']);
  }

  /** One statement in turn; null where a commit of others came in between, and nothing was done. */
  async function once(
    turn: MergeTurn,
    load: Load,
    what: string,
    statement: (given: LoadMergeSqlOptions) => { sql: string; params: Record<string, string> },
    signal: AbortSignal,
  ): Promise<Counts | null> {
    const stop = AbortSignal.any([signal, turn.lost]);
    const { epoch } = await settlement.settled(turn, stop);
    touched ??= createTouchedKeys({ client, table, mapping, folder: options.folder });
    const others = options.othersCount ? await touched.since(load.pinned!.version, stop) : null;
    const found = others === null ? null : await print(others.version, stop);
    const { sql, params } = statement({
      mapping,
      table,
      epochs,
      touched: others?.lines ?? null,
      guarded: found !== null,
    });
    const mark = `deltaferry/${plainName(sink)} load ${load.id} e${epoch} ${what}`;
    await turn.begin(epoch, mark, []);
    const counts = countsOf(
      (
        await client
          .query({
            ...where,
            sql,
            params: {
              ...params,
              sink,
              epoch,
              ferry: mark,
              ...(others?.lines == null ? {} : { touched: JSON.stringify(others.names) }),
              ...(found === null ? {} : { print: found }),
            },
            timeoutMs: STATEMENT_MS,
            signal: stop,
          })
          .catch(async (error: unknown) => {
            // Whoever has the next turn settles what may still land.
            if (neverLanded(error)) await turn.forget(mark).catch(() => {});
            throw error;
          })
      )[0],
    );
    await turn.finish(mark, new Map());
    if (counts.affected > 0) {
      // Without it the feed would take what was loaded for changes of other people's.
      if (!markSeen) await history.mustShow(mark, stop);
      markSeen = true;
      return counts;
    }
    if ((await fence.read(stop)) !== epoch) {
      settlement.doubt();
      throw new FencedError({
        code: 'EPOCH_MOVED',
        message: `Epoch ${epoch} of ${sink} in ${table} is over: another process merges, or the control schema was restored.`,
      });
    }
    return found === null || (await print(null, stop)) === found ? counts : null;
  }

  async function untilDone(
    load: Load,
    what: string,
    statement: (given: LoadMergeSqlOptions) => { sql: string; params: Record<string, string> },
    signal: AbortSignal,
  ): Promise<Counts> {
    await ledger.claim(new Map());
    for (let attempt = 1; ; attempt++) {
      signal.throwIfAborted();
      const turn = await ledger.turn(signal);
      try {
        const counts = await once(turn, load, what, statement, signal);
        if (counts !== null) return counts;
        options.onConflict?.(overtaken(table, attempt));
      } catch (error) {
        if (!(error instanceof TransientError) || error.code !== 'DELTA_CONFLICT') throw error;
        options.onConflict?.(overtaken(table, attempt, error));
      } finally {
        await turn.release();
      }
    }
  }

  return {
    async merge(load, files, signal) {
      const slices = new Set(files.map(({ slice }) => slice));
      const folder = `${options.folder}/${slices.size === 1 ? files[0]!.slice : '*'}`;
      const lines = { folder, names: 'names' };
      const params = { names: namesOf(files) };
      const merged = (what: 'add' | 'correct'): Promise<Counts> =>
        untilDone(
          load,
          `slice ${[...slices].at(-1)}, ${what}`,
          (given) => ({ sql: loadMergeSql(given, lines, what), params }),
          signal,
        );
      const hasValues = mapping.columns.length > mapping.key.length;
      const corrected = load.way === 'reconcile' && hasValues ? (await merged('correct')).updated : 0;
      return { added: (await merged('add')).inserted, corrected };
    },

    async removeAbsent(load, files, signal) {
      const lines = files.length === 0 ? null : { folder: `${options.folder}/*`, names: 'names' };
      const { deleted } = await untilDone(
        load,
        'absent',
        (given) => ({
          sql: removeAbsentSql(given, lines),
          params: files.length === 0 ? {} : { names: namesOf(files) },
        }),
        signal,
      );
      return deleted;
    },
  };
}

/** Nothing but patience helps, unless those who commit are asked for pauses. */
function overtaken(table: string, attempt: number, cause?: TransientError): TransientError {
  const times = attempt === 1 ? 'once' : `${attempt} times in a row`;
  return new TransientError({
    code: 'LOAD_OVERTAKEN',
    message: `Others have committed to ${table} while a statement of the load was on its way, ${times}: it begins again. Give the jobs that write there pauses of a minute until the load has ended`,
    cause,
  });
}

function namesOf(files: readonly LoadFile[]): string {
  return JSON.stringify(files.map(({ path }) => path.slice(path.lastIndexOf('/') + 1)));
}
