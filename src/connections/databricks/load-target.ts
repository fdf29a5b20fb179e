import { BugError } from '../../errors.ts';
import { quoteDatabricksQualified } from '../identifiers.ts';
import { textOf, type Databricks } from './client.ts';
import { commitMark } from './commit-mark.ts';
import { mayChangeRows, newestCommits, versionOf } from './load-touched.ts';

/** A Delta table that a load is to fill. */
export interface LoadTarget {
  pin(): Promise<{ readonly tableId: string; readonly version: number }>;
  holdsRows(version: number): Promise<boolean>;
  /** Whether others may have changed rows up to a version: as far as is known they have. */
  writtenByOthers(version: number): Promise<boolean>;
}

const FEW = 200;

export function createLoadTarget(client: Databricks, table: string): LoadTarget {
  const quoted = quoteDatabricksQualified(table);
  return {
    async pin() {
      const sql = `DESCRIBE DETAIL ${quoted}`;
      const [detail] = await client.query({ doing: 'describing the table', table, sql });
      const [newest] = await newestCommits(client, table, 1);
      const version = newest === undefined ? NaN : versionOf(newest);
      if (!Number.isSafeInteger(version))
        throw new BugError({ code: 'DELTA_HISTORY', message: `The history of ${table} names no version.` });
      return { tableId: textOf(detail?.['id']), version };
    },

    async holdsRows(version) {
      const sql = `SELECT 1 AS one FROM ${quoted} VERSION AS OF ${version} LIMIT 1`;
      return (await client.query({ doing: 'looking for rows', table, sql })).length > 0;
    },

    async writtenByOthers(version) {
      const commits = await newestCommits(client, table, FEW);
      if (!commits.some((commit) => versionOf(commit) === 0)) return true;
      return commits.some(
        (commit) => versionOf(commit) <= version && commitMark(commit) === null && mayChangeRows(commit),
      );
    },
  };
}
