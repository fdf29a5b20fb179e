import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { assertHistory, caughtUp } from '../support/history-check.ts';
import { createDeltaCommits, type DeltaCommits } from '../support/delta-commits.ts';
import { employeeChange, openRecords } from '../support/records.ts';
import { healthOf, urlOf } from '../support/service.ts';
import { openSite, type Site } from '../support/site.ts';
import { assertPublished } from '../support/topic-check.ts';
import { until } from '../support/until.ts';
import { startWorker, type LogLine, type Worker } from '../support/worker.ts';

const PARTITIONS = 4;
// Nobody is given up for dead within this suite: what another worker takes over was given back.
const PATIENT = {
  delivery: { sessionTimeoutMs: 30_000, lockTimeoutMs: 60_000 },
  batching: { maxChangesPerTransaction: 500, maxBatchChanges: 200 },
};

let site: Site;
let commits: DeltaCommits;
const workers: Worker[] = [];

function start(args: readonly string[] = [], onLine?: (line: LogLine) => void): Worker {
  const worker = startWorker(['--config', site.configFile, ...args], onLine === undefined ? {} : { onLine });
  workers.push(worker);
  return worker;
}

const healthy = async (worker: Worker) => healthOf(await urlOf(worker.lines));

async function ready(worker: Worker): Promise<void> {
  const { readyz } = await healthy(worker);
  await until('the worker to be ready', async () => (await readyz()).status === 200);
}

async function partitionsOf(worker: Worker): Promise<string[]> {
  const { parts } = await (await healthy(worker)).readyz();
  return Object.keys(parts).filter((part) => /^postgres-history\/\w+\/\d+$/.test(part));
}

/** Waits until the worker has published the newest commit. */
async function published(worker: Worker): Promise<void> {
  const { metric } = await healthy(worker);
  await until(
    'the newest commit to be published',
    async () => (await metric('deltaferry_source_position')) === commits.version,
  );
}

/** Work that a worker began and did not end. */
function halfDone({ lines }: Worker): LogLine[] {
  return lines.filter(
    (line, at) =>
      line.msg.endsWith(' begins') &&
      !lines
        .slice(at)
        .some(
          (other) =>
            other.msg === line.msg.replace(/begins$/, 'ends') &&
            other['partition'] === line['partition'] &&
            other['from'] === line['from'] &&
            JSON.stringify(other['position']) === JSON.stringify(line['position']),
        ),
  );
}

before(async () => {
  site = await openSite({ prefix: 'run', partitions: PARTITIONS, settings: PATIENT });
  commits = createDeltaCommits({ warehouse: site.warehouse, table: site.deltaTable, seed: 1 });
});

after(async () => {
  await Promise.all(workers.map((worker) => worker.kill()));
  await site?.drop();
});

describe('deltaferry run', () => {
  let second: Worker;

  it('shares the partitions among replicas, one of which feeds; metrics and readiness say so', async () => {
    const first = start();
    await ready(first);
    await until(
      'all partitions to be the first’s',
      async () => (await partitionsOf(first)).length === PARTITIONS,
    );
    second = start();
    await ready(second);
    await until('the partitions to be shared', async () => {
      const [one, two] = await Promise.all([partitionsOf(first), partitionsOf(second)]);
      return one.length === 2 && two.length === 2 && new Set([...one, ...two]).size === PARTITIONS;
    });
    await commits.large(1000);
    await until('all of it to be visible', async () => {
      const { rows } = await site.pool.query<{ n: string }>('SELECT count(*) AS n FROM public.employees');
      return rows[0]?.n === '1000';
    });
    const [one, two] = [await healthy(first), await healthy(second)];
    const sum = async (metric: string) =>
      ((await one.metric(metric)) ?? 0) + ((await two.metric(metric)) ?? 0);
    await until(
      'the metrics to follow',
      async () => (await sum('deltaferry_changes_applied_total')) === 1000,
    );
    for (const { metric } of [one, two]) {
      assert.ok(
        (await metric('deltaferry_changes_applied_total', { table: site.name, sink: 'postgres-history' }))! >
          0,
      );
      assert.ok((await metric('deltaferry_event_to_visible_seconds_count'))! > 0);
      assert.ok((await metric('deltaferry_apply_seconds_count'))! > 0);
      assert.equal(await metric('deltaferry_partition_lag_records'), 0);
    }
    assert.equal(await sum('deltaferry_changes_published_total'), 1000);
    assert.equal(await one.metric('deltaferry_source_position', { producer: 'delta-feed' }), 1);
    assert.equal(await one.metric('deltaferry_source_latest', { producer: 'delta-feed' }), 1);
    assert.equal(
      await one.metric('deltaferry_part_state', { part: `delta-feed/${site.name}`, state: 'polling' }),
      1,
    );
    assert.equal(
      await two.metric('deltaferry_part_state', { part: `delta-feed/${site.name}`, state: 'standby' }),
      1,
    );
    const { parts, ready: isReady, draining } = await one.readyz();
    assert.deepEqual({ isReady, draining }, { isReady: true, draining: false });
    assert.deepEqual(parts[`delta-feed/${site.name}`], { state: 'polling', ready: true });
    assert.deepEqual(parts[`postgres-history/${site.name}`], { state: 'reading', ready: true });
  });

  it('SIGTERM in the middle of work: what is in hand is finished, exit 0, a standby has all of it at once', async () => {
    const [first] = workers;
    let asked = false;
    const began = { publish: false, apply: false };
    // Sent in the very moment in which the worker both publishes and applies.
    const watch = setInterval(() => {
      const phases = first!.lines.map(({ msg }) => msg).filter((msg) => / (begins|ends)$/.test(msg));
      const open = (what: string) =>
        phases.filter((msg) => msg === `${what} begins`).length >
        phases.filter((msg) => msg === `${what} ends`).length;
      began.publish = open('publish');
      began.apply = open('apply');
      if (asked || !began.publish || !began.apply) return;
      asked = true;
      process.kill(first!.pid, 'SIGTERM');
    }, 1);
    const made = commits.large(20_000);
    await until('the signal to be sent', () => asked, { timeoutMs: 60_000, everyMs: 5 });
    clearInterval(watch);
    assert.equal(await first!.stop(), 0);
    const gone = performance.now();
    assert.deepEqual(halfDone(first!), []);
    await until('the second to feed and to have all partitions', async () => {
      const { parts } = await (await healthy(second)).readyz();
      const own = await partitionsOf(second);
      return parts[`delta-feed/${site.name}`]?.state === 'polling' && own.length === PARTITIONS;
    });
    const took = performance.now() - gone;
    assert.ok(took < 10_000, `taking over took ${Math.round(took)} ms`);
    await made;
    await published(second);
    await caughtUp(site, 60_000);
    const changes = await assertPublished(site, commits, 'after the hand-over');
    await assertHistory(site, changes, 'after the hand-over');
    const applied = [first!, second].flatMap(({ lines }) => lines).filter(({ msg }) => msg === 'apply ends');
    assert.equal(
      applied.reduce((sum, line) => sum + Number(line['changes']), 0),
      21_000,
      'each change was applied once',
    );
  });

  it('--only delta-feed publishes and applies nothing; --only postgres-history applies what is there', async () => {
    assert.equal(await second.stop(), 0);
    const feed = start(['--only', 'delta-feed']);
    await commits.large(100);
    await published(feed);
    const { readyz } = await healthy(feed);
    assert.deepEqual(Object.keys((await readyz()).parts), [`delta-feed/${site.name}`]);
    assert.equal(await feed.stop(), 0);
    const sink = start(['--only', 'postgres-history']);
    await caughtUp(site, 30_000);
    assert.ok(
      Object.keys((await (await healthy(sink)).readyz()).parts).every((part) =>
        part.startsWith('postgres-history/'),
      ),
    );
    assert.equal(await sink.stop(), 0);
    await assertHistory(site, await assertPublished(site, commits, 'one role each'), 'one role each');
  });

  /** A worker whose applying transaction waits for a person's lock, for a minute if need be. */
  async function stuckWorker(
    args: readonly string[] = [],
  ): Promise<{ worker: Worker; free: () => Promise<void> }> {
    const records = await openRecords(site);
    const person = await site.pool.connect();
    await person.query('BEGIN');
    await person.query('LOCK TABLE public.employees IN EXCLUSIVE MODE');
    // It will leave without a word.
    const worker = start(['--only', 'postgres-history', '--set', 'delivery.sessionTimeoutMs=1500', ...args]);
    await records.produce([records.of(employeeChange(5_000_000 + workers.length))]);
    await records.close();
    await until('the worker to be in its transaction', () => worker.phase() === 'apply begins');
    return {
      worker,
      free: async () => {
        await person.query('ROLLBACK');
        person.release();
      },
    };
  }

  it('a second signal ends it at once, with nothing half done', async () => {
    const { worker, free } = await stuckWorker();
    const before = await countOf();
    try {
      process.kill(worker.pid, 'SIGTERM');
      await until('the worker to drain', () => worker.lines.some(({ msg }) => msg === 'draining'));
      const { readyz } = await healthy(worker);
      const { status, draining } = await readyz();
      assert.deepEqual({ status, draining }, { status: 503, draining: true });
      // The same key press may reach a process twice: only a later signal counts.
      await until(
        'the second signal to count',
        () => {
          if (worker.alive()) process.kill(worker.pid, 'SIGTERM');
          return !worker.alive();
        },
        { timeoutMs: 5000, everyMs: 100 },
      );
      assert.equal(await worker.stop(), 143);
    } finally {
      await free();
    }
    assert.equal(await countOf(), before);
  });

  it('work that does not end within the deadline: exit 1 that says so, nothing lost', async () => {
    const { worker, free } = await stuckWorker(['--set', 'delivery.drainTimeoutMs=300']);
    try {
      process.kill(worker.pid, 'SIGTERM');
      await until('the worker to be gone', () => !worker.alive(), { timeoutMs: 10_000 });
      assert.equal(await worker.stop(), 1);
      assert.ok(
        worker.lines.some(({ msg, code }) => code === 'DRAIN_TIMEOUT' || msg.includes('DRAIN_TIMEOUT')),
      );
    } finally {
      await free();
    }
    const before = await countOf();
    const last = start(['--only', 'postgres-history']);
    await until('both changes to be applied', async () => (await countOf()) === before + 2);
    assert.equal(await last.stop(), 0);
  });

  async function countOf(): Promise<number> {
    const { rows } = await site.pool.query<{ n: string }>('SELECT count(*) AS n FROM public.employees');
    return Number(rows[0]!.n);
  }
});
