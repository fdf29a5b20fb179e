import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Endpoints } from '../../src/stack/endpoints.ts';
import { startStack, stopStack } from '../../src/stack/stack.ts';

/** A Postgres server of one test file's own: nothing of others is open there, and what is done to it is done to nobody else. */
export interface OwnPostgres {
  readonly postgres: Endpoints['postgres'];
  stop(): Promise<void>;
}

export async function startOwnPostgres(): Promise<OwnPostgres> {
  const dir = mkdtempSync(join(tmpdir(), 'deltaferry-postgres-'));
  // As root, Postgres runs as nobody.
  chmodSync(dir, 0o755);
  async function stop(): Promise<void> {
    await stopStack({ dir, wipe: true });
    rmSync(dir, { recursive: true, force: true });
  }
  try {
    const { postgres } = await startStack({ dir, parts: ['postgres'], ownerPid: process.pid });
    return { postgres, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
