import type { Databricks } from '../../src/connections/databricks/client.ts';
import { seededRandom } from './change-generator.ts';
import { until } from './until.ts';

export interface Employee {
  readonly name: string;
  readonly salary: string;
}

/** One change that the feed must publish: what one commit did to one key, where it made a difference. */
export interface ExpectedChange {
  readonly version: number;
  readonly key: string;
  readonly before: Employee | null;
  readonly after: Employee | null;
}

/** Makes commits on a Delta table that nobody else writes, and knows what each of them changed. */
export interface DeltaCommits {
  /** Inserts, updates, deletes and unchanged rewrites of a few dozen rows in one MERGE. */
  mixed(): Promise<void>;
  /** So many new rows in one commit. */
  large(rows: number): Promise<void>;
  /** The newest version. */
  readonly version: number;
  readonly changes: readonly ExpectedChange[];
  /** How many there were of each; of rows that were written again as they were nothing may be published. */
  readonly shares: Readonly<Record<'updates' | 'deletes' | 'reinserts' | 'unchanged', number>>;
}

const ROWS_PER_MERGE = 40;

/**
 * The table is new: version 0. Where a statement fails, because the warehouse was restarted say, the
 * version tells whether it was done all the same.
 */
export function createDeltaCommits(options: {
  readonly warehouse: Databricks;
  readonly table: string;
  readonly seed: number;
}): DeltaCommits {
  const { warehouse, table } = options;
  const random = seededRandom(options.seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const rows = new Map<number, Employee>();
  const changes: ExpectedChange[] = [];
  let version = 0;
  const left: number[] = [];
  const shares = { updates: 0, deletes: 0, reinserts: 0, unchanged: 0 };
  let nextId = 1;

  async function newestVersion(): Promise<number> {
    const [newest] = await warehouse.query({
      doing: 'looking for the newest version',
      sql: `DESCRIBE HISTORY ${table} LIMIT 1`,
    });
    return Number(newest?.['version']);
  }

  async function run(sql: string, params: Readonly<Record<string, string | number>>): Promise<void> {
    let tried = false;
    await until(
      'the commit to be made',
      async () => {
        if (tried && (await newestVersion()) > version) return true;
        tried = true;
        await warehouse.query({ doing: 'committing', sql, params });
        return true;
      },
      { timeoutMs: 120_000, everyMs: 200 },
    );
    version += 1;
  }

  function note(id: number, after: Employee | null): void {
    const before = rows.get(id) ?? null;
    if (after === null) {
      rows.delete(id);
      left.push(id);
    } else rows.set(id, after);
    if (before?.name === after?.name && before?.salary === after?.salary) {
      shares.unchanged += 1;
      return;
    }
    if (after === null) shares.deletes += 1;
    else if (before !== null) shares.updates += 1;
    changes.push({ version, key: String(id), before, after });
  }

  return {
    get version() {
      return version;
    },
    changes,
    shares,

    async mixed() {
      const ids = new Set(Array.from({ length: ROWS_PER_MERGE / 4 }, () => nextId++));
      const known = [...rows.keys()];
      for (let n = 0; n < ROWS_PER_MERGE && known.length > 0; n++) ids.add(known[below(known.length)]!);
      // Some of those who have left come back under their number.
      const back = left.splice(0, Math.min(left.length, ROWS_PER_MERGE / 8));
      for (const id of back) ids.add(id);
      const next = version + 1;
      const wanted = [...ids].map((id): [number, Employee | null] => {
        const old = rows.get(id);
        const dice = random();
        if (old !== undefined && dice < 0.2) return [id, null];
        if (old !== undefined && dice < 0.4) return [id, old];
        return [
          id,
          { name: `name ${id} in ${next}`, salary: `${next}.${String(id % 100).padStart(2, '0')}` },
        ];
      });
      const given = wanted.map(([id, row]) => ({
        gone: row === null,
        id,
        name: row?.name,
        salary: row?.salary,
      }));
      await run(
        `MERGE INTO ${table} t USING (
           SELECT r.gone, r.id, r.name, CAST(r.salary AS DECIMAL(12,2)) AS salary FROM
           (SELECT explode(from_json(:rows, 'array<struct<gone:boolean,id:bigint,name:string,salary:string>>')) AS r)) s
         ON t.emp_id = s.id
         WHEN MATCHED AND s.gone THEN DELETE
         WHEN MATCHED THEN UPDATE SET name = s.name, salary = s.salary
         WHEN NOT MATCHED THEN INSERT (emp_id, name, salary) VALUES (s.id, s.name, s.salary)`,
        { rows: JSON.stringify(given) },
      );
      for (const [id, row] of wanted) note(id, row);
      shares.reinserts += back.length;
    },

    async large(count) {
      const from = nextId;
      nextId += count;
      await run(
        `INSERT INTO ${table} SELECT id, concat('name ', id), CAST(id % 1000 AS DECIMAL(12,2)) FROM range(:from, :to)`,
        { from, to: nextId },
      );
      for (let id = from; id < nextId; id++) note(id, { name: `name ${id}`, salary: `${id % 1000}.00` });
    },
  };
}
