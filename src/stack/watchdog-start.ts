import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { StackError } from './errors.ts';
import { identify, startDetached } from './processes.ts';
import type { StackFolder } from './stack-folder.ts';

/**
 * Starts the small process that stops the stack when its owner is gone. A new owner's watchdog replaces the one
 * before, which ends when it finds its record changed.
 */
export async function startWatchdog(folder: StackFolder, ownerPid: number, wipe: boolean): Promise<void> {
  const owner = identify(ownerPid);
  if (owner === undefined) {
    throw new StackError({
      code: 'STACK_OWNER_GONE',
      message: `The stack's owner, process ${ownerPid}, is gone.`,
    });
  }
  // Beside this file, as source or as built.
  const script = fileURLToPath(new URL(`./watchdog${extname(import.meta.url)}`, import.meta.url));
  const args = [script, folder.dir, String(owner.pid), owner.start, wipe ? 'wipe' : 'keep'];
  const id = await startDetached(
    { file: process.execPath, args, cwd: folder.dir },
    folder.logFile('watchdog'),
  );
  if (id !== undefined) folder.recordStarted('watchdog', { ...id, engine: '' });
}
