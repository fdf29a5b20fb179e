import { resolve } from 'node:path';
import { oneOf } from '../choice.ts';
import { columns } from '../columns.ts';
import { printJson, printLine, type AddCommand, type Context, type ExitCode } from '../context.ts';
import { plain, type OutputOptions } from '../options.ts';
import { createProgress } from '../progress.ts';
import { Interrupted } from '../signals.ts';

interface Options extends OutputOptions {
  readonly input?: string;
  readonly only?: string;
  readonly keep?: boolean;
  readonly look?: string;
  readonly dir: string;
}

/** `deltaferry demo [--input file] [--keep]`, `deltaferry demo --look part` */
export const demoCommand: AddCommand = (program, context, exit) => {
  plain(program.command('demo'), [
    'deltaferry demo',
    'deltaferry demo --input employee-history.csv    columns emp_id,name,salary,from_date,to_date',
    'deltaferry demo --only postgres-to-delta        one direction alone',
    'deltaferry demo --keep                          leave the stack up, to look at each part',
    'deltaferry demo --look kafka                    what a demo that was kept holds there',
  ])
    .summary('the main job on real input, verified')
    .description(
      'Replays an employee history as Delta commits through a stack of its own and proves the Postgres history equal, version by version; then changes the Postgres table and proves the Delta table equal.',
    )
    .option('--input <file>', 'CSV file to replay; a generated history of the same shape by default')
    .option('--only <direction>', 'delta-to-postgres or postgres-to-delta (default: both at once)')
    .option('--keep', 'leave the stack up, and say how to look at each part')
    .option('--look <part>', 'show rows of one part of a kept demo: kafka, registry, postgres or delta')
    .option('--dir <dir>', 'folder of the demo’s own stack, wiped at the start', '.deltaferry/demo')
    .action(async (options: Options) => {
      if (options.look === undefined) exit(await demo(options, context));
      else await look(options.look, options, context);
    });
};

async function demo(options: Options, context: Context): Promise<ExitCode> {
  const [{ DIRECTIONS, runDemo }, { createLogger }] = await Promise.all([
    import('../../demo/demo.ts'),
    import('../../service/logger.ts'),
  ]);
  const only = options.only === undefined ? {} : { only: await oneOf('--only', options.only, DIRECTIONS) };
  const report = createProgress(options.json === true ? context.stderr : context.stdout);
  const signal = context.interruptible();
  let clean = (text: string): string => text;
  try {
    const code = await runDemo({
      ...(options.input === undefined ? {} : { input: resolve(context.cwd, options.input) }),
      ...only,
      keep: options.keep === true,
      dir: resolve(context.cwd, options.dir),
      report,
      // What goes wrong is told at once; the rest is the report's.
      logger: createLogger({ level: 'error', format: 'auto', clean: (line) => clean(line) }),
      conceal: (given) => {
        clean = given;
        context.conceal(given);
      },
      signal,
    });
    if (options.json === true) printJson(context, { verified: code === 0 });
    return code;
  } catch (error) {
    // Whoever stopped it knows why.
    if (!(error instanceof Interrupted)) throw error;
    report.line('Interrupted: nothing was verified.');
    if (options.json === true) printJson(context, { verified: false });
    return error.exitCode;
  } finally {
    report.end();
  }
}

async function look(name: string, options: Options, context: Context): Promise<void> {
  const { PARTS, lookAt, keptDemo } = await import('../../demo/look.ts');
  const part = await oneOf('--look', name, PARTS);
  const dir = resolve(context.cwd, options.dir);
  const config = await keptDemo(dir, (clean) => context.conceal(clean));
  const found = await lookAt(part, config);
  if (options.json === true) return printJson(context, found);
  printLine(context, found.title);
  const names = Object.keys(found.rows[0] ?? {});
  const cells = found.rows.map((row) => names.map((name) => row[name] ?? ''));
  for (const line of columns([names, ...cells])) printLine(context, line);
}
