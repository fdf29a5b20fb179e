import { loadProgressMutants } from './load-progress.ts';
import { intoDeltaMutants } from './loads-into-delta.ts';
import type { Mutant } from './mutant.ts';

const PUBLISHER = 'test/producers/load-publisher.test.ts';
const BACKFILL = 'test/service/backfill.engine.test.ts';
const PIECES = 'test/connections/postgres/table-pieces.engine.test.ts';
const CLAIM = 'src/producers/load-claim.ts';
const CLAIMS = 'test/producers/load-claim.test.ts';
const OTHERS = 'test/producers/load-others.test.ts';
const FROM_TOPIC = 'test/producers/load-from-topic.test.ts';

const fromDeltaMutants: readonly Mutant[] = [
  {
    promise: 'B1',
    name: 'dates the rows of a load by its own clock',
    file: 'src/producers/load-publisher.ts',
    find: 'ts: pinned.ts,\n          tx: null,',
    put: 'ts: Date.now() * 1000,\n          tx: null,',
    caughtBy: [PUBLISHER, 'publishes each row once, with the load, the version and its time'],
  },
  {
    promise: 'B1',
    name: 'reads the newest rows, and not those of the version that it copies',
    file: 'src/connections/databricks/snapshot-sql.ts',
    find: 'FROM ${quoteDatabricksQualified(table)} VERSION AS OF ${version} AS c`',
    put: 'FROM ${quoteDatabricksQualified(table)} AS c`',
    caughtBy: [
      'test/connections/databricks/snapshot.engine.test.ts',
      'is the same by files and by results, exact in every value, whatever is committed afterwards',
    ],
  },
  {
    promise: 'B2',
    name: 'puts a first part of a load into its empty table before all the rest',
    file: 'src/connections/postgres/load-handover.ts',
    find: 'await client.query(`LOCK TABLE ${target} IN SHARE ROW EXCLUSIVE MODE`);',
    put: `await pool.query(\`INSERT INTO \${target} (\${columns}, \${own}) SELECT \${columns}, true, now() FROM \${rows} LIMIT 9\`);
      await client.query(\`LOCK TABLE \${target} IN SHARE ROW EXCLUSIVE MODE\`);`,
    caughtBy: [BACKFILL, 'keeps every change that is made meanwhile, of rows loaded already or not'],
    saying: /nobody sees a part of a load/,
  },
  {
    promise: 'B2',
    name: 'puts another table in the place of the empty one that it fills',
    file: 'src/connections/postgres/load-handover.ts',
    find: 'await goOnBehindCopy(client, load.id);',
    put: `await client.query(\`CREATE TABLE public.swapped (LIKE \${target} INCLUDING ALL)\`);
      await client.query(\`INSERT INTO public.swapped SELECT * FROM \${target}\`);
      await client.query(\`DROP TABLE \${target}; ALTER TABLE public.swapped RENAME TO employees\`);`,
    caughtBy: [BACKFILL, 'keeps every change that is made meanwhile, of rows loaded already or not'],
    saying: /the table stays the one it was/,
  },
  {
    promise: 'B3',
    name: 'applies once more to a captured table what a load has brought there',
    file: 'src/connections/postgres/history-sink.ts',
    find: 'change.tx !== null || change.position > last',
    put: 'true || change.position > last',
    caughtBy: [
      'test/service/backfill-published-both.engine.test.ts',
      'what people change in rows that a load has brought stays, though the change that made them comes only then',
    ],
  },
  {
    promise: 'B3',
    name: 'takes waiting for a load for a failure',
    file: 'src/consumers/postgres-history.ts',
    find: "report(partition, { kind: 'waiting for a load' });",
    put: "report(partition, { kind: 'retrying', error });",
    caughtBy: [
      'test/consumers/history-held.test.ts',
      'a partition waits while a load fills the table, says so once and not as a failure, then goes on',
    ],
  },
  {
    promise: 'B3',
    name: 'publishes the version once more that a load has brought',
    file: 'src/producers/delta-feed-start.ts',
    find: '...startOf(id), version }',
    put: '...startOf(id), version: version - 1 }',
    caughtBy: ['test/producers/delta-feed-start.test.ts', 'nowhere until the load has chosen its version'],
  },
  {
    promise: 'B3',
    name: 'leaves the live consumers running while it fills an empty table',
    file: 'src/connections/postgres/loads.ts',
    find: 'await client.query(HOLD, [waiting.group, waiting.topic, id]);',
    put: '',
    caughtBy: [BACKFILL, 'keeps every change that is made meanwhile, of rows loaded already or not'],
    saying: /consumers wait from its first transaction on/,
  },
  {
    promise: 'D7',
    name: 'lets consumers go on behind expired changes that no load brings any more',
    file: 'src/connections/postgres/loads.ts',
    find: 'await client.query(STAND_AGAIN, [id]);',
    put: '',
    caughtBy: [
      'test/connections/postgres/loads.engine.test.ts',
      'stops its consumers again where changes are missing that it was to bring',
    ],
  },
  {
    promise: 'B4',
    name: 'begins a load anew whose pieces are on the topic already',
    file: 'src/producers/load-publisher.ts',
    find: 'let done = publishedSoFar(await openedFor(options, load));',
    put: 'let done = publishedSoFar({ ...(await openedFor(options, load)), parts: 0, at: null });',
    caughtBy: [PUBLISHER, 'goes on behind what another process has published, and reads nothing of it'],
  },
  {
    promise: 'B4',
    name: 'publishes a piece again whose answer was lost',
    file: 'src/producers/load-publisher.ts',
    find: '({ changes, rejectedChanges, ...so }) =>\n        log.publish({',
    put: `({ changes, rejectedChanges, ...so }) =>
        (async (batch) => await log.publish(batch).catch(() => log.publish(batch)))({`,
    caughtBy: [PUBLISHER, 'every row is on the topic once, whatever fails or answers late'],
  },
  {
    promise: 'B4',
    name: 'forgets where in a piece it was',
    file: 'src/producers/load-publisher.ts',
    find: 'at: done.at };',
    put: 'at: null };',
    caughtBy: [
      PUBLISHER,
      'goes on in the midst of a piece that is more than may be held, and publishes part by part',
    ],
  },
  {
    promise: 'B5',
    name: 'fences a load of another target before it looks whether there is one',
    file: CLAIM,
    find: 'check(await topics.newestLoad());',
    put: '',
    caughtBy: [
      CLAIMS,
      'a second is refused, naming the first and its target, and the first is not disturbed',
    ],
    saying: /a newer producer is open/,
  },
  {
    promise: 'B5',
    name: 'does not look again once nobody else can begin',
    file: CLAIM,
    find: 'check(await log.open());',
    put: 'await log.open();',
    caughtBy: [CLAIMS, 'is refused also where the first began in the moment between looking and opening'],
  },
  {
    promise: 'B5',
    name: 'publishes a load once more from its beginning where the records of another have replaced its own',
    file: CLAIM,
    find: 'throw replaced(name, load, loadOnTopic(stored));',
    put: 'return { load, parts: 0, at: null, rows: 0, rejected: 0 };',
    caughtBy: [
      PUBLISHER,
      'publishes nothing once another target’s load has taken its place: it would replace the records of that',
    ],
  },
  {
    promise: 'B5',
    name: 'keeps others from loading a table for ever',
    file: CLAIM,
    find: 'position: positionWhenOver(stored)',
    put: 'position: stored',
    caughtBy: [CLAIMS, 'may begin once the first has all its records, or is given up'],
  },
  {
    promise: 'B5',
    name: 'goes on though another process has taken the load',
    file: 'src/producers/load-publisher.ts',
    find: "mayPass: (error) => reactionTo(error) === 'retry',",
    put: "mayPass: (error) => reactionTo(error) !== 'stop',",
    caughtBy: [PUBLISHER, 'is over once another process has taken the load'],
  },
  {
    promise: 'B5',
    name: 'cannot give a load up whose rows are all published',
    file: 'src/flow/load-state.ts',
    find: "handover: { published: null, 'handed-over': 'live', 'given-up': 'failed' },",
    put: "handover: { published: null, 'handed-over': 'live', 'given-up': null },",
    caughtBy: ['test/flow/load-state.test.ts', 'names the phases that an event may come from'],
  },
  {
    promise: 'B5',
    name: 'begins another load in place of one that is unfinished',
    file: 'src/producers/backfill.ts',
    find: "if (mode === 'new' && unfinished !== null) throw alreadyBegun(unfinished);",
    put: '',
    caughtBy: [BACKFILL, 'a second load of the table at once, naming the first; and one that was killed'],
  },
  {
    promise: 'B5',
    name: 'takes a load for not begun as the answer was lost',
    file: 'src/producers/backfill.ts',
    find: 'if (newest?.id === order.id) return newest;\n      throw error;',
    put: 'throw error;',
    caughtBy: [
      'test/producers/backfill-begin.test.ts',
      'goes on where only the answer was lost: consumers wait for it already',
    ],
  },
  {
    promise: 'B6',
    name: 'ends keys that live changes have brought since the version',
    file: 'src/connections/postgres/load-reconcile-sql.ts',
    find: 'AND h.${on} <= $1::timestamptz AND (',
    put: 'AND (',
    caughtBy: [
      'test/connections/postgres/load-reconcile.engine.test.ts',
      'any history and any load: the table says of that time what the load says, and of all others what it said',
    ],
  },
  {
    promise: 'B6',
    name: 'takes two texts for one because their collation does',
    file: 'src/connections/postgres/load-reconcile-sql.ts',
    find: 'exactly(column, `${alias}.${quoteIdent(column.name)}`)',
    put: '`${alias}.${quoteIdent(column.name)}`',
    caughtBy: [
      'test/connections/postgres/load-reconcile.engine.test.ts',
      'texts that a collation takes for equal are not what Delta holds',
    ],
  },
  {
    promise: 'B6',
    name: 'ends rows that Delta has, as the load had to set them aside',
    file: 'src/connections/postgres/load-reconcile.ts',
    find: 'load.rejectedRows > 0',
    put: 'false',
    caughtBy: [
      'test/connections/postgres/load-reconcile.engine.test.ts',
      'a row that ends may hold what Delta cannot, and none ends where rows of the load were set aside',
    ],
  },
  {
    promise: 'B6',
    name: 'leaves off_date to its default',
    file: 'src/connections/postgres/load-reconcile-sql.ts',
    find: "${quoteIdent(names.isActive)}, ${on}, ${off})\n      SELECT ${of('s', all)}, true, $1::timestamptz, NULL FROM",
    put: "${quoteIdent(names.isActive)}, ${on})\n      SELECT ${of('s', all)}, true, $1::timestamptz FROM",
    caughtBy: [
      'test/connections/postgres/load-reconcile.engine.test.ts',
      'a table whose off_date has a default gets current versions',
    ],
  },
  {
    promise: 'B6',
    name: 'compares a table with the load though consumers have not applied what was published before it',
    file: 'src/producers/backfill.ts',
    find: 'await caughtUp(deps, load.pinned, signal);',
    put: '',
    caughtBy: [BACKFILL, 'brings it to what Delta holds, keeps its history, and live changes go on'],
  },
  {
    promise: 'B6',
    name: 'begins anew after each failure, and tells what the last attempt did',
    file: 'src/connections/postgres/load-reconcile.ts',
    find: 'if (walk?.load !== load.id) walk =',
    put: 'walk =',
    caughtBy: [
      'test/connections/postgres/load-reconcile.engine.test.ts',
      'goes on where it was when a connection breaks, and counts each key once',
    ],
  },
  {
    promise: 'B8',
    name: 'holds every key that Delta does not have, and ends them in one transaction',
    file: 'src/connections/postgres/load-reconcile-sql.ts',
    find: ' LIMIT ${most}`',
    put: '`',
    caughtBy: [
      'test/connections/postgres/load-reconcile.engine.test.ts',
      'no transaction ends more keys than a range may have, nor takes more bytes of the load, or one row',
    ],
  },
  {
    promise: 'B7',
    name: 'tries for ever what the table refuses',
    file: 'src/connections/postgres/load-handover.ts',
    find: ': refusedRow(load, error);',
    put: ': error;',
    caughtBy: [
      'test/service/load-refusals.engine.test.ts',
      'names what does not take a row, and goes on once that is mended',
    ],
  },
  {
    promise: 'B7',
    name: 'says that versions of Delta are gone, and not which load copies one of them',
    file: 'src/connections/databricks/snapshot.ts',
    find: 'yield* reading;\n      } catch (error) {\n        tellOfLoad(error);',
    put: 'yield* reading;\n      } catch (error) {\n        throw error;',
    caughtBy: [
      BACKFILL,
      'says so where its version was vacuumed between two of its pieces, until it begins anew',
    ],
  },
  {
    promise: 'B7',
    name: 'drops rows that can never be one of the table, and says nothing',
    file: 'src/producers/load-publisher.ts',
    find: 'rejectedChanges.push(reject(each.code, each.message, each.payload));',
    put: '',
    caughtBy: [PUBLISHER, 'sets aside rows that can never be one of the table, and counts them'],
  },
  {
    promise: 'B7',
    name: 'fills a captured table though people have written to it meanwhile',
    file: 'src/connections/postgres/load-handover.ts',
    find: 'if (load.captured && (await hasEdits(client, load))) throw notEmpty(load);',
    put: '',
    caughtBy: [
      'test/service/backfill-captured.engine.test.ts',
      'fills an empty one, unless people have written to it meanwhile',
    ],
  },
  {
    promise: 'B8',
    name: 'holds a whole file, however large it is',
    file: 'src/connections/databricks/local-lines.ts',
    find: 'Math.min(bytes, size - at)',
    put: 'size - at',
    caughtBy: [
      'test/connections/databricks/local-lines.test.ts',
      'are held as few at a time as fit, or as twice the widest takes',
    ],
  },
  {
    promise: 'B8',
    name: 'holds a whole range of a table, however wide its rows are',
    file: 'src/connections/postgres/table-pieces.ts',
    find: '(options.bytesPerPart ?? BYTES_PER_PART) && lines > 0',
    put: 'Number.POSITIVE_INFINITY && lines > 0',
    caughtBy: [
      PIECES,
      'is read in parts of bounded text, each going on behind the last key of the one before',
    ],
  },
  {
    promise: 'B11',
    name: 'goes on in the midst of the rows of a key',
    file: 'src/connections/postgres/table-pieces.ts',
    find: 'const cells = end === 0 ? all : all.slice(0, end);',
    put: 'const cells = all;',
    caughtBy: [PIECES, 'keeps rows of one key together: the place behind them is that key'],
  },
  {
    promise: 'B8',
    name: 'publishes on though there is no room',
    file: 'src/producers/load-publisher.ts',
    find: 'await options.room(done, signal);',
    put: 'void options.room(done, signal);',
    caughtBy: [
      PUBLISHER,
      'reads one piece ahead of the one in its transaction, and none while there is no room',
    ],
  },
  {
    promise: 'B8',
    name: 'publishes on however few of the rows are loaded',
    file: 'src/producers/publish-and-load.ts',
    find: 'rows - progress().applied <= (deps.mostAhead ?? MOST_AHEAD)',
    put: 'rows >= 0',
    caughtBy: [
      'test/service/backfill-published.engine.test.ts',
      'publishes so many rows ahead of those loaded, and goes on as these are; then what came before it is applied, too',
    ],
  },
  {
    promise: 'B9',
    name: 'does not look once more at what people have changed before it commits',
    file: 'src/connections/postgres/load-reconcile.ts',
    find: 'if (edits !== null && done.added + changes.length > 0) {',
    put: 'if (false) {',
    caughtBy: [
      'test/connections/postgres/load-captured.engine.test.ts',
      'leaves a key alone that is changed in the moment between looking and writing',
    ],
  },
  {
    promise: 'B9',
    name: 'brings a row back that came and went while it looked',
    file: 'src/connections/postgres/load-reconcile-sql.ts',
    find: 'WHERE h.xmin = pg_current_xact_id()::xid AND ',
    put: 'WHERE false AND ',
    caughtBy: [
      'test/connections/postgres/load-captured.engine.test.ts',
      'leaves a key alone that is changed in the moment between looking and writing',
    ],
  },
  {
    promise: 'B9',
    name: 'leaves a key alone that was changed and changed back',
    file: 'src/connections/postgres/load-edits.ts',
    find: "HAVING count(*) = 1 OR ${images('before')} IS DISTINCT FROM ${images('after')}",
    put: '',
    caughtBy: [
      'test/connections/postgres/load-captured.engine.test.ts',
      'splits no version because a clock here is ahead of Delta’s, and corrects what was changed and changed back',
    ],
  },
  {
    promise: 'B10',
    name: 'does not count what waits in a log of which nothing is published yet',
    file: 'src/service/status-readings.ts',
    find: '(found.stored?.acknowledged ?? SEES_NOTHING)',
    put: '(found.stored?.acknowledged ?? null)',
    caughtBy: ['test/cli/status.engine.test.ts', 'says what is to do where nobody runs yet'],
  },
  {
    promise: 'B15',
    name: 'reads a load from an offset that compaction has taken away',
    file: 'src/producers/load-from-topic.ts',
    find: 'larger(start, lows[partition] ?? start)',
    put: 'start',
    caughtBy: [FROM_TOPIC, 'is found as it was noted, behind what compaction has taken away'],
  },
  {
    promise: 'B15',
    name: 'hands over a load of which another has replaced records',
    file: 'src/producers/load-from-topic.ts',
    find: 'if (recordsOf === copied) return;',
    put: 'if (recordsOf !== null) return;',
    caughtBy: [FROM_TOPIC, 'is not handed over once another load has replaced records of it'],
  },
  {
    promise: 'B15',
    name: 'chooses the version before it looks where live changes go on',
    file: 'src/producers/backfill.ts',
    find: `  const liveOffsets = await trying(deps, signal, () => liveOffsetsNow(deps, load, topics));
  const pinned = await trying(deps, signal, () => source.pin());`,
    put: `  const pinned = await trying(deps, signal, () => source.pin());
  const liveOffsets = await trying(deps, signal, () => liveOffsetsNow(deps, load, topics));`,
    caughtBy: [
      FROM_TOPIC,
      'says that live changes go on where their topic ended before the version was chosen',
    ],
  },
  {
    promise: 'B15',
    name: 'applies changes from before the load once more to the database that it fills from the topic',
    file: 'src/connections/postgres/load-handover.ts',
    find: 'await goOnBehindCopy(client, load.id);',
    put: '',
    caughtBy: [
      'test/service/backfill-from-topic.engine.test.ts',
      'has the rows of the newest load, no more and no fewer, once the broker has compacted, and live changes go on',
    ],
  },
  {
    promise: 'B16',
    name: 'begins from the topic though changes since the load have expired',
    file: 'src/producers/load-from-topic.ts',
    find: 'isPast(changesLow, liveOffsets) ?? isPast(liveOffsets, changesEnds)',
    put: 'isPast(liveOffsets, changesEnds)',
    caughtBy: [FROM_TOPIC, 'is refused where changes have expired'],
  },
  {
    promise: 'B16',
    name: 'takes a change at the time of the version for a later one',
    file: 'src/consumers/earlier-changes.ts',
    find: 'reading.change.ts <= ts',
    put: 'reading.change.ts < ts',
    caughtBy: [
      'test/consumers/earlier-changes.test.ts',
      'is one of another origin, behind the offset, at the time or before it',
    ],
  },
  {
    promise: 'B17',
    name: 'chooses a version that lacks an older change of another Postgres',
    file: 'src/producers/backfill.ts',
    find: 'await refuseCrossed(deps, chosen, signal);',
    put: '',
    caughtBy: [
      OTHERS,
      'is refused before it has a version that is younger than a change which is not merged yet',
    ],
  },
  {
    promise: 'B17',
    name: 'hands a load over without looking for what another Postgres has published since',
    file: 'src/producers/backfill.ts',
    find: 'await refuseCrossed(deps, load, signal);',
    put: '',
    caughtBy: [
      OTHERS,
      'is refused before it is handed over, where such a change was published in the meantime',
    ],
  },
  {
    promise: 'B17',
    name: 'takes all that another Postgres has published for merged',
    file: 'src/producers/load-catch-up.ts',
    find: 'await (captured ?? others)?.merged()',
    put: 'await captured?.merged()',
    caughtBy: [
      'test/producers/load-catch-up.test.ts',
      'is where Delta is also behind what others change in another Postgres, if anybody does',
    ],
  },
];

export const loadMutants: readonly Mutant[] = [
  ...fromDeltaMutants,
  ...intoDeltaMutants,
  ...loadProgressMutants,
];
