import type { Change, Row } from '../../src/change/change.ts';

/** How many of the generated changes were of each awkward sort. */
export interface Shares {
  total: number;
  late: number;
  deletes: number;
  reinserts: number;
  ties: number;
  duplicates: number;
}

export interface ChangeGenerator {
  /** The next so many changes, in the order in which they are to be published. */
  next(count: number): Change[];
  /** Everything generated so far. */
  readonly all: readonly Change[];
  readonly shares: Readonly<Shares>;
}

/** Uniform in [0, 1), the same sequence for the same seed. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface KeyState {
  readonly changes: Change[];
  latest: number;
  alive: boolean;
}

/**
 * Changes of employees, a good part of them awkward: dated before what was published already, deletes
 * and inserts after them, several at one time, and exact repetitions.
 */
export function createChangeGenerator(options: {
  readonly seed: number;
  readonly table: string;
  readonly keys: number;
}): ChangeGenerator {
  const { table, keys } = options;
  const random = seededRandom(options.seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const states = new Map<number, KeyState>();
  const all: Change[] = [];
  const shares: Shares = { total: 0, late: 0, deletes: 0, reinserts: 0, ties: 0, duplicates: 0 };
  // Whole seconds, so that a failure is easy to read.
  let clock = Math.floor(Date.now() / 1000 - 86_400) * 1_000_000;

  function make(id: number, op: 'upsert' | 'delete', ts: number, known: boolean): Change {
    const number = all.length;
    const row: Row = [id, `name ${number}`, `${number}.${String(number % 100).padStart(2, '0')}`];
    return {
      op: op === 'delete' ? 'delete' : known ? 'update' : 'insert',
      key: String(id),
      before: op === 'delete' || known ? [id, 'before', '0.00'] : null,
      after: op === 'delete' ? null : row,
      origin: 'delta',
      table,
      position: number,
      ts,
      tx: null,
      load: null,
    };
  }

  function one(): Change {
    const id = 1 + below(keys);
    const state = states.get(id) ?? { changes: [], latest: 0, alive: false };
    states.set(id, state);
    clock += 1 + below(1000);
    const dice = random();
    const old = state.changes[below(state.changes.length)];
    if (old !== undefined && dice < 0.06) {
      shares.duplicates += 1;
      return old;
    }
    let change: Change;
    if (old !== undefined && dice < 0.12) {
      shares.ties += 1;
      change = make(id, random() < 0.3 ? 'delete' : 'upsert', Number(old.ts), true);
    } else if (old !== undefined && dice < 0.3) {
      shares.late += 1;
      const first = Number(state.changes[0]?.ts);
      const ts = first - 2000 + below(Math.max(1, state.latest - first + 2000));
      change = make(id, random() < 0.35 ? 'delete' : 'upsert', ts, true);
    } else {
      // A delete of a row that is not there also happens: its insert may still come late.
      const gone = dice > (state.alive ? 0.8 : 0.97);
      if (!gone && !state.alive && state.changes.length > 0) shares.reinserts += 1;
      change = make(id, gone ? 'delete' : 'upsert', clock, state.alive);
      state.latest = clock;
      state.alive = !gone;
    }
    if (change.op === 'delete') shares.deletes += 1;
    state.changes.push(change);
    return change;
  }

  return {
    next(count) {
      const changes = Array.from({ length: count }, () => {
        const change = one();
        all.push(change);
        return change;
      });
      shares.total = all.length;
      return changes;
    },
    all,
    shares,
  };
}
