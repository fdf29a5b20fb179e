import type { Role } from '../../service/run.ts';
import { oneOf } from '../choice.ts';
import { printJson, type AddCommand, type Context } from '../context.ts';
import { connecting, loadOptions, shared, type SharedOptions } from '../options.ts';

interface Options extends SharedOptions {
  readonly only?: string;
  readonly httpPort?: string;
  readonly logLevel?: string;
  readonly logFormat?: string;
}

/** `deltaferry run [--only roles]` */
export const runCommand: AddCommand = (program, context) => {
  connecting(
    shared(program.command('run'), [
      'deltaferry run',
      'deltaferry run --only postgres-history       more of these apply more partitions at once',
      'deltaferry run --config production.yaml --log-format json --http-port 9464',
    ]),
  )
    .summary('keep the tables in step until stopped')
    .description(
      'Keeps the tables in step until stopped. SIGTERM or Ctrl-C finishes what is in hand; a second one stops at once.',
    )
    .option(
      '--only <roles>',
      'roles of this process, separated by commas: delta-feed, postgres-log, postgres-history, delta-merge (default: all)',
    )
    .option('--http-port <port>', 'port of /metrics, /livez and /readyz; 0: any (sets http.port)')
    .option('--log-level <level>', 'trace, debug, info, warn, error or silent (sets log.level)')
    .option('--log-format <format>', 'auto, json or pretty (sets log.format)')
    .action((options: Options) => run(options, context));
};

async function run(options: Options, context: Context): Promise<void> {
  const [{ loadConfig }, { scrubber }] = await Promise.all([
    import('../../service/config/load.ts'),
    import('../../service/config/redact.ts'),
  ]);
  const dedicated = {
    'http.port': options.httpPort,
    'log.level': options.logLevel,
    'log.format': options.logFormat,
  };
  const config = await loadConfig(loadOptions(options, context, dedicated));
  context.conceal(scrubber(config));
  // The drivers are loaded once the configuration is known to be right.
  const [{ createLogger }, { ROLES, runService }] = await Promise.all([
    import('../../service/logger.ts'),
    import('../../service/run.ts'),
  ]);
  const roles = await rolesOf(options.only, ROLES);
  await runService({
    config,
    roles,
    logger: createLogger({ ...config.log, clean: scrubber(config) }),
    signal: context.interruptible(),
  });
  if (options.json === true) printJson(context, { stopped: true, roles });
}

async function rolesOf(only: string | undefined, known: readonly Role[]): Promise<readonly Role[]> {
  if (only === undefined) return known;
  const names = await Promise.all(only.split(',').map((name) => oneOf('--only', name.trim(), known)));
  return known.filter((role) => names.includes(role));
}
