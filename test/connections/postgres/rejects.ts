import assert from 'node:assert/strict';
import { OperatorError, PoisonError, TransientError, type ErrorKind } from '../../../src/errors.ts';

/** The attempt must fail, with this kind of error. */
export async function rejectsAs(
  kind: ErrorKind,
  attempt: Promise<unknown>,
): Promise<TransientError | OperatorError | PoisonError> {
  const error = await attempt.then(
    () => assert.fail(`nothing was thrown, expected ${kind}`),
    (reason: unknown) => reason,
  );
  assert.ok(
    error instanceof TransientError || error instanceof OperatorError || error instanceof PoisonError,
    String(error),
  );
  assert.equal(error.kind, kind, error.message);
  return error;
}
