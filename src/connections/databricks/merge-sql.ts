import { deltaTypeOf } from '../../change/types.ts';
import { keyIndexes, type ColumnType, type TableMapping } from '../../change/table.ts';
import { quoteDatabricksIdent, quoteDatabricksQualified } from '../identifiers.ts';

export interface MergeSqlOptions {
  readonly mapping: TableMapping;
  /** The Delta table that is merged into. */
  readonly table: string;
  /** The table of epochs (merge-epoch.ts). */
  readonly epochs: string;
}

/**
 * The MERGE of lines that `mergeLine` writes: of `:rows`, a JSON array of them, or of a file that has one
 * per line. Parameters beside `:rows`: `:sink` and `:epoch`, which must be the one that the table of epochs
 * says or there is nothing to merge; `:ferry`, the mark. The mark is a term of the condition, since Delta keeps
 * that in the commit. Only mapped columns are written; what is not matched and to be deleted is passed over.
 */
export function mergeSql(options: MergeSqlOptions, file: string | null): string {
  const { mapping } = options;
  const names = mapping.columns.map(({ name }) => quoteDatabricksIdent(name));
  const isKey = new Set(keyIndexes(mapping));
  const updates = names.flatMap((name, index) => (isKey.has(index) ? [] : [`t.${name} = s.c${index}`]));
  return [
    `MERGE INTO ${quoteDatabricksQualified(options.table)} AS t`,
    `USING (${sourceSql(options, file)}) AS s`,
    `ON ${[...keyTerms(mapping), 's.ferry = :ferry'].join(' AND ')}`,
    'WHEN MATCHED AND s.gone THEN DELETE',
    ...(updates.length === 0 ? [] : [`WHEN MATCHED THEN UPDATE SET ${updates.join(', ')}`]),
    `WHEN NOT MATCHED AND NOT s.gone THEN INSERT (${names.join(', ')})`,
    `VALUES (${names.map((_, index) => `s.c${index}`).join(', ')})`,
  ].join(' ');
}

function sourceSql({ mapping, epochs }: MergeSqlOptions, file: string | null): string {
  const fields = ['d STRING', ...mapping.columns.map((_, index) => `c${index} STRING`)].join(', ');
  // A line that is not read must fail the statement: by default it would be a row of nulls.
  const parsed = (text: string, type: string): string =>
    `from_json(${text}, '${type}', map('mode', 'FAILFAST'))`;
  const lines =
    file === null
      ? `SELECT explode(${parsed(':rows', `ARRAY<STRUCT<${fields}>>`)}) AS j`
      : `SELECT ${parsed('value', `STRUCT<${fields}>`)} AS j FROM text.${quoteDatabricksIdent(file)}`;
  const columns = mapping.columns.map(
    ({ type }, index) => `${fromExchange(type, `j.c${index}`)} AS c${index}`,
  );
  return [
    `SELECT j.d IS NOT NULL AS gone, ${columns.join(', ')}, :ferry AS ferry`,
    `FROM (${lines})`,
    `WHERE EXISTS (SELECT 1 FROM ${quoteDatabricksQualified(epochs)} AS e WHERE e.sink = :sink AND e.epoch = :epoch)`,
  ].join(' ');
}

/** A uuid is text in Delta; whoever wrote it there may have used capitals, and it is the same key. */
export function keyTerms(mapping: TableMapping): readonly string[] {
  return keyIndexes(mapping).map((index, at) => {
    const name = `t.${quoteDatabricksIdent(mapping.key[at] ?? '')}`;
    const isUuid = mapping.columns[index]?.type.name === 'uuid';
    return `${isUuid ? `lower(${name})` : name} = s.c${index}`;
  });
}

/** The value of an exchange text. The session's zone must be UTC. */
export function fromExchange(type: ColumnType, text: string): string {
  const micros = `timestamp_micros(cast(${text} AS BIGINT))`;
  switch (type.name) {
    case 'date':
      return `date_from_unix_date(cast(${text} AS INT))`;
    case 'timestamptz':
      return micros;
    case 'timestamp':
      return `cast(${micros} AS TIMESTAMP_NTZ)`;
    case 'bytea':
      return `unhex(${text})`;
    case 'text':
    case 'varchar':
    case 'jsonb':
    case 'enum':
    case 'uuid':
      return text;
    case 'boolean':
    case 'smallint':
    case 'integer':
    case 'bigint':
    case 'numeric':
    case 'real':
    case 'double precision':
      return `cast(${text} AS ${deltaTypeOf(type)})`;
  }
}
