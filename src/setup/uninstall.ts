import { captureNames, dropCaptureSql } from '../connections/postgres/capture-ddl.ts';
import type { LoggedRows } from '../connections/postgres/captured-table.ts';
import type { UninstallPorts } from './ports.ts';

/** A captured table, by its name here and in Postgres. */
export interface CapturedName {
  readonly name: string;
  /** `schema.table` */
  readonly table: string;
}

export interface UninstallOptions {
  /** Only say what would go. */
  readonly dryRun?: boolean;
}

export interface Removal {
  readonly table: string;
  /** What went, or would go; null: there was nothing. */
  readonly gone: null | {
    /** Null: there was no log, only triggers or the function. */
    readonly log: string | null;
    /** Rows that the log held, and how many of them had not been published. */
    readonly rows: number;
    readonly unpublished: number;
  };
  readonly sql: readonly string[];
}

export interface UninstallResult {
  readonly outcome: 'done' | 'planned';
  readonly removals: readonly Removal[];
}

/**
 * Takes triggers, function and log away, table by table; the tables themselves stay as they are. Throws
 * what the connections throw.
 */
export async function uninstall(
  tables: readonly CapturedName[],
  ports: UninstallPorts,
  { dryRun = false }: UninstallOptions = {},
): Promise<UninstallResult> {
  const removals: Removal[] = [];
  for (const { name, table } of tables) {
    const found = await ports.logged(name, null);
    const isThere = found.function || found.rows !== null;
    // Where the log is empty nobody needs to know how far it has been published.
    const published = found.rows === null || found.rows === 0 ? null : await ports.published(name);
    const remove = () => (dryRun ? ports.logged(name, published) : ports.uninstall(name, published));
    const removed = isThere ? await remove() : null;
    removals.push({
      table,
      gone: removed && goneOf(name, removed),
      sql: isThere ? dropCaptureSql(name) : [],
    });
  }
  return { outcome: dryRun ? 'planned' : 'done', removals };
}

function goneOf(name: string, { rows, unpublished }: LoggedRows): NonNullable<Removal['gone']> {
  const log = rows === null ? null : `deltaferry.${captureNames(name).log}`;
  return { log, rows: rows ?? 0, unpublished };
}

/** For a person: a line per table, SQL indented under it, and a closing line. */
export function uninstallLines({ outcome, removals }: UninstallResult): readonly string[] {
  const lines = removals.flatMap((removal) => removalLines(removal, outcome));
  const count = removals.filter(({ gone }) => gone !== null).length;
  if (count === 0) return [...lines, 'Nothing to remove.'];
  return [
    ...lines,
    outcome === 'planned'
      ? `${count} to remove. Nothing was changed: this was a dry run.`
      : `${count} removed. The tables themselves are as they were.`,
  ];
}

function removalLines({ table, gone, sql }: Removal, outcome: UninstallResult['outcome']): readonly string[] {
  if (gone === null) return [`ok        capture of ${table}: there is none`];
  const what = gone.log === null ? 'triggers and function' : `triggers, function and log ${gone.log}`;
  const lost =
    gone.unpublished === 0
      ? 'all of it was published'
      : `not published, and lost to Delta: ${rowsText(gone.unpublished)}`;
  const rows = gone.log === null ? '' : `, with ${rowsText(gone.rows)}; ${lost}`;
  const statements = outcome === 'planned' ? sql.map((statement) => `            ${statement};`) : [];
  return [`remove    capture of ${table}: ${what}${rows}`, ...statements];
}

function rowsText(count: number): string {
  return `${count.toLocaleString('en')} ${count === 1 ? 'row' : 'rows'}`;
}
