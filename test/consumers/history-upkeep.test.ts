import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { tendHistory, type HistoryUpkeepOptions } from '../../src/consumers/history-upkeep.ts';
import { TransientError } from '../../src/errors.ts';

const RETENTION_MS = 1000;

interface Round {
  /** What the upkeep asked to be forgotten, in order. */
  readonly asked: readonly number[];
  readonly failures: readonly unknown[];
  readonly forgot: readonly number[];
}

/** Rounds until `forget` has been asked so often, or a failure was told, whatever `until` says. */
async function rounds(
  given: Partial<HistoryUpkeepOptions> & { readonly forget?: (call: number) => Promise<number> },
  until: (seen: Round) => boolean,
): Promise<Round> {
  const stop = new AbortController();
  const asked: number[] = [];
  const failures: unknown[] = [];
  const forgot: number[] = [];
  const look = (): void => {
    if (until({ asked, failures, forgot })) stop.abort(new Error('enough'));
  };
  const { forget = () => Promise.resolve(0), ...options } = given;
  await tendHistory(
    {
      deletes: {
        async forget(olderThanMs) {
          asked.push(olderThanMs);
          const count = await forget(asked.length);
          look();
          return count;
        },
      },
      retentionMs: () => Promise.resolve(RETENTION_MS),
      everyMs: 0,
      pauseMs: 0,
      onForgot(count) {
        forgot.push(count);
        look();
      },
      onFailed(error) {
        failures.push(error);
        look();
      },
      ...options,
    },
    stop.signal,
  );
  return { asked, failures, forgot };
}

describe('deletes that a history remembers', () => {
  it('are kept for twice as long as the topic keeps its changes', async () => {
    const { asked } = await rounds({}, (seen) => seen.asked.length === 3);
    assert.deepEqual(asked, [2 * RETENTION_MS, 2 * RETENTION_MS, 2 * RETENTION_MS]);
  });

  it('are kept for ever where the topic keeps its changes for ever', async () => {
    let looked = 0;
    const stop = new AbortController();
    await tendHistory(
      {
        deletes: {
          forget: () => Promise.reject(new assert.AssertionError({ message: 'one was forgotten' })),
        },
        retentionMs() {
          if (++looked === 3) stop.abort();
          return Promise.resolve(null);
        },
        everyMs: 0,
        onFailed: (error) => assert.fail(error as Error),
      },
      stop.signal,
    );
    assert.equal(looked, 3);
  });

  it('are forgotten step by step until none is left, and that is told once', async () => {
    const steps = [1000, 1000, 7, 0];
    const { asked, forgot } = await rounds(
      { forget: (call) => Promise.resolve(steps[call - 1] ?? 0) },
      (seen) => seen.forgot.length === 1,
    );
    assert.deepEqual({ steps: asked.length, forgot }, { steps: 4, forgot: [2007] });
  });

  it('are forgotten later where it fails, which is told and ends nothing', async () => {
    const refused = new TransientError({ code: 'UNREACHABLE', message: 'no connection' });
    let looked = 0;
    const { asked, failures, forgot } = await rounds(
      {
        retentionMs: () => (++looked === 1 ? Promise.reject(refused) : Promise.resolve(RETENTION_MS)),
        forget: (call) => (call === 1 ? Promise.reject(refused) : Promise.resolve(call === 2 ? 5 : 0)),
      },
      (seen) => seen.forgot.length === 1,
    );
    assert.deepEqual(failures, [refused, refused]);
    assert.deepEqual({ asked: asked.length, forgot }, { asked: 3, forgot: [5] });
  });

  it(
    'keep nobody from stopping, though neither Kafka nor Postgres answers',
    { timeout: 10_000 },
    async () => {
      for (const hanging of ['retention', 'forget']) {
        const stop = new AbortController();
        const never = <T>(): Promise<T> => {
          setImmediate(() => stop.abort(new Error('told to stop')));
          return new Promise<T>(() => {});
        };
        await tendHistory(
          {
            deletes: { forget: never },
            retentionMs: hanging === 'retention' ? never : () => Promise.resolve(RETENTION_MS),
            onFailed: () => assert.fail('it is no trouble'),
          },
          stop.signal,
        );
      }
    },
  );
});
