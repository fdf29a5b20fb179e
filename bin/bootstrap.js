// Makes a bare checkout ready: `node bin/bootstrap.js dependencies|engines [engine ...]`. Plain JavaScript for Node 20.
import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dependenciesReady, installDependencies, linkPostgresLibraries } from './dependencies.js';
import { buildEngines, engineFolder, enginesHome, missingEngines } from './engines.js';
import { withLock } from './lock.js';
import { MissingRequirement, checkJava, checkMaven, checkNode, node24 } from './requirements.js';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Installed as a package there is nothing to install, and Node refuses to strip types. */
export const installedAsPackage = root.split(/[\\/]/).includes('node_modules');

/**
 * Installs what is missing, says so on stderr, and does nothing when all is there. Safe to interrupt at any point
 * and to run twice at once.
 * @param {{need: 'dependencies' | 'engines', engines?: string[]}} options need `engines` includes the dependencies;
 *   engines names those wanted, all by default
 * @returns {Promise<{node: string}>} the Node 24 that runs the sources
 * @throws {MissingRequirement} when Node, Java or Maven is missing or too old
 */
export async function prepare({ need, engines }) {
  checkNode();
  // Before minutes of downloads.
  if (need === 'engines') {
    checkJava();
    if (missingEngines(root, engines).length > 0) checkMaven();
  }
  const hasLock = !installedAsPackage && existsSync(join(root, 'package-lock.json'));
  if (hasLock && !dependenciesReady(root)) {
    await withLock(join(root, 'target', 'dependencies.lock'), sayWaiting, async () => {
      if (!dependenciesReady(root)) installDependencies(root, say);
    });
  }
  if (need === 'engines') {
    if (installedAsPackage) linkPostgresLibraries(root);
    if (missingEngines(root, engines).length > 0) {
      await withLock(join(enginesHome(root), '.lock'), sayWaiting, () => buildEngines(root, engines, say));
    }
  }
  return { node: node24(root) };
}

/** Runs a command's main function: a missing requirement is one line and exit code 2, a failure exit code 1. */
export async function main(work) {
  try {
    process.exitCode = await work();
  } catch (error) {
    process.stderr.write(`deltaferry: ${error.message}\n`);
    process.exitCode = error instanceof MissingRequirement ? 2 : 1;
  }
}

function say(line) {
  process.stderr.write(`bootstrap: ${line}\n`);
}

function sayWaiting(pid) {
  say(`waiting for the one that is already running (pid ${pid})`);
}

if (process.argv[1] !== undefined && fileURLToPath(import.meta.url) === realpathSync(process.argv[1])) {
  const [need = 'dependencies', ...names] = process.argv.slice(2);
  await main(async () => {
    const engines = names.length > 0 ? names : undefined;
    await prepare({ need, engines });
    // For the stack, which asks this file where its engines are.
    if (engines !== undefined) {
      process.stdout.write(
        `${JSON.stringify(Object.fromEntries(names.map((name) => [name, engineFolder(root, name)])))}\n`,
      );
    }
    return 0;
  });
}
