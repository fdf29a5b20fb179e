import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startStack, stopStack } from '../src/stack/stack.ts';

let dir: string | undefined;

/**
 * The statements are small and many. Java's optimising compiler does not win back what it costs; without it the code
 * cache would have 48 MB, of which the first few files fill more, and a quarter of the warehouse's time would go into
 * throwing code away and compiling it again. Nor does planning a statement anew after each of its stages pay.
 */
const WAREHOUSE_JVM =
  '-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -Dspark.sql.adaptive.enabled=false';

/** One stack for the whole run, in a folder of its own; a watchdog stops it even if the run is killed. */
export async function globalSetup(): Promise<void> {
  if (process.env['DELTAFERRY_TEST_STACK'] !== undefined) return;
  dir = mkdtempSync(join(tmpdir(), 'deltaferry-test-'));
  process.env['DELTAFERRY_WAREHOUSE_JVM'] ??= WAREHOUSE_JVM;
  await startStack({ dir, ownerPid: process.pid, wipeWithOwner: true });
  process.env['DELTAFERRY_TEST_STACK'] = join(dir, 'stack.json');
}

export async function globalTeardown(): Promise<void> {
  if (dir === undefined) return;
  await stopStack({ dir, wipe: true });
  await rm(dir, { recursive: true, force: true });
}
