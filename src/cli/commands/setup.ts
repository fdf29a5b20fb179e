import { printJson, printLine, type AddCommand, type Context, type ExitCode } from '../context.ts';
import { connecting, loadOptions, shared, type SharedOptions } from '../options.ts';

interface Options extends SharedOptions {
  readonly dryRun?: boolean;
  readonly uninstall?: boolean;
  readonly withoutDelta?: boolean;
}

/** `deltaferry setup [--uninstall] [--without-delta] [--dry-run]` */
export const setupCommand: AddCommand = (program, context, exit) => {
  connecting(shared(program.command('setup'), ['deltaferry setup --dry-run', 'deltaferry setup']))
    .summary('create what must exist, check what does')
    .description(
      'Creates what must exist and does not: control schema, topics, schemas, history tables, what captures a table in Postgres. Checks what does, and changes nothing of it but its own.',
    )
    .option('--dry-run', 'only say what would be done')
    .option(
      '--without-delta',
      'leave Databricks out: for a Postgres that is loaded by `backfill --from topic` and fed by other deployments',
    )
    .option(
      '--uninstall',
      'remove triggers, function and log of the captured tables instead; stop `deltaferry run` first',
    )
    .action(async (options: Options) => exit(await setup(options, context)));
};

async function setup(options: Options, context: Context): Promise<ExitCode> {
  const [{ loadConfig }, { scrubber }] = await Promise.all([
    import('../../service/config/load.ts'),
    import('../../service/config/redact.ts'),
  ]);
  const config = await loadConfig(loadOptions(options, context));
  context.conceal(scrubber(config));
  // The drivers are loaded once the configuration is known to be right.
  const [{ setupTables, uninstallTables }, { setupLines }, { uninstallLines }] = await Promise.all([
    import('../../service/setup.ts'),
    import('../../setup/report.ts'),
    import('../../setup/uninstall.ts'),
  ]);
  const dryRun = options.dryRun === true;
  if (options.uninstall === true) {
    const removed = await uninstallTables(config, { dryRun });
    if (options.json === true) printJson(context, removed);
    else for (const line of uninstallLines(removed)) printLine(context, line);
    return 0;
  }
  const result = await setupTables(config, { dryRun, withoutDelta: options.withoutDelta === true });
  if (options.json === true) printJson(context, result);
  else for (const line of setupLines(result)) printLine(context, line);
  return result.outcome === 'mismatch' ? 1 : 0;
}
