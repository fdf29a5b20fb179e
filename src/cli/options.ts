import type { Command } from 'commander';
import { UsageError } from '../errors.ts';
import type { LoadOptions } from '../service/config/load.ts';
import type { Context } from './context.ts';

/** The flags that every command takes. */
export interface OutputOptions {
  readonly json?: boolean;
  readonly debug?: boolean;
}

/** Those of the commands that read the configuration. */
export interface SharedOptions extends OutputOptions {
  readonly config?: string;
  readonly set?: Readonly<Record<string, string>>;
  readonly stack?: string;
}

/** Adds the flags of every command, and examples under its help. */
export function plain(command: Command, examples: readonly string[]): Command {
  return command
    .option('--json', 'print one JSON document instead of text')
    .option('--debug', 'print stack traces with errors')
    .addHelpText('after', helpOf(examples));
}

/** The same for a command that reads the configuration. */
export function shared(command: Command, examples: readonly string[]): Command {
  command
    .option('-c, --config <file>', 'configuration file (default: deltaferry.yaml here, if there is one)')
    .option('--set <path=value>', 'set one configuration field; repeatable', collect);
  return plain(command, examples);
}

/** For commands that connect: which local stack stands in for connections that are not configured. */
export function connecting(command: Command): Command {
  return command.option(
    '--stack <dir>',
    'local stack to use for connections not configured (default: .deltaferry)',
  );
}

export function helpOf(examples: readonly string[]): string {
  return `\nExamples:\n${examples.map((example) => `  $ ${example}`).join('\n')}`;
}

/** What the flags mean for loading the configuration; `more` are fields that dedicated flags set. */
export function loadOptions(
  options: SharedOptions,
  { cwd, env }: Context,
  more: Readonly<Record<string, string | undefined>> = {},
): LoadOptions {
  const given = Object.entries(more).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return {
    cwd,
    env,
    overrides: { ...options.set, ...Object.fromEntries(given) },
    ...(options.config === undefined ? {} : { file: options.config }),
    ...(options.stack === undefined ? {} : { stackDir: options.stack }),
  };
}

function collect(text: string, before: Readonly<Record<string, string>> = {}): Record<string, string> {
  const equals = text.indexOf('=');
  // Not commander's own error, which repeats the text: it may hold a secret.
  if (equals < 1)
    throw new UsageError({
      code: 'USAGE',
      message: '--set takes path=value',
      remedy:
        'For instance --set kafka.brokers=localhost:9092; `deltaferry config reference` lists every path.',
    });
  return { ...before, [text.slice(0, equals).trim()]: text.slice(equals + 1) };
}
