import { printJson, printLine, type AddCommand, type Context, type ExitCode } from '../context.ts';
import { connecting, loadOptions, shared, type SharedOptions } from '../options.ts';
import { tablesNamed } from '../tables.ts';

interface Options extends SharedOptions {
  readonly delta: boolean;
}

/** `deltaferry status [table] [--no-delta]` */
export const statusCommand: AddCommand = (program, context, exit) => {
  connecting(
    shared(program.command('status'), [
      'deltaferry status',
      'deltaferry status employees --json',
      'deltaferry status --no-delta     without waking a warehouse that sleeps',
    ]),
  )
    .summary('show where every table is, and its newest load')
    .description(
      'Shows where every role of every table is, what lies before it, and the newest load. Asks Postgres, Kafka and Databricks themselves: no service has to run. Exits 1 where one of them does not answer, or the topic does not have what a sink needs next.',
    )
    .argument('[table]', 'only this one')
    .option('--no-delta', 'do not ask Databricks: how far the feed is behind is not shown then')
    .action(async (table: string | undefined, options: Options) =>
      exit(await status(table, options, context)),
    );
};

async function status(only: string | undefined, options: Options, context: Context): Promise<ExitCode> {
  const [{ loadConfig }, { scrubber }] = await Promise.all([
    import('../../service/config/load.ts'),
    import('../../service/config/redact.ts'),
  ]);
  const config = await loadConfig(loadOptions(options, context));
  const clean = scrubber(config);
  context.conceal(clean);
  const tables = await tablesNamed(only, config.tables);
  // The drivers are loaded once the configuration is known to be right.
  const [{ readStatus }, { statusLines }] = await Promise.all([
    import('../../service/status.ts'),
    import('../status-lines.ts'),
  ]);
  const { tables: found, problems } = await readStatus({ config, tables, askDelta: options.delta });
  const told = problems.map((problem) => ({ ...problem, message: clean(problem.message) }));
  if (options.json === true) printJson(context, { tables: found, problems: told });
  else for (const line of statusLines({ tables: found, problems: told })) printLine(context, line);
  return problems.length === 0 ? 0 : 1;
}
