import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { tally } from '../support/batches.ts';
import { capturedChanges } from '../support/captured-changes.ts';
import { seededRandom } from '../support/change-generator.ts';
import { deltaPerson } from '../support/delta-person.ts';
import { endsWell } from '../support/ends-well.ts';
import { caughtUp, partitionOffsets } from '../support/history-check.ts';
import {
  assertMergedOnce,
  landedMarks,
  mergeInHand,
  pendingMark,
  usualMergeMs,
  type BegunMerge,
  type FoundMark,
  type Places,
} from '../support/merge-progress.ts';
import { assertInDelta } from '../support/merge-table.ts';
import { openSite, type Publisher, type Site } from '../support/site.ts';
import { repeating, undoing } from '../support/undoing.ts';
import { until } from '../support/until.ts';
import { startWorker, type LogLine, type Worker } from '../support/worker.ts';

const KILLS = 20;
const MOST_BACKLOG = 600;
/** How long the statement of a killed worker may go on before somebody looks at the table, at least; and in times of a usual merge. */
const LANDING_MS = 1500;
const LANDING_MERGES = 3;

interface Kill {
  readonly inHand: BegunMerge | null;
  /** The merge was noted in the control schema. */
  readonly pending: FoundMark | null;
  /** Rows that a person wrote between this kill and the next worker's first look. */
  readonly edited: readonly number[];
}

describe('a merging consumer that is killed again and again', () => {
  const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 1_000_000);
  const hint = `seed ${seed} (set CRASH_SEED)`;
  const random = seededRandom(seed);
  const later = undoing();
  const lines: LogLine[] = [];
  let site: Site;
  let publisher: Publisher;

  before(async () => {
    site = later(
      await openSite({
        prefix: 'merge_crashes',
        direction: 'both',
        settings: {
          delivery: { sessionTimeoutMs: 1500, stoppedRetryMs: 1000 },
          merging: { maxChanges: 150, minAgeMs: 20, maxAgeMs: 200 },
        },
      }),
      (made) => made.drop(),
    );
    publisher = later(await site.openPublisher(), (made) => made.close());
  });

  function start(): Worker {
    const args = ['--config', site.configFile, '--only', 'delta-merge'];
    return later(startWorker(args, { onLine: (line) => lines.push(line) }), (made) => made.kill());
  }

  it('merges each change once and undoes nothing that a person did', { timeout: 900_000 }, async (t) => {
    const changes = capturedChanges(seed, 200);
    const person = deltaPerson(site);
    const publishing = repeating(later, async () => {
      if ((await backlog(site)) > MOST_BACKLOG) await delay(50);
      else await publisher.publish(changes.next());
    });

    const kills: Kill[] = [];
    /** A person has changed the newest rows after a merge that nobody has booked. */
    let isTouched = false;
    let running: Worker[] = [];
    while (kills.length < KILLS) {
      // One replica most of the time, two in between.
      const replicas = Math.floor(kills.length / 4) % 3 === 2 ? 2 : 1;
      while (running.length < replicas) running.push(start());
      const victim = await workingOne(running);
      await aimAt(victim, random);
      await victim.kill();
      running = running.filter((worker) => worker !== victim);
      const inHand = mergeInHand(victim.lines);
      const noted = await pendingMark(site);
      const pending = inHand !== null && noted?.next === marked(inHand) ? noted : null;
      let edited: number[] = [];
      if (replicas === 1 && (kills.length % 2 === 0 || !isTouched)) {
        const hasLanded = pending !== null && (await landing(site, pending, usualMergeMs(victim.lines)));
        edited = await person.work();
        isTouched ||= hasLanded && edited.length > 0;
      }
      kills.push({ inHand, pending, edited });
      t.diagnostic(`kill ${kills.length}, ${replicas} replicas: ${phaseOf(kills.at(-1)!)}`);
    }

    await publishing.stop();
    while (running.length < 2) running.push(start());
    await caughtUp(site, 240_000);
    for (const worker of running) await endsWell(worker);

    const { merges, places } = await assertMergedOnce(site, lines, hint);
    const landed = await landedMarks(site);
    const hasLanded = ({ pending }: Kill): boolean =>
      landed.some(({ epoch, next }) => epoch === pending?.epoch && next === pending.next);
    const unbooked = kills.filter(hasLanded);
    const atStake = unbooked.reduce((sum, kill) => sum + editedOf(kill, places), 0);
    const phases = kills.map(phaseOf);
    t.diagnostic(
      `${changes.total} changes in ${merges} merges, the last of epoch ${landed.at(-1)?.epoch}; ${kills.length} kills: ${tally(phases)}; ` +
        `${unbooked.length} of these merges landed, with nobody to book them; ${atStake} of their rows a person had changed ` +
        `by the time that they were settled; ${hint}`,
    );
    assert.ok(phases.filter((phase) => phase !== 'between merges').length >= KILLS / 2, tally(phases));
    assert.ok(unbooked.length > 0, 'no merge has landed without being booked');
    assert.ok(atStake > 0, 'no person has touched a row of a merge whose end nobody saw');

    const expected = new Map<number, string | null>(changes.expected);
    for (const [id, name] of person.left)
      if (name === null) expected.delete(id);
      else expected.set(id, name);
    await assertInDelta(site, expected, hint);
  });
});

/** One of the workers that has begun to merge. */
function workingOne(running: readonly Worker[]): Promise<Worker> {
  return until(
    'a worker merges',
    () => {
      const dead = running.find((worker) => !worker.alive());
      if (dead !== undefined)
        throw new Error(`a worker ended by itself: ${JSON.stringify(dead.lines.at(-1))}`);
      return running.findLast(({ lines }) => lines.some(({ msg }) => msg === 'merge begins'));
    },
    { timeoutMs: 120_000, everyMs: 2 },
  );
}

/** Waits for a random point: most often somewhere inside of a merge, else anywhere. */
async function aimAt(worker: Worker, random: () => number): Promise<void> {
  const usual = usualMergeMs(worker.lines);
  if (random() < 0.15) return delay(random() * usual);
  const began = worker.lines.length;
  const skip = random() < 0.3 ? 1 : 0;
  if (mergeInHand(worker.lines) === null || skip > 0)
    await until(
      'another merge',
      () => worker.lines.slice(began).filter(({ msg }) => msg === 'merge begins').length > skip,
      { timeoutMs: 10_000, everyMs: 1 },
    ).catch(() => undefined);
  await delay(random() * usual * 1.1);
}

/** Gives the statement that a killed worker has sent the time to end, as nobody fences it off yet. */
async function landing(site: Site, { epoch, next }: FoundMark, usualMs: number): Promise<boolean> {
  return await until(
    'the merge to land',
    async () => (await landedMarks(site)).some((mark) => mark.epoch === epoch && mark.next === next),
    { timeoutMs: Math.max(LANDING_MS, LANDING_MERGES * usualMs), everyMs: 100 },
  ).catch(() => false);
}

function phaseOf({ inHand, pending }: Kill): string {
  if (inHand === null) return 'between merges';
  return pending === null ? 'before the merge was noted, or after' : 'in a merge that was noted';
}

function marked({ next }: BegunMerge): string {
  return Object.entries(next)
    .map(([partition, offset]) => `${partition}:${offset}`)
    .join(',');
}

/** How many of the rows that a person changed after the kill came with the merge that was in hand. */
function editedOf({ inHand, edited }: Kill, places: Places): number {
  return edited.filter((id) => {
    const { partition, offset } = places.get(String(id))!;
    const [from, next] = [inHand?.from[partition], inHand?.next[partition]];
    return from !== undefined && next !== undefined && offset >= BigInt(from) && offset < BigInt(next);
  }).length;
}

async function backlog(site: Site): Promise<number> {
  return (await partitionOffsets(site)).reduce((sum, { stored, end }) => sum + end - Math.max(stored, 0), 0);
}
