import { randomUUID } from 'node:crypto';
import type { Row } from '../../change/change.ts';
import type { TableMapping } from '../../change/table.ts';
import type { LoadStaging } from '../../ports/load-into-delta.ts';
import { textOf, type Databricks } from './client.ts';
import { mergeLine } from './merge-rows.ts';
import { listFiles, putFile, removeFile } from './staging.ts';

const UPLOAD_MS = 600_000;

/** Where the files of a load are; a folder of each slice is in it. */
export function loadFolder(volume: string, load: string): string {
  return `${volume}/backfill/${load}`;
}

export function createLoadStaging(client: Databricks, folder: string, mapping: TableMapping): LoadStaging {
  const lineOf = mergeLine(mapping);
  return {
    line: (row: Row) =>
      lineOf({
        op: 'snapshot',
        key: '',
        before: null,
        after: row,
        origin: '',
        table: mapping.name,
        position: 0,
        ts: 0,
        tx: null,
        load: null,
      }),
    async put(slice, partition, lines) {
      const path = `${folder}/${slice}/${partition}-${randomUUID()}.jsonl`;
      await putLoadFile(client, path, lines);
      return path;
    },
  };
}

export async function putLoadFile(
  client: Databricks,
  path: string,
  content: string | Iterable<Uint8Array>,
): Promise<void> {
  await putFile(client, path, content, {
    doing: 'staging rows',
    volume: path.slice(0, path.lastIndexOf('/')),
    timeoutMs: UPLOAD_MS,
  });
}

/** Removes the files of all folders of a load. */
export async function removeLoadFiles(client: Databricks, folder: string): Promise<void> {
  const list = async (path: string): Promise<readonly string[]> => {
    const files = await listFiles(client, path, { doing: 'listing staged files', volume: path });
    return files.map((file) => textOf(file['path']));
  };
  for (const slice of await list(folder).catch(() => []))
    for (const file of await list(slice.replace(/\/$/, '')))
      await removeFile(client, file, { doing: 'removing staged files', volume: folder });
}
