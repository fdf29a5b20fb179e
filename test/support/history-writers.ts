import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { changeSchema, createChangeDecoder } from '../../src/change/avro.ts';
import type { Change } from '../../src/change/change.ts';
import { seededRandom } from './change-generator.ts';
import type { Site } from './site.ts';
import { committedRecords } from './topic-check.ts';
import { settledEnds } from './topic-ends.ts';
import { repeating, type Later } from './undoing.ts';

/** What one committed transaction did to one key. */
interface Committed {
  readonly key: number;
  /** Its transactions of a key are in this order: taken under the lock of the key. */
  readonly step: number;
  readonly xid: string;
  readonly before: string | null;
  readonly after: string | null;
}

/** People who write the history table of a site, all of them the same keys, and know nothing of the service. */
export interface HistoryWriters {
  /** What was committed so far. */
  readonly committed: readonly Committed[];
  readonly shares: Readonly<Record<'rolledBack' | 'savepoints' | 'givenUp' | 'long' | 'deletes', number>>;
  /** They write until `stop`, which resolves once the last has ended. */
  start(later: Later, count: number): { readonly stop: () => Promise<void> };
  /** One transaction that changes so many keys of its own. */
  large(keys: number): Promise<void>;
  /** A change of its own key, after which nobody writes any more; its transaction's id. */
  last(): Promise<bigint>;
  /** Fails unless each committed change is exactly one record on the topic, and those of a key are in their order. */
  assertPublishedOnce(hint: string): Promise<void>;
}

const SHARED_KEYS = 300;
const FIRST_LARGE_KEY = 10_000;
const LAST_KEY = 99_999;
/** Another writer's lock, a deadlock: the transaction is given up, as people's are. */
const GIVEN_UP = new Set(['55P03', '40P01']);

export async function historyWriters(site: Site, seed: number): Promise<HistoryWriters> {
  const { pool } = site;
  const committed: Committed[] = [];
  const shares = { rolledBack: 0, savepoints: 0, givenUp: 0, long: 0, deletes: 0 };
  await pool.query('CREATE TABLE public.steps (emp_id bigint PRIMARY KEY, step bigint NOT NULL, name text)');
  await pool.query(`INSERT INTO public.steps SELECT n, 0 FROM generate_series(1, ${SHARED_KEYS}) n`);

  /** Does it in one transaction; notes what it did once that is committed. */
  async function transaction(work: (made: Made) => Promise<'commit' | 'roll back'>): Promise<bigint> {
    const client = await pool.connect();
    try {
      await client.query(`BEGIN; SET LOCAL lock_timeout = '300ms'`);
      const { rows } = await client.query<{ xid: string }>('SELECT pg_current_xact_id()::text AS xid');
      const xid = rows[0]!.xid;
      const net = new Map<number, Omit<Committed, 'xid'>>();
      const made: Made = {
        client,
        note({ key, step, before, after }) {
          net.set(key, { key, step, before: net.has(key) ? net.get(key)!.before : before, after });
        },
      };
      if ((await work(made)) === 'commit') {
        await client.query('COMMIT');
        for (const each of net.values()) if (each.before !== each.after) committed.push({ ...each, xid });
      } else {
        await client.query('ROLLBACK');
        shares.rolledBack += 1;
      }
      client.release();
      return BigInt(xid);
    } catch (error) {
      client.release(true);
      if (!GIVEN_UP.has(String((error as { code?: unknown }).code))) throw error;
      shares.givenUp += 1;
      return 0n;
    }
  }

  async function small(random: () => number): Promise<void> {
    const long = random() < 0.04;
    if (long) shares.long += 1;
    await transaction(async (made) => {
      const steps = 1 + Math.floor(random() * 3);
      for (let step = 0; step < steps; step++) {
        if (long) await delay(300 + random() * 700);
        const savepoint = random() < 0.25;
        if (savepoint) await made.client.query('SAVEPOINT here');
        const first = 1 + Math.floor(random() * SHARED_KEYS);
        const keys = Array.from({ length: 1 + Math.floor(random() * 8) }, (_, n) => first + n);
        const gone = random() < 0.25;
        const changes = await change(made.client, keys, gone);
        if (savepoint && random() < 0.5) {
          shares.savepoints += 1;
          await made.client.query('ROLLBACK TO here');
          continue;
        }
        if (gone) shares.deletes += changes.length;
        for (const each of changes) made.note(each);
      }
      return random() < 0.15 ? 'roll back' : 'commit';
    });
  }

  async function some(keys: readonly number[]): Promise<bigint> {
    await pool.query(
      'INSERT INTO public.steps SELECT unnest($1::bigint[]), 0 ON CONFLICT (emp_id) DO NOTHING',
      [keys],
    );
    return transaction(async (made) => {
      for (const each of await change(made.client, keys, false)) made.note(each);
      return 'commit';
    });
  }

  return {
    committed,
    shares,
    start(later, count) {
      const all = Array.from({ length: count }, (_, n) => {
        const random = seededRandom(seed + n);
        return repeating(later, async () => {
          await small(random);
          await delay(10 + random() * 30);
        });
      });
      return { stop: async () => void (await Promise.all(all.map((one) => one.stop()))) };
    },
    large: async (keys) => void (await some(Array.from({ length: keys }, (_, n) => FIRST_LARGE_KEY + n))),
    last: () => some([LAST_KEY]),
    assertPublishedOnce: (hint) => assertPublishedOnce(site, committed, hint),
  };
}

interface Made {
  readonly client: pg.PoolClient;
  /** Of a key several times: what the transaction found and what it left count. */
  note(change: Omit<Committed, 'xid'>): void;
}

/** Ends the current versions of these keys, and opens the next ones unless they are to be gone. */
async function change(
  client: pg.PoolClient,
  keys: readonly number[],
  gone: boolean,
): Promise<Omit<Committed, 'xid'>[]> {
  const locked = await client.query<{ key: number; step: number; name: string | null }>(
    `SELECT emp_id::int AS key, step::int, name FROM public.steps WHERE emp_id = ANY ($1::bigint[]) ORDER BY emp_id FOR UPDATE`,
    [keys],
  );
  await client.query(
    `UPDATE public.steps SET step = step + 1, name = CASE WHEN $2 THEN NULL ELSE emp_id || '.' || step + 1 END
     WHERE emp_id = ANY ($1::bigint[])`,
    [keys, gone],
  );
  await client.query(
    `UPDATE public.employees SET off_date = clock_timestamp(), is_active = false
     WHERE emp_id = ANY ($1::bigint[]) AND off_date IS NULL`,
    [keys],
  );
  await client.query(
    `INSERT INTO public.employees (emp_id, name, salary, is_active, on_date)
     SELECT emp_id, name, step, true, clock_timestamp() FROM public.steps
     WHERE emp_id = ANY ($1::bigint[]) AND name IS NOT NULL`,
    [keys],
  );
  return locked.rows.map(({ key, step, name }) => ({
    key,
    step: step + 1,
    before: name,
    after: gone ? null : `${key}.${step + 1}`,
  }));
}

async function assertPublishedOnce(site: Site, committed: readonly Committed[], hint: string): Promise<void> {
  const decoder = createChangeDecoder(site.mapping, changeSchema(site.mapping));
  const found = new Map<string, string[]>();
  for (const [partition, records] of await committedRecords(site.kafka, site.topic))
    for (const { key, value } of records) {
      const change = decoder.decode(value!, Buffer.from(key!).toString());
      // With its partition: a key that moved would show.
      const texts = found.get(`${partition}/${change.key}`) ?? [];
      found.set(`${partition}/${change.key}`, texts);
      texts.push(published(change));
    }
  const expected = Map.groupBy(
    committed.toSorted((one, other) => one.step - other.step),
    ({ key }) => String(key),
  );
  const off: string[] = [];
  for (const [place, texts] of found) {
    const want = (expected.get(place.split('/')[1]!) ?? []).map(made);
    expected.delete(place.split('/')[1]!);
    const at = Array.from({ length: Math.max(texts.length, want.length) }, (_, n) => n).find(
      (n) => texts[n] !== want[n],
    );
    if (at !== undefined)
      off.push(`key ${place}, record ${at}: ${texts[at] ?? 'nothing'}, expected ${want[at] ?? 'nothing'}`);
  }
  for (const [key, changes] of expected) off.push(`key ${key}: ${changes.length} changes, no record`);
  assert.equal(
    off.length,
    0,
    `${off.length} keys of ${committed.length} changes differ, ${hint}\n${off.slice(0, 12).join('\n')}`,
  );
  assert.deepEqual(await settledEnds(site.kafka, `${site.topic}.dead-letters`), [0], `dead letters, ${hint}`);
}

function published({ op, tx, before, after, origin }: Change): string {
  return `${origin} ${op} in ${tx}: ${before === null ? '-' : String(before[1])} → ${after === null ? '-' : String(after[1])}`;
}

function made({ xid, before, after }: Committed): string {
  const op = before === null ? 'insert' : after === null ? 'delete' : 'update';
  return `postgres ${op} in ${xid}: ${before ?? '-'} → ${after ?? '-'}`;
}
