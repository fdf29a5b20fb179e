import { TransientError } from '../../errors.ts';
import { quoteDatabricksIdent, quoteDatabricksQualified, splitQualified } from '../identifiers.ts';
import type { Databricks } from './client.ts';

const EPOCHS_TABLE = 'deltaferry_epochs';
/** Of the target. Only that it changes matters: a merge that is running then fails. */
const EPOCH_PROPERTY = 'deltaferry.epoch';
const ATTEMPTS = 10;

/** The table of epochs beside a target, as `splitQualified` reads names. */
export function epochsTableOf(target: string): string {
  const parts = splitQualified(target, 'databricks');
  return [...parts.slice(0, -1).map(quoteDatabricksIdent), EPOCHS_TABLE].join('.');
}

/** For `deltaferry setup`: one row per sink that merges into a table of that schema. */
export function createEpochsTable(target: string): string {
  return (
    `CREATE TABLE IF NOT EXISTS ${quoteDatabricksQualified(epochsTableOf(target))} (sink STRING, epoch BIGINT) USING DELTA ` +
    `COMMENT 'Deltaferry: merges of an older epoch change nothing.'`
  );
}

export interface EpochFence {
  /** The epoch whose merges take effect; null where none was ever set. */
  read(signal?: AbortSignal): Promise<bigint | null>;
  /** Only merges of this epoch (or a later one that is set already) take effect from now on. */
  set(epoch: bigint, signal?: AbortSignal): Promise<void>;
  /**
   * The same, and a merge of an older epoch that is running at this moment can no longer commit. One
   * that began before the epoch was set fails at Delta's own check of what was committed meanwhile,
   * since the target's properties changed; one that begins later has an empty source. There is nothing
   * between, as a MERGE fixes the version of its target before it reads its source.
   */
  close(epoch: bigint, signal?: AbortSignal): Promise<void>;
}

export function createEpochFence(client: Databricks, target: string, sink: string): EpochFence {
  const epochs = epochsTableOf(target);
  const table = quoteDatabricksQualified(epochs);
  const advance =
    `MERGE INTO ${table} AS t USING (SELECT :sink AS sink, :epoch AS epoch) AS s ON t.sink = s.sink ` +
    'WHEN MATCHED AND t.epoch < s.epoch THEN UPDATE SET t.epoch = s.epoch ' +
    'WHEN NOT MATCHED THEN INSERT (sink, epoch) VALUES (s.sink, s.epoch)';

  async function set(epoch: bigint, signal?: AbortSignal): Promise<void> {
    await despiteConflicts(() =>
      client.query({
        sql: advance,
        params: { sink, epoch },
        doing: 'setting the epoch',
        table: epochs,
        signal,
      }),
    );
  }

  return {
    async read(signal) {
      const rows = await client.query({
        sql: `SELECT max(epoch) AS epoch FROM ${table} WHERE sink = :sink`,
        params: { sink },
        doing: 'reading the epoch',
        table: epochs,
        signal,
      });
      const epoch = rows[0]?.['epoch'];
      return typeof epoch === 'bigint' || typeof epoch === 'number' ? BigInt(epoch) : null;
    },
    set,
    async close(epoch, signal) {
      await set(epoch, signal);
      await despiteConflicts(() =>
        client.query({
          sql: `ALTER TABLE ${quoteDatabricksQualified(target)} SET TBLPROPERTIES ('${EPOCH_PROPERTY}' = '${epoch}')`,
          doing: 'fencing off older merges',
          table: target,
          signal,
        }),
      );
    },
  };
}

/** Other tables' sinks write the same table of epochs, and others' jobs the target. */
async function despiteConflicts(work: () => Promise<unknown>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await work();
      return;
    } catch (error) {
      const conflict = error instanceof TransientError && error.code === 'DELTA_CONFLICT';
      if (!conflict || attempt === ATTEMPTS) throw error;
    }
  }
}
