// The process that load-process.ts starts: it gets one order, loads, reports and ends.
import { openDatabricks } from '../connections/databricks/client.ts';
import { createLoadStaging, loadFolder } from '../connections/databricks/load-staging.ts';
import { openKafka } from '../connections/kafka/client.ts';
import { createLoadRecords } from '../connections/kafka/load-records.ts';
import { createLoadFiles } from '../connections/postgres/load-files.ts';
import { createLoadTableSink } from '../connections/postgres/load-table.ts';
import { createLoads } from '../connections/postgres/loads.ts';
import { openPool } from '../connections/postgres/pool.ts';
import { createSchemaRegistry } from '../connections/registry/schemas.ts';
import { createLoadIntoFiles } from '../consumers/load-into-files.ts';
import { loadRows } from '../consumers/load-rows.ts';
import { describeError } from '../errors.ts';
import { atMostEvery } from '../flow/at-most-every.ts';
import { subjectOf } from '../setup/request.ts';
import { mappingOf } from './config/table-schema.ts';
import { databricksOptions, kafkaOptions, postgresOptions, registryOptions } from './connect.ts';
import { loadsOptions, stagingVolume } from './loads-options.ts';
import { diedEarly, sentError, type LoadOrder, type LoadReport } from './load-process.ts';

/** Connections that write at once. */
const CONCURRENTLY = 3;
const REPORT_MS = 100;
/** So many pieces' rows, over all partitions, wait for their file at most. */
const PIECES_HELD = 4;

const stop = new AbortController();
process.once('SIGTERM', () => stop.abort(new Error('stopped')));
// Ctrl-C reaches the whole group; whoever gave the order decides what becomes of it.
process.on('SIGINT', () => {});
// Whoever gave the order is gone: nobody would hear of the end.
process.once('disconnect', () => stop.abort(new Error('the backfill is gone')));
process.once('message', (message) => void carryOut(message as LoadOrder));

async function carryOut({ config, table: name, load, rowsPerPiece }: LoadOrder): Promise<void> {
  // What nobody awaits, in a driver say, is told by whoever gave the order: that hides the secrets.
  process.on('uncaughtException', (error) => {
    const told: LoadReport = { kind: 'failed', error: sentError(diedEarly(load, describeError(error))) };
    if (process.send === undefined || !process.connected) process.exit(1);
    process.send(told, () => process.exit(1));
  });
  const table = config.tables.find((each) => each.name === name)!;
  const mapping = mappingOf(table);
  const kafka = openKafka(kafkaOptions(config));
  const registry = createSchemaRegistry(registryOptions(config));
  const pool = openPool({
    ...postgresOptions(config),
    applicationName: `deltaferry backfill-loader/${name}`,
    maxConnections: CONCURRENTLY + 1,
  });
  const loads = createLoads({ pool, ...loadsOptions(config, table) });
  const databricks = load.source === 'postgres' ? openDatabricks(databricksOptions(config)) : null;
  const into =
    databricks === null
      ? createLoadTableSink(pool, load, mapping)
      : createLoadIntoFiles({
          files: createLoadFiles(pool, load),
          staging: createLoadStaging(databricks, loadFolder(stagingVolume(config, name), load.id), mapping),
          partitions: table.partitions,
          ...(rowsPerPiece === undefined ? {} : { rowsHeld: rowsPerPiece * PIECES_HELD }),
        });
  const report = (what: LoadReport): void => void process.send?.(what);
  const applied = atMostEvery<number>(REPORT_MS, (rows) => report({ kind: 'applied', rows }));
  try {
    await loadRows(
      {
        load,
        mapping,
        table: into,
        records: createLoadRecords({ kafka, topic: load.topic }),
        schemas: { schemaById: (id) => registry.schemaById(id, subjectOf(table.topic)) },
        ends: async () => (await loads.newest())?.endOffsets ?? null,
        concurrently: CONCURRENTLY,
        onApplied: (rows) => applied.tell(rows),
        onRetry: (error) => report({ kind: 'retrying', error: sentError(error) }),
      },
      stop.signal,
    );
    applied.end();
    report({ kind: 'done' });
  } catch (error) {
    applied.end();
    if (!stop.signal.aborted) report({ kind: 'failed', error: sentError(error) });
    process.exitCode = 1;
  } finally {
    await pool.end().catch(() => {});
    await databricks?.close().catch(() => {});
    // Flushes what was reported, then lets the process end.
    if (process.connected) process.disconnect();
    setTimeout(() => process.exit(), 2000).unref();
  }
}
