import { relative } from 'node:path';
import type { Loaded } from '../../service/config/load.ts';
import type { Config } from '../../service/config/schema.ts';
import { printJson, printLine, type AddCommand, type Context } from '../context.ts';
import {
  connecting,
  helpOf,
  loadOptions,
  plain,
  shared,
  type OutputOptions,
  type SharedOptions,
} from '../options.ts';

/** `deltaferry config show|check|reference` */
export const configCommand: AddCommand = (program, context) => {
  const group = program
    .command('config')
    .description('what is configured, and whether it fits')
    .addHelpText('after', helpOf(['deltaferry config check', 'deltaferry config show']));
  connecting(
    shared(group.command('show'), [
      'deltaferry config show',
      'deltaferry config show --json --set log.level=debug',
    ]),
  )
    .description('print the configuration in force, defaults included; secrets as ***')
    .action((options: SharedOptions) => show(options, context));
  connecting(
    shared(group.command('check'), [
      'deltaferry config check',
      'deltaferry config check --config production.yaml',
    ]),
  )
    .description('check the configuration; list every problem with its path and line')
    .action((options: SharedOptions) => check(options, context));
  plain(group.command('reference'), [
    'deltaferry config reference',
    'deltaferry config reference > docs/CONFIGURATION.md',
  ])
    .description('print the reference of every field, as Markdown')
    .action((options: OutputOptions) => reference(options, context));
};

async function show(options: SharedOptions, context: Context): Promise<void> {
  const [loaded, { redact }, { stringify }] = await Promise.all([
    locate(options, context),
    import('../../service/config/redact.ts'),
    import('yaml'),
  ]);
  const shown = redact(loaded.config);
  if (options.json === true) return printJson(context, shown);
  printLine(context, `# ${originText(loaded, context)}`);
  context.stdout.write(stringify(shown));
}

async function check(options: SharedOptions, context: Context): Promise<void> {
  const loaded = await locate(options, context);
  const { config, file, stack, connectionsFromStack } = loaded;
  const tables = config.tables.map(({ name }) => name);
  if (options.json === true)
    return printJson(context, { ok: true, file, stack, connectionsFromStack, tables });
  printLine(context, `ok: ${originText(loaded, context)}`);
  printLine(context, `tables: ${tables.join(', ')}`);
}

async function reference(options: OutputOptions, context: Context): Promise<void> {
  const { configReference } = await import('../../service/config/reference.ts');
  if (options.json === true) printJson(context, { markdown: configReference() });
  else context.stdout.write(configReference());
}

async function locate(options: SharedOptions, context: Context): Promise<Loaded<Config>> {
  const { locateConfig } = await import('../../service/config/load.ts');
  return locateConfig(loadOptions(options, context));
}

function originText({ file, stack, connectionsFromStack }: Loaded<Config>, { cwd }: Context): string {
  const near = (path: string) => (relative(cwd, path).startsWith('..') ? path : relative(cwd, path) || '.');
  const from = file === null ? 'environment and flags alone' : near(file);
  return stack === null
    ? from
    : `${from}; ${connectionsFromStack.join(', ')} of the local stack in ${near(stack)}`;
}
