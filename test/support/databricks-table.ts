import type { Site, SiteOptions } from './site.ts';

/** What Databricks switches on for a table that is created in a SQL warehouse, or recommends for it. */
export const AS_DATABRICKS_CREATES_IT: NonNullable<SiteOptions['deltaTable']> = {
  clauses: 'CLUSTER BY (emp_id)',
  properties: [
    'delta.enableDeletionVectors = true',
    'delta.enableRowTracking = true',
    "delta.checkpointPolicy = 'v2'",
  ],
};

/** How many deletion vectors the commits of an operation (`MERGE`, `DELETE`) have added to the site's Delta table. */
export async function vectorsAdded(site: Site, operation: string): Promise<number> {
  const commits = await site.warehouse.query({
    doing: 'looking for deletion vectors',
    sql: `DESCRIBE HISTORY ${site.deltaTable}`,
  });
  return commits
    .filter((commit) => commit['operation'] === operation)
    .map((commit) => /DeletionVectorsAdded\W+(\d+)/.exec(JSON.stringify(commit['operationMetrics']))?.[1])
    .reduce((sum, added) => sum + Number(added ?? 0), 0);
}
