import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BugError } from '../../errors.ts';
import { textOf, type Databricks, type DatabricksRow, type Statement } from './client.ts';
import type { DatabricksWhere } from './errors.ts';
import { makeLocalFolder, removeLocalFolder, withLocalFolder } from './local-folder.ts';
import { linesOf, type SomeLines } from './local-lines.ts';

/** Files of one sink in a volume: written for one merge, then removed. */
export interface Staging {
  /** Uploads the text; answers the file's path. `partition` and `next` are of any part of the merge. */
  put(
    text: string,
    at: { readonly partition: number; readonly next: bigint },
    signal?: AbortSignal,
  ): Promise<string>;
  remove(path: string): Promise<void>;
  /** Removes the files of merges that are done, by whomever: those at or behind these offsets. */
  sweep(offsets: ReadonlyMap<number, bigint>, signal?: AbortSignal): Promise<void>;
}

const UPLOAD_MS = 300_000;

/** `folder`: such as `/Volumes/main/default/deltaferry/employees`; made by the first upload. */
export function createStaging(client: Databricks, folder: string): Staging {
  const where = (doing: string): DatabricksWhere => ({ doing, volume: folder });

  async function remove(path: string, signal?: AbortSignal): Promise<void> {
    await removeFile(client, path, { ...where('removing a staged file'), signal });
  }

  return {
    async put(text, { partition, next }, signal) {
      const path = `${folder}/${partition}-${next}-${randomUUID()}.jsonl`;
      await putFile(client, path, text, { ...where('staging rows'), timeoutMs: UPLOAD_MS, signal });
      return path;
    },

    remove: (path) => remove(path),

    async sweep(offsets, signal) {
      const files = await listFiles(client, folder, { ...where('looking for staged files'), signal });
      for (const { name } of files) {
        const found = /^(\d+)-(\d+)-[0-9a-f-]{36}\.jsonl$/.exec(textOf(name));
        if (found === null) continue;
        const [file, partition, next = '0'] = found;
        // A merge moves all its partitions together, and none of them ever goes back.
        if ((offsets.get(Number(partition)) ?? -1n) >= BigInt(next))
          await remove(`${folder}/${file}`, signal);
      }
    },
  };
}

type FileWhere = DatabricksWhere & Pick<Statement, 'signal'>;

/** Uploads it as the file of this path. */
export async function putFile(
  client: Databricks,
  path: string,
  content: string | Iterable<Uint8Array>,
  statement: Omit<Statement, 'sql' | 'localFolder'>,
): Promise<void> {
  await withLocalFolder(async (localFolder) => {
    const file = join(localFolder, 'rows.jsonl');
    await writeFile(file, content, { mode: 0o600 });
    const sql = `PUT ${quoted(file)} INTO ${quoted(path)} OVERWRITE`;
    await client.query({ ...statement, sql, localFolder });
  });
}

/** The lines of the file of this path from a byte on: it is fetched whole, which takes disk, and held in parts of so many bytes. */
export async function* getLines(
  client: Databricks,
  path: string,
  { from, bytes }: { readonly from: number; readonly bytes: number },
  statement: Omit<Statement, 'sql' | 'localFolder'>,
): AsyncGenerator<SomeLines> {
  const localFolder = await makeLocalFolder();
  try {
    const file = join(localFolder, 'piece');
    await client.query({ ...statement, sql: `GET ${quoted(path)} TO ${quoted(file)}`, localFolder });
    yield* linesOf(file, from, bytes);
  } finally {
    await removeLocalFolder(localFolder);
  }
}

export async function removeFile(client: Databricks, path: string, where: FileWhere): Promise<void> {
  // Nothing is read or written here, but without a folder the driver would not carry it out.
  await client.query({ ...where, sql: `REMOVE ${quoted(path)}`, localFolder: tmpdir() });
}

/** What is in a folder: rows with `name` and `path`. */
export async function listFiles(
  client: Databricks,
  folder: string,
  where: FileWhere,
): Promise<readonly DatabricksRow[]> {
  return await client.query({ ...where, sql: `LIST ${quoted(folder)}` });
}

/** These statements take no parameters. */
function quoted(path: string): string {
  if (/['\\\n]/.test(path))
    throw new BugError({
      code: 'STAGING_PATH',
      message: `The path ${path} cannot be written in a statement.`,
    });
  return `'${path}'`;
}
