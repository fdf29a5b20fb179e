import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { capturedChanges } from '../support/captured-changes.ts';
import { deltaPerson } from '../support/delta-person.ts';
import { endsWell } from '../support/ends-well.ts';
import { caughtUp } from '../support/history-check.ts';
import { historyWriters } from '../support/history-writers.ts';
import { isAcknowledged, progressOf } from '../support/log-progress.ts';
import { assertMergedOnce, landedMarks, mergeInHand, pendingMark } from '../support/merge-progress.ts';
import { assertInDelta, namesInDelta } from '../support/merge-table.ts';
import { startProxy } from '../support/proxy.ts';
import { openSite, type Site } from '../support/site.ts';
import { undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker, type LogLine, type Worker } from '../support/worker.ts';

const LIMIT = { timeout: 600_000 };
/** How long a statement that is late has to land. */
const LANDING_MS = 6000;
const TLS_APPLICATION_DATA = 0x17;
const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);
const hint = `seed ${seed} (set CRASH_SEED)`;
const freeze = ({ pid }: Worker): boolean => process.kill(pid, 'SIGSTOP');
const thaw = ({ pid }: Worker): boolean => process.kill(pid, 'SIGCONT');

describe('a merging consumer that is frozen in the midst of a merge', () => {
  const later = undoing();

  /** Where its statement is by the time that another has taken over. */
  const places = ['on its way to the warehouse', 'in the warehouse'] as const;
  for (const place of places)
    it(`changes nothing when it continues, its statement being ${place}`, LIMIT, async (t) => {
      const site = later(
        await openSite({
          prefix: 'zombie_merge',
          direction: 'both',
          settings: {
            delivery: { sessionTimeoutMs: 1500, stoppedRetryMs: 1000 },
            merging: { minAgeMs: 50, maxAgeMs: 500 },
          },
        }),
        (made) => made.drop(),
      );
      const warehouse = later(await startProxy(site.config.databricks), (made) => made.close());
      const lines: LogLine[] = [];
      const start = (...settings: string[]): Worker => {
        const args = ['--config', site.configFile, '--only', 'delta-merge', ...settings];
        return later(startWorker(args, { onLine: (line) => lines.push(line) }), (made) => made.kill());
      };
      const publisher = later(await site.openPublisher(), (made) => made.close());
      const changes = capturedChanges(seed, 100);
      const person = deltaPerson(site);
      const zombie = start('--set', `databricks.port=${warehouse.port}`);
      await publisher.publish(changes.next());
      await caughtUp(site, 180_000);

      const gate = place === places[0] ? warehouse.keepBack(isRequest) : null;
      await publisher.publish(changes.next());
      await until(
        'a merge to be noted',
        async () => mergeInHand(zombie.lines) !== null && (await pendingMark(site)),
        { everyMs: 5 },
      );
      if (gate === null) await delay(150);
      else await until('its statement to be kept back', () => gate.kept() > 0, { everyMs: 2 });
      freeze(zombie);
      const frozenAt = Date.now();
      const inHand = mergeInHand(zombie.lines);
      const successor = start();
      await caughtUp(site, 180_000);
      const tookOver = Date.now() - frozenAt;
      // What a repetition would undo.
      const edited = await person.work();
      const before = await everything(site);
      const linesBefore = zombie.lines.length;
      gate?.release();
      // Its statement is all there and nobody cancels it: the time to do what it must not.
      const changed = async (): Promise<boolean> => (await everything(site)) !== before;
      if (gate !== null)
        await until('it to land', changed, { timeoutMs: LANDING_MS, everyMs: 250 }).catch(() => undefined);
      thaw(zombie);
      await until('the zombie to be told where its partitions stand', () =>
        zombie.lines.slice(linesBefore).some(({ msg }) => msg === 'offsets claimed'),
      );
      await until('the zombie to be a member again', () =>
        zombie.lines.slice(linesBefore).some(({ msg }) => msg === 'Consumer has joined the group'),
      );
      assert.equal(await everything(site), before, 'the zombie has changed something');
      assert.ok(inHand !== null && edited.length > 0);
      assert.ok(
        !zombie.lines
          .slice(linesBefore)
          .some(
            (line) =>
              line.msg === 'merge ends' && JSON.stringify(line['next']) === JSON.stringify(inHand.next),
          ),
        'the merge of the zombie came through',
      );

      // It is as good as new all the same.
      await successor.kill();
      await publisher.publish(changes.next());
      await caughtUp(site, 180_000);
      await endsWell(zombie);
      const marks = await landedMarks(site);
      t.diagnostic(
        `taken over ${tookOver} ms after the freeze; epochs of the merges: ${marks.map(({ epoch }) => epoch).join()}; ${hint}`,
      );
      const expected = new Map<number, string | null>(changes.expected);
      for (const [id, name] of person.left)
        if (name === null) expected.delete(id);
        else expected.set(id, name);
      await assertInDelta(site, expected, hint);
      await assertMergedOnce(site, lines, hint);
    });
});

describe('a log poller that is frozen in the midst of a window', () => {
  const later = undoing();

  it('loses its table to the standby, and publishes nothing when it continues', LIMIT, async (t) => {
    const settings = { batching: { maxChangesPerTransaction: 50 }, polling: { maxMs: 50 } };
    const site = later(await openSite({ prefix: 'zombie_log', direction: 'both', settings }), (made) =>
      made.drop(),
    );
    const start = (): Worker =>
      later(startWorker(['--config', site.configFile, '--only', 'postgres-log']), (made) => made.kill());
    const writers = await historyWriters(site, seed);
    const zombie = start();
    await until('the poller to poll', () => stateOf(zombie) === 'polling');
    const standby = start();
    await until('a standby', () => stateOf(standby) === 'standby');

    await writers.large(3000);
    await until(
      'the midst of the window',
      () =>
        zombie.lines.filter((line) => line.msg === 'publish begins' && progressOf(line)?.target !== null)
          .length > 10,
      { everyMs: 1 },
    );
    freeze(zombie);
    const frozenAt = Date.now();
    const first = await writers.last();
    await until('the standby to take over', () => stateOf(standby) === 'polling', { timeoutMs: 60_000 });
    const tookOver = Date.now() - frozenAt;
    await until('everything to be published', () => isAcknowledged([standby], first));
    const linesBefore = zombie.lines.length;
    thaw(zombie);
    await until('the zombie to stand by', () => stateOf(zombie) === 'standby');
    const second = await writers.last();
    await until('the next change', () => isAcknowledged([standby], second));
    assert.deepEqual(
      zombie.lines.slice(linesBefore).filter(({ msg }) => msg === 'publish ends'),
      [],
      'a transaction of the zombie came through',
    );

    // It is as good as new all the same.
    await standby.kill();
    const third = await writers.last();
    await until('the former zombie to go on', () => isAcknowledged([zombie], third));
    await endsWell(zombie);
    t.diagnostic(`taken over ${tookOver} ms after the freeze; ${writers.committed.length} changes; ${hint}`);
    await writers.assertPublishedOnce(hint);
  });
});

/** Not a part of a handshake, by which a connection begins. */
function isRequest(piece: Buffer): boolean {
  return piece[0] === TLS_APPLICATION_DATA;
}

/** The newest state that a worker's poller has told. */
function stateOf({ lines }: Worker): unknown {
  return lines.findLast(({ part }) => String(part).startsWith('postgres-log/'))?.['state'];
}

/** Every commit and row of the Delta table, and where the sink stands. */
async function everything(site: Site): Promise<string> {
  const [newest] = await site.warehouse.query({
    doing: 'looking',
    sql: `DESCRIBE HISTORY ${site.deltaTable} LIMIT 1`,
  });
  const { rows } = await site.pool.query<{ offsets: string }>(
    `SELECT string_agg(concat(partition, ':', next_offset), ' ' ORDER BY partition) AS offsets FROM deltaferry.offsets`,
  );
  const names = [...(await namesInDelta(site))].sort(([one], [other]) => one - other);
  return JSON.stringify([String(newest?.['version']), rows, names]);
}
