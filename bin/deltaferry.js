#!/usr/bin/env node
// The command: makes the checkout ready, then runs the program with the pinned Node 24.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { installedAsPackage, main, prepare, root } from './bootstrap.js';
import { runInPlace } from './child.js';
import { serviceEnv, serviceFlags } from './node-flags.js';

await main(async () => {
  const args = process.argv.slice(2);
  const { node } = await prepare({ need: needsEngines(args) ? 'engines' : 'dependencies' });
  const built = join(root, 'dist', 'cli', 'main.js');
  const program = installedAsPackage && existsSync(built) ? built : join(root, 'src', 'cli', 'main.ts');
  return runInPlace(node, [...serviceFlags, program, ...args], serviceEnv);
});

/** Asked for here, so that a missing Java is told before anything else happens. */
function needsEngines(args) {
  if (args.includes('--help') || args.includes('-h')) return false;
  const words = args.filter((arg) => !arg.startsWith('-'));
  // A look at a demo that was kept finds everything running.
  const looks = args.some((arg) => arg === '--look' || arg.startsWith('--look='));
  return (words[0] === 'demo' && !looks) || (words[0] === 'stack' && words[1] === 'up');
}
