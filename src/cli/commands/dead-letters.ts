import { OperatorError, UsageError } from '../../errors.ts';
import type { Config } from '../../service/config/schema.ts';
import type { Decoded, Letter, LettersOfTable } from '../../service/dead-letters.ts';
import { columns, printable } from '../columns.ts';
import { printJson, printLine, type AddCommand, type Context } from '../context.ts';
import { connecting, helpOf, loadOptions, shared, type SharedOptions } from '../options.ts';
import { tablesNamed } from '../tables.ts';

interface ListOptions extends SharedOptions {
  readonly limit: string;
}

interface ShowOptions extends SharedOptions {
  readonly original?: boolean;
}

/** `deltaferry dead-letters list|show` */
export const deadLettersCommand: AddCommand = (program, context) => {
  const group = program
    .command('dead-letters')
    .description('the records that were set aside, and why')
    .addHelpText('after', helpOf(['deltaferry dead-letters list', 'deltaferry dead-letters show 0:12']));
  connecting(
    shared(group.command('list'), [
      'deltaferry dead-letters list                    the newest 50 of each table',
      'deltaferry dead-letters list employees --limit 1000 --json',
    ]),
  )
    .description('the newest dead letters of each table')
    .argument('[table]', 'name of a table in the configuration; every table by default')
    .option('--limit <n>', 'most letters of a table', '50')
    .action((table: string | undefined, options: ListOptions) => list(table, options, context));
  connecting(
    shared(group.command('show'), [
      'deltaferry dead-letters show 0:12               as `dead-letters list` shows it under LETTER',
      'deltaferry dead-letters show --original 3:1042  as the log names the record: partition and offset',
      'deltaferry dead-letters show 0:12 employees     where there are several tables',
    ]),
  )
    .description('one dead letter whole: headers, key and value, decoded where they can be')
    .argument('<partition:offset>', 'where it lies on the dead-letter topic')
    .argument('[table]', 'name of its table; needed where there are several')
    .option('--original', 'find it by where its record lies on the changes topic')
    .action((place: string, table: string | undefined, options: ShowOptions) =>
      show(place, table, options, context),
    );
};

async function list(only: string | undefined, options: ListOptions, context: Context): Promise<void> {
  const limit = Number(options.limit);
  if (!Number.isInteger(limit) || limit < 1 || limit > 100_000)
    throw usage('--limit must be a whole number from 1 to 100000', '--limit 1000');
  const config = await configOf(options, context);
  const tables = await tablesNamed(only, config.tables);
  const { listDeadLetters } = await import('../../service/dead-letters.ts');
  const found: LettersOfTable[] = [];
  for (const table of tables) found.push(await listDeadLetters(config, table, limit));
  if (options.json === true) return printJson(context, found);
  found.forEach((letters, index) => {
    if (index > 0) printLine(context, '');
    for (const line of listLines(letters)) printLine(context, line);
  });
}

async function show(
  text: string,
  only: string | undefined,
  options: ShowOptions,
  context: Context,
): Promise<void> {
  const match = /^(\d{1,5}):(\d{1,18})$/.exec(text);
  if (match === null) throw usage(`"${text}" is not partition:offset`, 'dead-letters show 0:12');
  const config = await configOf(options, context);
  const [table, another] = await tablesNamed(only, config.tables);
  if (table === undefined || another !== undefined)
    throw usage(
      'which table? There are several in the configuration',
      `dead-letters show ${text} ${config.tables[0]!.name}`,
    );
  const { readDeadLetter } = await import('../../service/dead-letters.ts');
  const place = {
    partition: Number(match[1]),
    offset: BigInt(match[2]!),
    original: options.original === true,
  };
  const letter = await readDeadLetter(config, table, place);
  if (letter === null)
    throw new OperatorError({
      code: 'LETTER_UNKNOWN',
      message: place.original
        ? `${table.name} has no dead letter of the record at ${text} of ${table.topic}.`
        : `There is no dead letter at ${text} of ${table.topic}.dead-letters.`,
      remedy: `See \`deltaferry dead-letters list ${table.name}\`; \`--original\` takes the place on the changes topic. Letters go when the topic's retention ends.`,
    });
  if (options.json === true) return printJson(context, letter);
  for (const line of letterLines(letter)) printLine(context, line);
}

async function configOf(options: SharedOptions, context: Context): Promise<Config> {
  const [{ loadConfig }, { scrubber }] = await Promise.all([
    import('../../service/config/load.ts'),
    import('../../service/config/redact.ts'),
  ]);
  const config = await loadConfig(loadOptions(options, context));
  context.conceal(scrubber(config));
  return config;
}

function usage(message: string, example: string): UsageError {
  return new UsageError({ code: 'USAGE', message, remedy: `For instance: deltaferry ${example}.` });
}

function listLines({ table, topic, letters, complete }: LettersOfTable): string[] {
  if (letters.length === 0) return [`${table}: no dead letters on ${topic}`];
  const count = letters.length === 1 ? '1 dead letter' : `${letters.length} dead letters`;
  const rows = letters.map(({ time, code, letter, record, source, key, message }) => [
    time,
    code,
    `${letter.partition}:${letter.offset}`,
    record === null
      ? `${source?.producer ?? ''} ${source?.position ?? ''}`
      : `${record.partition}:${record.offset}`,
    key ?? '(none)',
    message,
  ]);
  return [
    complete
      ? `${table}: ${count} on ${topic}, newest first`
      : `${table}: the newest ${count} on ${topic}; there may be more: --limit`,
    ...columns([['TIME', 'CODE', 'LETTER', 'RECORD', 'KEY', 'MESSAGE'], ...rows]),
  ];
}

function letterLines({ topic, letter, headers, decodedKey, decodedValue }: Letter): string[] {
  const names = Object.keys(headers);
  const width = Math.max(...names.map((name) => name.length));
  return [
    `${topic} ${letter.partition}:${letter.offset}`,
    ...names.map((name) => `  ${printable(name).padEnd(width)}  ${printable(headers[name]!)}`),
    ...decodedLines('key', decodedKey),
    ...decodedLines('value', decodedValue),
  ];
}

function decodedLines(what: string, decoded: Decoded): string[] {
  switch (decoded.form) {
    case 'none':
      return [`${what}: none`];
    case 'text':
      return [`${what}: ${printable(decoded.text)}`];
    case 'json':
      return [`${what}, JSON:`, `  ${printable(decoded.text)}`];
    case 'change':
      return [`${what}, a change written with schema ${decoded.schemaId}:`, ...jsonLines(decoded.change)];
    case 'hex':
      return [
        `${what}, ${decoded.hex.length / 2} bytes that are no change and no JSON (${printable(decoded.why)}):`,
        ...hexLines(decoded.hex),
      ];
    default:
      return decoded satisfies never;
  }
}

function jsonLines(value: object): string[] {
  return JSON.stringify(value, null, 2)
    .split('\n')
    .map((line) => `  ${printable(line)}`);
}

const HEX_PER_LINE = 64;
const MOST_HEX_LINES = 64;

function hexLines(hex: string): string[] {
  const lines = hex.match(new RegExp(`.{1,${HEX_PER_LINE}}`, 'g')) ?? [];
  const shown = lines.slice(0, MOST_HEX_LINES).map((line) => `  ${line}`);
  const left = lines.length - shown.length;
  return left <= 0 ? shown : [...shown, `  … ${left} more lines; --json has all of it`];
}
