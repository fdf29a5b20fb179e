import { CommanderError, type Command } from 'commander';
import { remedyFor } from '../error-policy.ts';
import { DeltaferryError, describeError } from '../errors.ts';
import type { Context, ExitCode } from './context.ts';
import { Interrupted } from './signals.ts';

interface Failure {
  readonly exitCode: ExitCode;
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
  /** Of a configuration: every problem by itself. */
  readonly problems?: unknown;
  readonly stack?: string;
}

/** Where it happened, and where to say so. */
interface Place {
  readonly args: readonly string[];
  readonly program: Command;
  readonly context: Pick<Context, 'stdout' | 'stderr'>;
  /** Takes the secrets out of a text. */
  readonly clean: (text: string) => string;
}

/** Says what went wrong and what to do; answers the exit code. */
export function reportFailure(error: unknown, { args, program, context, clean }: Place): ExitCode {
  const failure = failureOf(error, args, program);
  const { exitCode, code, message, remedy, problems, stack } = failure;
  const debug = isGiven('--debug', args);
  if (isGiven('--json', args)) {
    const shown = {
      code,
      message,
      remedy,
      ...(problems === undefined ? {} : { problems }),
      ...(debug ? { stack } : {}),
    };
    context.stdout.write(clean(`${JSON.stringify({ error: shown }, null, 2)}\n`));
  } else {
    context.stderr.write(clean(`error: ${message}\n→ ${remedy}\n  code: ${code}\n`));
    if (debug && stack !== undefined) context.stderr.write(clean(`${stack}\n`));
  }
  return exitCode;
}

const UNEXPECTED = 'This is not an error we foresaw: run it again with --debug and report what it prints.';

const INTERRUPTED = 'What it had started is stopped; run it again whenever you like.';

function failureOf(error: unknown, args: readonly string[], program: Command): Failure {
  if (error instanceof CommanderError) return usageFailure(error, commandOf(args, program));
  if (error instanceof Interrupted)
    return { exitCode: error.exitCode, code: 'INTERRUPTED', message: error.message, remedy: INTERRUPTED };
  const stack = error instanceof Error && error.stack !== undefined ? { stack: stackOf(error) } : {};
  if (!(error instanceof DeltaferryError))
    return { exitCode: 1, code: 'UNEXPECTED', message: describeError(error), remedy: UNEXPECTED, ...stack };
  const { problems } = error as { problems?: unknown };
  return {
    exitCode: error.kind === 'usage' ? 2 : 1,
    code: error.code,
    message: error.kind === 'usage' ? error.message : withCauses(error),
    remedy: remedyFor(error),
    ...(problems === undefined ? {} : { problems }),
    ...stack,
  };
}

/** The message and what it does not say itself of its causes: adapters mostly quote them. */
function withCauses(error: Error): string {
  let text = error.message;
  for (let at = error.cause; at instanceof Error; at = at.cause)
    if (!text.includes(at.message)) text = `${text.replace(/\.$/, '')}: ${at.message}`;
  return text;
}

/** Commander's own: `error: unknown option '--onyl'\n(Did you mean --only?)` */
function usageFailure(error: CommanderError, command: readonly string[]): Failure {
  const message = error.message.replace(/^error: /, '').replace(/\n\((Did you mean .*)\)$/, '; $1');
  return {
    exitCode: 2,
    code: 'USAGE',
    message: message.replace('Did you mean', 'did you mean'),
    remedy: `See \`${['deltaferry', ...command, '--help'].join(' ')}\`.`,
  };
}

/** The words that do name a command, or a group of them. */
function commandOf(args: readonly string[], program: Command): string[] {
  const [word, ...rest] = args;
  const inner = program.commands.find((command) => command.name() === word);
  return inner === undefined ? [] : [inner.name(), ...commandOf(rest, inner)];
}

function stackOf(error: Error): string {
  const own = error.stack ?? '';
  return error.cause instanceof Error ? `${own}\ncaused by ${stackOf(error.cause)}` : own;
}

/** Read from the words themselves: the flags may be what could not be parsed. */
function isGiven(flag: string, args: readonly string[]): boolean {
  const end = args.indexOf('--');
  return (end < 0 ? args : args.slice(0, end)).includes(flag);
}
