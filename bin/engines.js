// The jars of the local stack's Java engines: fetched or built by Maven once per version of their sources.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { tail } from './output.js';

const engines = [
  { name: 'kafka', what: 'Kafka 4.4 broker', megabytes: 43, result: 'target/jars' },
  { name: 'registry', what: 'Apicurio schema registry 3.0', megabytes: 115, result: 'target/app' },
  {
    name: 'warehouse',
    what: 'Spark 4.1 and Delta Lake 4.4 warehouse',
    megabytes: 207,
    result: 'target/warehouse.jar',
  },
];

/** Where the engines are kept: in the checkout, or in the user's cache when the package's folder is not ours. */
export function enginesHome(root) {
  if (process.env.DELTAFERRY_ENGINES) return process.env.DELTAFERRY_ENGINES;
  try {
    if (root.includes('node_modules')) throw new Error('a reinstall would wipe it');
    accessSync(root, constants.W_OK);
    return join(root, 'target', 'engines');
  } catch {
    return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'deltaferry', 'engines');
  }
}

/**
 * The folder of an engine, named by the hash of its sources: a running stack keeps its own jars while newer ones
 * are built, and a folder that exists is whole, since it is renamed into place last.
 * @param {string} root
 * @param {string} name
 */
export function engineFolder(root, name) {
  return join(enginesHome(root), `${name}-${sourceHash(join(root, 'stack', name))}`);
}

/** Which of the named engines (all by default) are not there in the version of the present sources. */
export function missingEngines(root, names = engines.map(({ name }) => name)) {
  return engines
    .filter(({ name }) => names.includes(name))
    .filter(({ name }) => !existsSync(engineFolder(root, name)))
    .map(({ name }) => name);
}

/**
 * Builds those of the named engines that are missing. The caller holds the lock.
 * @param {string} root
 * @param {string[] | undefined} names
 * @param {(line: string) => void} say
 */
export async function buildEngines(root, names, say) {
  const home = enginesHome(root);
  mkdirSync(home, { recursive: true });
  for (const leftover of readdirSync(home).filter((name) => name.startsWith('.building-'))) {
    rmSync(join(home, leftover), { recursive: true, force: true });
  }
  for (const name of missingEngines(root, names)) {
    const folder = engineFolder(root, name);
    await build(
      engines.find((engine) => engine.name === name),
      join(root, 'stack', name),
      folder,
      say,
    );
    removeOlder(home, name, folder);
  }
}

async function build({ name, what, megabytes, result }, source, folder, say) {
  const started = Date.now();
  say(`${what} (about ${megabytes} MB) ...`);
  // Built from a copy: what an interrupted Maven left, or a person's own build, is never taken for the result.
  const building = join(folder, '..', `.building-${name}`);
  cpSync(source, building, { recursive: true, filter: (path) => relative(source, path) !== 'target' });
  const { status, output } = await maven(building);
  if (status !== 0) throw new Error(`Maven failed for ${what}:\n${tail(output)}`);
  if (!existsSync(join(building, result)))
    throw new Error(`Maven made no ${result} for ${what}:\n${tail(output)}`);
  renameSync(building, folder);
  say(`${what}: done in ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

function maven(folder) {
  return new Promise((resolve, reject) => {
    const child = spawn('mvn', ['-B', '-q', '-ntp', '-DskipTests', 'package'], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    child.stdout.on('data', (chunk) => (output += chunk));
    child.stderr.on('data', (chunk) => (output += chunk));
    child.on('error', (error) => reject(new Error(`Maven could not be started: ${error.message}`)));
    child.on('close', (status) => resolve({ status, output }));
  });
}

/** The version before stays, and so does what was used within a day: a running stack opens its jars as it goes. */
function removeOlder(home, name, newest) {
  const dayAgo = Date.now() - 24 * 60 * 60 * 1000;
  const older = readdirSync(home)
    .map((entry) => join(home, entry))
    .filter((folder) => basename(folder).startsWith(`${name}-`) && folder !== newest)
    .map((folder) => ({ folder, changed: statSync(folder).mtimeMs }))
    .sort((a, b) => b.changed - a.changed);
  for (const { folder, changed } of older.slice(1)) {
    if (changed < dayAgo) rmSync(folder, { recursive: true, force: true });
  }
}

function sourceHash(source) {
  const hash = createHash('sha256');
  const visit = (folder) => {
    for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) =>
      a.name < b.name ? -1 : 1,
    )) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) {
        if (path !== join(source, 'target')) visit(path);
      } else {
        hash.update(relative(source, path)).update('\0').update(readFileSync(path)).update('\0');
      }
    }
  };
  visit(source);
  return hash.digest('hex').slice(0, 12);
}
