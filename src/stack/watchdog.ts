// node watchdog.ts <stack folder> <owner's pid> <owner's start> wipe|keep: stops the stack when the owner is gone.
import { setTimeout as delay } from 'node:timers/promises';
import { isAlive } from './processes.ts';
import { StackFolder } from './stack-folder.ts';
import { stopStack } from './stack.ts';

const [dir = '', pid = '', start = '', data = ''] = process.argv.slice(2);
const owner = { pid: Number(pid), start };
const folder = new StackFolder(dir);

while (isAlive(owner)) {
  await delay(250);
  // The stack was stopped, or has another owner now. At first the record may not be written yet.
  const recorded = folder.started('watchdog');
  if (process.uptime() > 5 && recorded?.pid !== process.pid) process.exit(0);
}
if (folder.started('watchdog')?.pid === process.pid) await stopStack({ dir, wipe: data === 'wipe' });
