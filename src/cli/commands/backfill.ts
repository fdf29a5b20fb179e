import { UsageError } from '../../errors.ts';
import type { BackfillMode, BackfillProgress } from '../../service/backfill.ts';
import { oneOf } from '../choice.ts';
import { printJson, type AddCommand, type Context } from '../context.ts';
import { duration, count, loadProgressText, rows } from '../load-progress.ts';
import { connecting, loadOptions, shared, type SharedOptions } from '../options.ts';
import { createProgress } from '../progress.ts';
import { tablesNamed } from '../tables.ts';

interface Options extends SharedOptions {
  readonly from?: string;
  readonly resume?: boolean;
  readonly restart?: boolean;
  readonly giveUp?: boolean;
  readonly piece?: string;
}

const TICK_MS = 1_000;

const SOURCES = ['delta', 'postgres', 'topic'] as const;

/** `deltaferry backfill <table> [--from delta|postgres|topic] [--resume | --restart | --give-up]` */
export const backfillCommand: AddCommand = (program, context) => {
  connecting(
    shared(program.command('backfill'), [
      'deltaferry backfill employees',
      'deltaferry backfill employees --resume      after it was stopped or killed',
      'deltaferry backfill employees --restart     from the newest version, whatever was begun before',
      'deltaferry backfill employees --from postgres   the other way: the Delta table from the one in Postgres',
      'deltaferry backfill employees --from topic      another Postgres, from what the last load has left in Kafka',
    ]),
  )
    .summary('load a whole table')
    .description(
      'Loads a whole table, without a gap to the live changes: the history in Postgres from one version of its Delta table, or the Delta table from the one in Postgres. A table that holds rows is brought to what its source holds. Can be stopped, or killed, and resumed.',
    )
    .argument('<table>', 'name of a table in the configuration')
    .option(
      '--from <source>',
      'where the rows come from: delta, postgres or topic (default: delta, or that of the load that is gone on with)',
    )
    .option('--resume', 'go on with the load that is under way')
    .option('--restart', 'give up the load that is under way, if there is one, and begin anew')
    .option(
      '--give-up',
      'give up the load that is under way: an empty table stays empty, one with rows keeps what was corrected; live changes go on',
    )
    .option('--piece <rows>', 'most rows that are read and acknowledged together (default: 50000)')
    .action((table: string, options: Options) => backfill(table, options, context));
};

async function backfill(name: string, options: Options, context: Context): Promise<void> {
  const mode = modeOf(options);
  const from = options.from === undefined ? undefined : await oneOf('--from', options.from, SOURCES);
  const rowsPerPiece = pieceOf(options.piece);
  const [{ loadConfig }, { scrubber }] = await Promise.all([
    import('../../service/config/load.ts'),
    import('../../service/config/redact.ts'),
  ]);
  const config = await loadConfig(loadOptions(options, context));
  context.conceal(scrubber(config));
  const [table] = await tablesNamed(name, config.tables);
  // The drivers are loaded once the configuration is known to be right.
  const [{ backfillTable }, { createLogger }, { describeError }] = await Promise.all([
    import('../../service/backfill.ts'),
    import('../../service/logger.ts'),
    import('../../errors.ts'),
  ]);
  const clean = scrubber(config);
  const report = createProgress(options.json === true ? context.stderr : context.stdout);
  const textOf = loadProgressText(name);
  const began = performance.now();
  let last: BackfillProgress | null = null;
  let before: number | null = null;
  let shown = '';
  // While one statement runs nothing is told, and the time goes on all the same.
  const ticking = setInterval(() => {
    const text = last === null ? shown : textOf(last, performance.now());
    if (text !== shown) report.progress((shown = text));
  }, TICK_MS);
  const signal = context.interruptible();
  const stages: { readonly stage: string; readonly at: number }[] = [];
  try {
    const result = await backfillTable({
      config,
      table: table!,
      mode,
      from,
      rowsPerPiece,
      // What goes wrong is told in the report's own lines.
      logger: createLogger({
        ...config.log,
        level: isDebugging(config.log.level) ? config.log.level : 'error',
        clean,
      }),
      signal,
      onProgress(progress) {
        shown = textOf(progress, performance.now());
        if (progress.stage !== 'loading' && progress.stage !== last?.stage && progress.stage !== 'done')
          report.line(shown);
        else report.progress(shown);
        before ??= progress.applied;
        if (progress.stage !== last?.stage) stages.push({ stage: progress.stage, at: performance.now() });
        last = progress;
      },
      onTrouble: (error) => report.line(clean(`${name}: trying again after: ${describeError(error)}`)),
    });
    clearInterval(ticking);
    const seconds = (performance.now() - began) / 1000;
    const version = (last as BackfillProgress | null)?.pinned?.version ?? null;
    report.end();
    if (options.json === true)
      return printJson(context, {
        mode,
        ...result,
        version,
        seconds: rounded(seconds),
        stages: lasting(stages),
      });
    if (mode === 'give-up') return report.line(`${name}: the load was given up; live changes go on`);
    const aside = result.rejected === 0 ? '' : `; ${rows(result.rejected)} set aside as dead letters`;
    if (result.reconciled !== null) {
      const { added, corrected, ended } = result.reconciled;
      report.line(
        `${name}: of what the table held, ${rows(corrected)} corrected and ${rows(ended)} ended; ${rows(added)} added`,
      );
    }
    const of = (last as BackfillProgress | null)?.source === 'postgres' ? '' : ` of version ${version}`;
    const speed =
      (before ?? 0) === 0
        ? `loaded in ${duration(seconds)} (${count(result.rows / seconds)}/s)`
        : `loaded, the rest of them in ${duration(seconds)}`;
    report.line(`${name}: ${rows(result.rows)}${of} ${speed}${aside}`);
  } catch (error) {
    if (signal.aborted && last !== null)
      report.line(`${name}: stopped; \`deltaferry backfill ${name} --resume\` goes on with it`);
    throw error;
  } finally {
    clearInterval(ticking);
    report.end();
  }
}

/** How long each stage took, seconds. */
function lasting(stages: readonly { readonly stage: string; readonly at: number }[]): Record<string, number> {
  return Object.fromEntries(
    stages.slice(0, -1).map(({ stage, at }, index) => [stage, rounded((stages[index + 1]!.at - at) / 1000)]),
  );
}

const rounded = (seconds: number): number => Math.round(seconds * 1000) / 1000;

const isDebugging = (level: string): boolean => level === 'debug' || level === 'trace';

function modeOf({ resume, restart, giveUp }: Options): BackfillMode {
  const given = [
    ...(resume === true ? (['resume'] as const) : []),
    ...(restart === true ? (['restart'] as const) : []),
    ...(giveUp === true ? (['give-up'] as const) : []),
  ];
  if (given.length > 1)
    throw new UsageError({
      code: 'USAGE',
      message: `--${given.join(' and --')} exclude each other`,
      remedy: 'Give one of them.',
    });
  return given[0] ?? 'new';
}

function pieceOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const rows = Number(text);
  if (Number.isInteger(rows) && rows >= 100 && rows <= 1_000_000) return rows;
  throw new UsageError({
    code: 'USAGE',
    message: '--piece must be a whole number from 100 to 1000000',
    remedy: 'For instance --piece 50000.',
  });
}
