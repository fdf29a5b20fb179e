import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startStack, stopStack } from '../src/stack/stack.ts';
import { longLivedEngines } from './support/engines-jvm.ts';

let dir: string | undefined;

/** One stack for the whole run, in a folder of its own; a watchdog stops it even if the run is killed. */
export async function globalSetup(): Promise<void> {
  if (process.env['DELTAFERRY_TEST_STACK'] !== undefined) return;
  dir = mkdtempSync(join(tmpdir(), 'deltaferry-test-'));
  const options = { dir, ownerPid: process.pid, wipeWithOwner: true };
  await longLivedEngines(() => startStack(options));
  process.env['DELTAFERRY_TEST_STACK'] = join(dir, 'stack.json');
}

export async function globalTeardown(): Promise<void> {
  if (dir === undefined) return;
  await stopStack({ dir, wipe: true });
  await rm(dir, { recursive: true, force: true });
}
