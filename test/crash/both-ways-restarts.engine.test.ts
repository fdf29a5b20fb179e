import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { restartPart, startStack, stopStack, type Endpoints, type PartName } from '../../src/stack/stack.ts';
import { bothSides, type Employee, type Writer } from '../support/both-sides.ts';
import { seededRandom } from '../support/change-generator.ts';
import { endsWell } from '../support/ends-well.ts';
import { openSite, type Site } from '../support/site.ts';
import { syncState } from '../support/sync-state.ts';
import { settledEnds } from '../support/topic-ends.ts';
import { repeating, undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker } from '../support/worker.ts';
import { enginesForTests } from '../support/engines-jvm.ts';

/** Each of them twice, one way only: that is engine-restarts' matter. */
const RESTARTS: readonly { readonly part: PartName; readonly how: 'killed' | 'restarted' }[] = [
  { part: 'kafka', how: 'restarted' },
  { part: 'postgres', how: 'killed' },
  { part: 'warehouse', how: 'killed' },
];
/** Each side writes keys of its own: who wins where both write one is another test's. */
const FIRST = { delta: 1, postgres: 10_001 } as const;
const PROBE = { delta: 5_000, postgres: 15_000 } as const;
/** So many that there is one in each partition. */
const PROBES = 40;
const LEAST_PAUSE_MS = 3000;
/** A write that waited for an engine says nothing of what it takes. */
const LONGEST_PAUSE_MS = 10_000;
/** A writer pauses for so many times what its write took: merges have to come between those in Delta. */
const PAUSES = 3;
const KEYS = 120;
const ROWS = 25;

describe('engines that are restarted under both directions at once', () => {
  const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);
  const hint = `seed ${seed} (set CRASH_SEED)`;
  const random = seededRandom(seed);
  const later = undoing();
  const dir = later(mkdtempSync(join(tmpdir(), 'deltaferry-both-')), (made) =>
    rm(made, { recursive: true, force: true }),
  );
  // Everybody may enter it: as root, Postgres runs as nobody.
  chmodSync(dir, 0o755);
  let endpoints: Endpoints;
  let site: Site;

  before(async () => {
    enginesForTests();
    later(dir, () => stopStack({ dir, wipe: true }));
    endpoints = await startStack({ dir, ownerPid: process.pid, wipeWithOwner: true });
    site = later(
      await openSite({
        prefix: 'both_restarts',
        endpoints,
        direction: 'both',
        settings: {
          delivery: { sessionTimeoutMs: 1500, stoppedRetryMs: 1000 },
          batching: { maxChangesPerTransaction: 100 },
          // Merges one after the other would leave nothing of the machine to whoever writes.
          merging: { minAgeMs: 3000, maxAgeMs: 5000 },
          // So would asking Delta all the time.
          polling: { minMs: 500, maxMs: 1500 },
        },
      }),
      (made) => made.drop(),
    );
  });

  it('both sides end equal, and each change has crossed once', { timeout: 900_000 }, async (t) => {
    const sides = bothSides(site);
    const workers = [1, 2].map(() =>
      later(startWorker(['--config', site.configFile]), (made) => made.kill()),
    );
    const writers = [
      repeating(later, (n) => paced(() => write(sides.inDelta, FIRST.delta, n, random))),
      repeating(later, (n) => paced(() => write(sides.inPostgres, FIRST.postgres, n, random))),
    ];

    /** Who waits in vain says where everything stands. */
    async function explained(error: unknown): Promise<never> {
      const state = await syncState(site, workers).catch(String);
      throw new Error(`${error instanceof Error ? error.message : String(error)}\n${state}`, {
        cause: error,
      });
    }

    /** Until a change that was made on each side afterwards is on the other one. */
    async function bothCross(what: string, n: number): Promise<string> {
      const began = Date.now();
      const name = `probe ${n}`;
      await Promise.all([
        sides.inDelta.upsert(...probes(PROBE.delta, name)),
        sides.inPostgres.upsert(...probes(PROBE.postgres, name)),
      ]);
      const written = Date.now();
      await until(
        `changes to cross again after ${what}`,
        async () =>
          (await crossedToPostgres(site, name)) === PROBES && (await crossedToDelta(site, name)) === PROBES,
        { timeoutMs: 240_000, everyMs: 2000 },
      ).catch(explained);
      const took = `${what}: written after ${seconds(written - began)}, crossed after ${seconds(Date.now() - began)}`;
      t.diagnostic(took);
      return took;
    }

    await bothCross('the start', 0);
    for (const [n, { part, how }] of RESTARTS.entries()) {
      const now = await restartPart(dir, part, how === 'killed' ? { signal: 'SIGKILL' } : {});
      assert.deepEqual(now, endpoints, 'the engine is back where it was');
      await bothCross(`${part} ${how}`, n + 1);
    }

    for (const writer of writers) await writer.stop();
    await sides.equal(240_000).catch(explained);
    for (const worker of workers) await endsWell(worker);
    t.diagnostic(`changes made: ${JSON.stringify(sides.made)}; ${sides.expected.size} rows left; ${hint}`);
    assert.ok(sides.made.delta > 50 && sides.made.postgres > 250, JSON.stringify(sides.made));
    await sides.assertCrossedOnce();
    assert.deepEqual(
      await settledEnds(site.kafka, `${site.topic}.dead-letters`),
      [0],
      `dead letters, ${hint}`,
    );
    await sides.equal();
  });
});

/** Updates and inserts some rows, or removes some. */
async function write(writer: Writer, first: number, n: number, random: () => number): Promise<void> {
  const from = first + Math.floor(random() * KEYS);
  const ids = Array.from({ length: 1 + Math.floor(random() * ROWS) }, (_, at) => from + at);
  if (n % 4 === 3) return writer.remove(...ids);
  return writer.upsert(...ids.map((id): Employee => ({ id, name: `round ${n}`, salary: `${n}.00` })));
}

async function paced(work: () => Promise<void>): Promise<void> {
  const began = performance.now();
  await work();
  const pause = PAUSES * (performance.now() - began);
  await delay(Math.min(LONGEST_PAUSE_MS, Math.max(LEAST_PAUSE_MS, pause)));
}

function probes(first: number, name: string): Employee[] {
  return Array.from({ length: PROBES }, (_, n) => ({ id: first + n, name, salary: '1.00' }));
}

async function crossedToPostgres({ pool }: Site, name: string): Promise<number> {
  const { rows } = await pool.query<{ count: number }>(
    'SELECT count(*)::int FROM public.employees WHERE emp_id >= $1 AND emp_id < $2 AND name = $3 AND off_date IS NULL',
    [PROBE.delta, PROBE.delta + PROBES, name],
  );
  return rows[0]!.count;
}

async function crossedToDelta({ warehouse, deltaTable }: Site, name: string): Promise<number> {
  const [row] = await warehouse.query({
    doing: 'looking',
    sql: `SELECT count(*) AS count FROM ${deltaTable} WHERE emp_id >= :first AND emp_id < :end AND name = :name`,
    params: { first: PROBE.postgres, end: PROBE.postgres + PROBES, name },
  });
  return Number(row?.['count']);
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
