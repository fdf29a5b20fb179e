import assert from 'node:assert/strict';
import { backfillTable, type BackfillOptions, type BackfillResult } from '../../src/service/backfill.ts';
import type { Config } from '../../src/service/config/schema.ts';
import { createLogger } from '../../src/service/logger.ts';

/** A load of the first table by the function itself; by default a new one, which has a minute. */
export function loadHere(config: Config, more: Partial<BackfillOptions> = {}): Promise<BackfillResult> {
  return backfillTable({
    config,
    table: config.tables[0]!,
    mode: 'new',
    logger: createLogger({ level: 'error', format: 'json' }),
    signal: AbortSignal.timeout(60_000),
    onProgress: () => {},
    onTrouble: () => {},
    ...more,
  });
}

/** The same, in which nothing had to be tried again. */
export async function loadWithoutTrouble(
  config: Config,
  more: Partial<BackfillOptions> = {},
): Promise<BackfillResult> {
  const troubles: unknown[] = [];
  const result = await loadHere(config, { ...more, onTrouble: (error) => troubles.push(error) });
  assert.deepEqual(troubles, []);
  return result;
}
