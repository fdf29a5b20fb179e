import { fork, type ChildProcess } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  BugError,
  DeltaferryError,
  FencedError,
  OperatorError,
  PoisonError,
  TransientError,
  UsageError,
  type ErrorDetails,
  type ErrorKind,
} from '../errors.ts';
import type { Load, Loader } from '../ports/load.ts';
import type { Config } from './config/schema.ts';

/** What the loading process is told, once. */
export interface LoadOrder {
  readonly config: Config;
  /** The table's name in it. */
  readonly table: string;
  readonly load: Load;
  /** Most rows of a piece. */
  readonly rowsPerPiece: number | undefined;
}

/** What it answers. */
export type LoadReport =
  | { readonly kind: 'applied'; readonly rows: number }
  | { readonly kind: 'retrying'; readonly error: SentError }
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly error: SentError };

/** An error on its way between processes. */
export interface SentError {
  readonly kind: ErrorKind;
  readonly code: string;
  readonly message: string;
  readonly remedy?: string | undefined;
}

const END_MS = 10_000;

/** Loads in a process of its own: reading Delta and writing Postgres then use a core each. */
export function createLoadProcess({
  config,
  table,
  rowsPerPiece,
  onRetry,
}: {
  readonly config: Config;
  readonly table: string;
  readonly rowsPerPiece?: number | undefined;
  readonly onRetry: (error: unknown) => void;
}): Loader {
  return {
    async run(load, onApplied, signal) {
      signal.throwIfAborted();
      // Beside this file, as source or as built.
      const script = fileURLToPath(new URL(`./load-worker${extname(import.meta.url)}`, import.meta.url));
      const child = fork(script, {
        serialization: 'advanced',
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      });
      let outcome: { readonly error: DeltaferryError | null } | null = null;
      child.on('message', (message) => {
        const report = message as LoadReport;
        switch (report.kind) {
          case 'applied':
            return onApplied(report.rows);
          case 'retrying':
            return onRetry(receivedError(report.error));
          case 'done':
            outcome = { error: null };
            return;
          case 'failed':
            outcome = { error: receivedError(report.error) };
            return;
          default:
            return report satisfies never;
        }
      });
      const ended = ending(child);
      let late: NodeJS.Timeout | undefined;
      const stop = (): void => {
        child.kill('SIGTERM');
        late = setTimeout(() => child.kill('SIGKILL'), END_MS);
      };
      signal.addEventListener('abort', stop, { once: true });
      const order: LoadOrder = { config, table, load, rowsPerPiece };
      child.send(order, () => {});
      const how = await ended;
      signal.removeEventListener('abort', stop);
      clearTimeout(late);
      signal.throwIfAborted();
      const { error } = (outcome as { readonly error: DeltaferryError | null } | null) ?? {
        error: diedEarly(load, how),
      };
      if (error !== null) throw error;
    },
  };
}

function ending(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
}

export function diedEarly({ id, name }: Load, how: string): OperatorError {
  return new OperatorError({
    code: 'LOAD_PROCESS_ENDED',
    message: `The process that loads ${name} (load ${id}) ended before it was done: ${how}.`,
    remedy: `Go on where it stopped: \`deltaferry backfill ${name} --resume\`.`,
  });
}

const CLASSES: Record<ErrorKind, new (details: ErrorDetails) => DeltaferryError> = {
  transient: TransientError,
  operator: OperatorError,
  poison: PoisonError,
  fenced: FencedError,
  usage: UsageError,
  bug: BugError,
};

export function sentError(error: unknown): SentError {
  if (!(error instanceof DeltaferryError))
    return {
      kind: 'bug',
      code: 'UNEXPECTED',
      message: error instanceof Error ? error.message : String(error),
    };
  const { kind, code, message, remedy } = error;
  return { kind, code, message, remedy };
}

function receivedError({ kind, code, message, remedy }: SentError): DeltaferryError {
  return new CLASSES[kind]({ code, message, ...(remedy === undefined ? {} : { remedy }) });
}
