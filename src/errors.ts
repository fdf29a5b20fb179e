/**
 * Every failure the service can name. The kind says what happens next (src/error-policy.ts decides);
 * the code is stable and searchable; the message says what happened, to which table, topic or key.
 */
export type ErrorKind =
  /** The other side may answer next time: retried with backoff, never dead-lettered. */
  | 'transient'
  /** Only a person can mend it: the partition or table stops and readiness says the remedy. */
  | 'operator'
  /** This one record can never be applied: dead-lettered with its cause. */
  | 'poison'
  /** Another replica owns the work now: what was in hand is dropped. */
  | 'fenced'
  /** Wrong flags or configuration: exit code 2, nothing started. */
  | 'usage'
  /** Our own mistake. */
  | 'bug';

export interface ErrorDetails {
  readonly code: string;
  readonly message: string;
  /** What the operator should do, as an imperative sentence. */
  readonly remedy?: string;
  readonly cause?: unknown;
}

export abstract class DeltaferryError extends Error {
  abstract readonly kind: ErrorKind;
  readonly code: string;
  readonly remedy: string | undefined;

  constructor(details: ErrorDetails) {
    super(details.message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = details.code;
    this.remedy = details.remedy;
  }
}

export class TransientError extends DeltaferryError {
  readonly kind = 'transient';
}

export class OperatorError extends DeltaferryError {
  readonly kind = 'operator';
}

export class PoisonError extends DeltaferryError {
  readonly kind = 'poison';
}

export class FencedError extends DeltaferryError {
  readonly kind = 'fenced';
}

export class UsageError extends DeltaferryError {
  readonly kind = 'usage';
}

export class BugError extends DeltaferryError {
  readonly kind = 'bug';
}

/** The error and its causes in one line, for logs and dead-letter headers. */
export function describeError(error: unknown): string {
  const parts: string[] = [];
  for (let at: unknown = error; at !== undefined && at !== null && parts.length < 5;) {
    const text = at instanceof Error ? at.message : typeof at === 'string' ? at : JSON.stringify(at);
    // Adapters mostly quote the driver's words themselves.
    if (!parts.some((part) => part.includes(text))) parts.push(text);
    at = at instanceof Error ? at.cause : undefined;
  }
  return parts.join(': ');
}
