import { printJson, printLine, type AddCommand, type Context, type ExitCode } from '../context.ts';
import { connecting, loadOptions, shared, type SharedOptions } from '../options.ts';

interface Options extends SharedOptions {
  readonly dryRun?: boolean;
}

/** `deltaferry setup [--dry-run]` */
export const setupCommand: AddCommand = (program, context, exit) => {
  connecting(shared(program.command('setup'), ['deltaferry setup --dry-run', 'deltaferry setup']))
    .summary('create what must exist, check what does')
    .description(
      'Creates what must exist and does not: control schema, topics, schemas, history tables. Checks what does, and changes nothing of it.',
    )
    .option('--dry-run', 'only say what would be done')
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
  const [{ setupTables }, { setupLines }] = await Promise.all([
    import('../../service/setup.ts'),
    import('../../setup/report.ts'),
  ]);
  const result = await setupTables(config, { dryRun: options.dryRun === true });
  if (options.json === true) printJson(context, result);
  else for (const line of setupLines(result)) printLine(context, line);
  return result.outcome === 'mismatch' ? 1 : 0;
}
