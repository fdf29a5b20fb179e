import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { printJson, printLine, type AddCommand, type Context } from '../context.ts';
import { loadOptions, shared, type SharedOptions } from '../options.ts';
import { tablesNamed } from '../tables.ts';

interface Options extends SharedOptions {
  readonly write?: boolean;
  readonly out: string;
}

/** `deltaferry schema [table] [--write]` */
export const schemaCommand: AddCommand = (program, context) => {
  shared(program.command('schema'), [
    'deltaferry schema                 every table, by subject',
    'deltaferry schema employees',
    'deltaferry schema --write         schemas/<topic>-value.avsc, to be reviewed; setup registers them',
  ])
    .description('the Avro schema of each table’s changes')
    .argument('[table]', 'name of a table in the configuration; every table by default')
    .option('--write', 'write the files instead of printing')
    .option('--out <dir>', 'folder to write to', 'schemas')
    .action((table: string | undefined, options: Options) => schema(table, options, context));
};

async function schema(only: string | undefined, options: Options, context: Context): Promise<void> {
  const [{ loadSection }, { mappingOf }, { changeSchema }] = await Promise.all([
    import('../../service/config/load.ts'),
    import('../../service/config/table-schema.ts'),
    import('../../change/avro-schema.ts'),
  ]);
  const tables = await loadSection('tables', loadOptions(options, context));
  const chosen = await tablesNamed(only, tables);
  const schemas = chosen.map((table) => [`${table.topic}-value`, changeSchema(mappingOf(table))] as const);
  if (options.write !== true) {
    const whole = only !== undefined && options.json !== true ? schemas[0]![1] : Object.fromEntries(schemas);
    return printJson(context, whole);
  }
  const dir = resolve(context.cwd, options.out);
  await mkdir(dir, { recursive: true });
  const written = [];
  for (const [subject, content] of schemas) {
    const file = join(dir, `${subject}.avsc`);
    written.push({
      file: relative(context.cwd, file),
      state: await writeIfNew(file, `${JSON.stringify(content, null, 2)}\n`),
    });
  }
  if (options.json === true) return printJson(context, { written });
  for (const { file, state } of written) printLine(context, `${state.padEnd(9)} ${file}`);
}

async function writeIfNew(file: string, text: string): Promise<'unchanged' | 'changed' | 'new'> {
  const before = await readFile(file, 'utf8').catch(() => undefined);
  if (before === text) return 'unchanged';
  await writeFile(file, text);
  return before === undefined ? 'new' : 'changed';
}
