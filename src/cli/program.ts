import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { backfillCommand } from './commands/backfill.ts';
import { configCommand } from './commands/config.ts';
import { deadLettersCommand } from './commands/dead-letters.ts';
import { demoCommand } from './commands/demo.ts';
import { runCommand } from './commands/run.ts';
import { schemaCommand } from './commands/schema.ts';
import { setupCommand } from './commands/setup.ts';
import { stackCommand } from './commands/stack.ts';
import { statusCommand } from './commands/status.ts';
import type { Context, ExitCode } from './context.ts';
import { helpOf } from './options.ts';

/** In the order in which one needs them. */
const COMMANDS = [
  demoCommand,
  stackCommand,
  configCommand,
  schemaCommand,
  setupCommand,
  runCommand,
  backfillCommand,
  statusCommand,
  deadLettersCommand,
];

/** The program without its actions' code: each command loads its own when it runs. */
export function createProgram(context: Context, exit: (code: ExitCode) => void): Command {
  const program = new Command('deltaferry')
    .description('Keeps a Databricks Delta table and a Postgres table in step through Kafka.')
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .configureHelp({ subcommandTerm: termOf })
    .configureOutput({
      writeOut: (text) => void context.stdout.write(text),
      // A command that is missing prints the help; what is wrong is reported in one place, for people and as JSON.
      writeErr: (text) => void context.stderr.write(text),
      outputError: () => {},
    })
    .exitOverride()
    .addHelpText(
      'after',
      `${helpOf([
        'deltaferry demo                       the whole thing on real input, in two minutes',
        'deltaferry stack up                   Kafka, registry, Postgres and Delta on this machine',
        'deltaferry setup && deltaferry run    keep the tables of deltaferry.yaml in step',
      ])}\n\nExit codes: 0 done, 1 failed, 2 wrong usage or configuration.`,
    );
  for (const add of COMMANDS) add(program, context, exit);
  return program;
}

/** `stack up|down|status`, `schema [table]`, `backfill <table>` */
function termOf(command: Command): string {
  const inner = command.commands.map((inner) => inner.name()).join('|');
  return [
    command.name(),
    ...(inner === '' ? [] : [inner]),
    ...command.registeredArguments.map((a) => (a.required ? `<${a.name()}>` : `[${a.name()}]`)),
  ].join(' ');
}

function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
