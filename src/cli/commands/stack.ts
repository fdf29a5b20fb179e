import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { PartStatus, Progress as PartProgress, StackStatus } from '../../stack/stack.ts';
import { printJson, printLine, type AddCommand, type Context } from '../context.ts';
import { helpOf, loadOptions, shared, type SharedOptions } from '../options.ts';
import { createProgress, type Progress } from '../progress.ts';

interface Options extends SharedOptions {
  readonly dir?: string;
  readonly wipe?: boolean;
}

/** `deltaferry stack up|down|status` */
export const stackCommand: AddCommand = (program, context, exit) => {
  const group = program
    .command('stack')
    .description('every engine on this machine: start, stop, look')
    .addHelpText(
      'after',
      helpOf(['deltaferry stack up', 'deltaferry stack status', 'deltaferry stack down --wipe']),
    );
  withDir(group.command('up'))
    .description('start what does not run, and wait until every part answers')
    .action((options: Options) => up(options, context));
  withDir(group.command('down'))
    .description('stop every part; the data stays')
    .option('--wipe', 'remove data, logs and ports too')
    .action((options: Options) => down(options, context));
  withDir(group.command('status'))
    .description('ask every part whether it answers; exit code 1 unless all do')
    .action(async (options: Options) => exit((await status(options, context)) ? 0 : 1));
};

function withDir(command: Command): Command {
  const name = `deltaferry stack ${command.name()}`;
  const examples = [name, `${name} --dir .deltaferry/second`];
  if (command.name() === 'down') examples.push(`${name} --wipe`);
  return shared(command, examples).option(
    '--dir <dir>',
    'folder of the stack (default: stack.dir, .deltaferry)',
  );
}

async function up(options: Options, context: Context): Promise<void> {
  const [{ startStack }, dir] = await Promise.all([import('../../stack/stack.ts'), dirOf(options, context)]);
  const progress = createProgress(context.stderr);
  const began = performance.now();
  const signal = context.interruptible();
  await startStack({ dir, onProgress: reporter(progress), signal }).finally(() => progress.end());
  const shown = await shownStatus(dir);
  if (options.json === true) return printJson(context, shown);
  printLine(context, `The stack is up (${((performance.now() - began) / 1000).toFixed(1)} s).`);
  for (const line of endpointLines(shown)) printLine(context, line);
}

async function down(options: Options, context: Context): Promise<void> {
  const [{ stopStack }, dir] = await Promise.all([import('../../stack/stack.ts'), dirOf(options, context)]);
  const progress = createProgress(context.stderr);
  await stopStack({ dir, wipe: options.wipe === true, onProgress: reporter(progress) }).finally(() =>
    progress.end(),
  );
  if (options.json === true) return printJson(context, await shownStatus(dir));
  printLine(
    context,
    options.wipe === true ? 'The stack is down, its data removed.' : 'The stack is down; its data stays.',
  );
}

/** Answers whether every part is up. */
async function status(options: Options, context: Context): Promise<boolean> {
  const shown = await shownStatus(await dirOf(options, context));
  if (options.json === true) printJson(context, shown);
  else {
    for (const part of shown.parts) printLine(context, partLine(part));
    for (const line of endpointLines(shown)) printLine(context, line);
  }
  return shown.parts.every(({ state }) => state === 'up');
}

async function dirOf(options: Options, context: Context): Promise<string> {
  if (options.dir !== undefined) return resolve(context.cwd, options.dir);
  const { loadSection } = await import('../../service/config/load.ts');
  const { dir } = await loadSection('stack', loadOptions(options, context));
  return resolve(context.cwd, dir);
}

/** The status without the stack's secrets: those are in its `stack.json` alone. */
async function shownStatus(dir: string): Promise<StackStatus> {
  const [{ stackStatus }, { maskUrl }] = await Promise.all([
    import('../../stack/stack.ts'),
    import('../../service/config/redact.ts'),
  ]);
  const found = await stackStatus({ dir });
  if (found.endpoints === undefined) return found;
  const { postgres, databricks, ...open } = found.endpoints;
  const endpoints = {
    ...open,
    postgres: { url: maskUrl(postgres.url) },
    databricks: { ...databricks, token: '***' },
  };
  return { ...found, endpoints };
}

function reporter(progress: Progress): (part: PartProgress) => void {
  const states = new Map<string, string>();
  return ({ part, state, seconds, text }) => {
    const said = `${part.padEnd(9)} ${text ?? state}`;
    if (state === 'up' || state === 'down') progress.line(`${said} (${seconds.toFixed(1)} s)`);
    states.set(part, text ?? state);
    const open = [...states].filter(([, state]) => state !== 'up' && state !== 'down');
    if (state !== 'up' && state !== 'down')
      progress.progress(open.map(([part, state]) => `${part} ${state}`).join(', '));
  };
}

function partLine({ part, state, pid, residentBytes, lastLines }: PartStatus): string {
  const memory = residentBytes === undefined ? '' : `, ${Math.round(residentBytes / 2 ** 20)} MB`;
  const process = pid === undefined || state === 'stopped' ? '' : `  pid ${pid}${memory}`;
  return [
    `${part.padEnd(9)} ${state.padEnd(7)}${process}`.trimEnd(),
    ...lastLines.map((line) => `          ${line}`),
  ].join('\n');
}

function endpointLines({ dir, endpoints }: StackStatus): string[] {
  if (endpoints === undefined) return ['Not running. Start it with: deltaferry stack up'];
  const { kafka, registry, postgres, databricks } = endpoints;
  return [
    `  kafka       ${kafka.brokers.join(',')}`,
    `  registry    ${registry.url}`,
    `  postgres    ${postgres.url}`,
    `  databricks  https://${databricks.host}:${databricks.port}${databricks.path}`,
    `Passwords and token are in ${dir}/stack.json.`,
  ];
}
