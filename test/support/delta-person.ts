import { DeltaferryError } from '../../src/errors.ts';
import { FIRST_ONCE } from './captured-changes.ts';
import type { Site } from './site.ts';

/** Somebody who works in the Delta table while it is merged into. */
export interface DeltaPerson {
  /**
   * Edits and deletes the newest rows of those that no change will come for any more, brings back what was
   * deleted the last time, and writes rows of their own. Answers the keys of the first sort.
   */
  work(): Promise<number[]>;
  /** id → name; null: deleted. Whatever comes from elsewhere, these stay. */
  readonly left: ReadonlyMap<number, string | null>;
}

const OWN = 500_000;
const MOST = 12;

export function deltaPerson({ warehouse, deltaTable }: Site): DeltaPerson {
  const left = new Map<number, string | null>();
  let deleted: number[] = [];
  let turn = 0;

  async function write(rows: ReadonlyMap<number, string | null>): Promise<void> {
    const list = Array.from(rows, ([id, name]) => ({ id, name }));
    const sql = `MERGE INTO ${deltaTable} t
      USING (SELECT r.* FROM (SELECT explode(from_json(:rows, 'array<struct<id:bigint,name:string>>')) AS r)) s
      ON t.emp_id = s.id
      WHEN MATCHED AND s.name IS NULL THEN DELETE
      WHEN MATCHED THEN UPDATE SET name = s.name
      WHEN NOT MATCHED AND s.name IS NOT NULL THEN INSERT (emp_id, name) VALUES (s.id, s.name)`;
    for (;;)
      try {
        await warehouse.query({ doing: 'a person’s work', sql, params: { rows: JSON.stringify(list) } });
        break;
      } catch (error) {
        // A merge came in between: done again, as people do.
        if (!(error instanceof DeltaferryError && error.code === 'DELTA_CONFLICT')) throw error;
      }
    for (const [id, name] of rows) left.set(id, name);
  }

  return {
    left,
    async work() {
      turn += 1;
      const found = await warehouse.query({
        doing: 'looking',
        sql: `SELECT emp_id FROM ${deltaTable} WHERE name = concat('once ', emp_id) AND emp_id >= ${FIRST_ONCE}
              ORDER BY emp_id DESC LIMIT ${MOST}`,
      });
      const ids = found.map(({ emp_id }) => Number(emp_id));
      const rows = new Map<number, string | null>(deleted.map((id) => [id, `brought back ${turn}`]));
      deleted = ids.filter((_, n) => n % 2 === 0);
      for (const id of ids) rows.set(id, deleted.includes(id) ? null : `edited ${turn}`);
      rows.set(OWN + turn, `own ${turn}`);
      rows.set(OWN + turn - 1, turn % 2 === 0 ? `own, edited ${turn}` : null);
      await write(rows);
      return ids;
    },
  };
}
