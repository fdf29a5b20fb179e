import { quoteIdent, splitQualified } from '../connections/identifiers.ts';
import {
  addPrimaryKey,
  addUniqueKey,
  alterTable,
  createCurrentIndex,
  versionKey,
  type HistoryTarget,
} from '../connections/postgres/history-ddl.ts';
import type { CatalogUniqueIndex } from '../connections/postgres/history-table.ts';
import type { ExistingHistory, Finding } from './plan-history.ts';

/** The two indexes that keep H2 and H3 whoever writes, and none that would refuse a second version. */
export function checkKeys(target: HistoryTarget, { uniqueIndexes }: ExistingHistory): readonly Finding[] {
  return [
    ...checkVersionKey(target, uniqueIndexes),
    ...checkCurrentIndex(target, uniqueIndexes),
    ...checkFurther(target, uniqueIndexes),
  ];
}

function checkVersionKey(target: HistoryTarget, indexes: readonly CatalogUniqueIndex[]): readonly Finding[] {
  const wanted = versionKey(target);
  const candidates = indexes.filter((index) => sameColumns(index, wanted) && index.predicate === null);
  if (candidates.some(({ enforced }) => enforced)) return [];
  const primary = indexes.find((index) => index.primary);
  const loose = candidates[0];
  const because =
    loose !== undefined
      ? `: ${loose.name} is deferrable or invalid`
      : primary !== undefined
        ? `: it is (${columnsText(primary)}); a unique constraint beside it will do`
        : '';
  return [
    {
      kind: 'mismatch',
      detail: `has no primary key (${wanted.join(', ')})${because}`,
      sql: primary === undefined ? addPrimaryKey(target) : addUniqueKey(target),
    },
  ];
}

function checkCurrentIndex(
  target: HistoryTarget,
  indexes: readonly CatalogUniqueIndex[],
): readonly Finding[] {
  if (indexes.some((index) => isCurrentIndex(target, index) && index.enforced)) return [];
  const { mapping, names } = target;
  return [
    {
      kind: 'mismatch',
      detail:
        `has no unique index on (${mapping.key.join(', ')}) WHERE ${names.offDate} IS NULL: ` +
        'nothing keeps a key to one current version',
      sql: createCurrentIndex(target),
    },
  ];
}

/** Indexes over anything else: some refuse what the history has to hold, others may. */
function checkFurther(target: HistoryTarget, indexes: readonly CatalogUniqueIndex[]): readonly Finding[] {
  return indexes
    .filter((index) => !repeatsOurs(target, index) && isOfTheChanges(target, index))
    .map((index): Finding => {
      const what = `${index.name} is unique on (${columnsText(index)})${index.predicate === null ? '' : ` WHERE ${index.predicate}`}: `;
      return refusesSecondVersion(target, index)
        ? {
            kind: 'mismatch',
            detail: `${what}it refuses a second version of a key`,
            sql: dropUnique(target, index),
          }
        : {
            kind: 'warning',
            detail: `${what}a version that it refuses stops its partition (POSTGRES_23505)`,
          };
    });
}

/** One that has all columns of ours refuses nothing that those let pass. */
function repeatsOurs(target: HistoryTarget, index: CatalogUniqueIndex): boolean {
  const { mapping, names } = target;
  const hasAll = (columns: readonly string[]): boolean =>
    columns.every((column) => index.columns.includes(column));
  return hasAll(versionKey(target)) || (hasAll(mapping.key) && isCurrentOnly(index.predicate, names.offDate));
}

/** A column that the table fills by itself, such as an identity, differs from row to row. */
function isOfTheChanges({ mapping, names }: HistoryTarget, index: CatalogUniqueIndex): boolean {
  const known = [...mapping.columns.map(({ name }) => name), names.onDate, names.offDate, names.isActive];
  return index.columns.every((column) => column === null || known.includes(column));
}

function refusesSecondVersion(
  { mapping, names }: HistoryTarget,
  { columns, predicate }: CatalogUniqueIndex,
): boolean {
  if (columns.every((column) => column !== null && mapping.key.includes(column))) return true;
  // What an expression makes of the columns is not known.
  return (
    predicate === null &&
    columns.every((column) => column !== null && column !== names.onDate && column !== names.offDate)
  );
}

function isCurrentIndex({ mapping, names }: HistoryTarget, index: CatalogUniqueIndex): boolean {
  return sameColumns(index, mapping.key) && isCurrentOnly(index.predicate, names.offDate);
}

function sameColumns(index: CatalogUniqueIndex, columns: readonly string[]): boolean {
  return index.columns.length === columns.length && columns.every((column) => index.columns.includes(column));
}

/** `pg_get_expr` quotes a name only where it has to. */
function isCurrentOnly(predicate: string | null, offDate: string): boolean {
  const text = predicate?.replace(/^\(/, '').replace(/\)$/, '').trim();
  return text === `${offDate} IS NULL` || text === `${quoteIdent(offDate)} IS NULL`;
}

function columnsText(index: CatalogUniqueIndex): string {
  return index.columns.map((column) => column ?? 'an expression').join(', ');
}

function dropUnique({ table }: HistoryTarget, index: CatalogUniqueIndex): string {
  if (index.constraint) return alterTable(table, `DROP CONSTRAINT ${quoteIdent(index.name)}`);
  // An index lives in the schema of its table.
  const schema = splitQualified(table).slice(0, -1);
  return `DROP INDEX ${[...schema, index.name].map(quoteIdent).join('.')}`;
}
