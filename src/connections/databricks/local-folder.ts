import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PREFIX = 'deltaferry-files-';
/** A file is there for as long as it is sent or fetched; what is so old is of a process that was killed. */
const LEFT_BEHIND_MS = 24 * 60 * 60_000;

let swept: Promise<void> | null = null;

/** Runs the work with a folder of its own below the system's temporary one, which goes with it. */
export async function withLocalFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await makeLocalFolder();
  try {
    return await work(folder);
  } finally {
    await removeLocalFolder(folder);
  }
}

export async function makeLocalFolder(): Promise<string> {
  await (swept ??= removeLeftBehind());
  return await mkdtemp(join(tmpdir(), PREFIX));
}

export async function removeLocalFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
}

/** Removes the folders of processes that were killed; those of other users stay. */
export async function removeLeftBehind(now = Date.now()): Promise<void> {
  const names = await readdir(tmpdir()).catch(() => []);
  for (const name of names.filter((each) => each.startsWith(PREFIX))) {
    const folder = join(tmpdir(), name);
    try {
      if (now - (await stat(folder)).mtimeMs > LEFT_BEHIND_MS) await rm(folder, { recursive: true });
    } catch {
      // Somebody else's, or gone meanwhile.
    }
  }
}
