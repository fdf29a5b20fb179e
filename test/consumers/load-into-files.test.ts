import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Row } from '../../src/change/change.ts';
import { createLoadIntoFiles } from '../../src/consumers/load-into-files.ts';
import { BugError, FencedError } from '../../src/errors.ts';
import type { FilePlace, LoadFile, LoadFiles, LoadStaging } from '../../src/ports/load-into-delta.ts';
import { seededRandom } from '../support/change-generator.ts';

const PARTITIONS = 3;
const RECORDS = 200;
/** Every fourth offset is no row of the load's. */
const rowAt = (partition: number, offset: number): Row | null =>
  offset % 4 === 3 ? null : [`p${partition} o${offset} ${'ß∂𝄞'.repeat(offset % 9)}`];

const linesOf = (chunks: Iterable<Uint8Array>): string[] =>
  Buffer.concat([...chunks])
    .toString()
    .split('\n')
    .slice(0, -1);

/** The control schema, the volume, and what goes wrong with them. */
function world(random: () => number) {
  const noted: LoadFile[] = [];
  const volume = new Map<string, readonly string[]>();
  let faults = false;
  const mayFail = (): void => {
    if (faults && random() < 0.1) throw new Error('an answer was lost');
  };
  const files: LoadFiles = {
    async claim() {
      const places = new Map<number, FilePlace & { readonly seq: number }>();
      for (let partition = 0; partition < PARTITIONS; partition++)
        places.set(partition, { next: 0n, skip: 0, seq: 0 });
      for (const { partition, seq, place } of noted) places.set(partition, { ...place, seq: seq + 1 });
      return places;
    },
    async note(file) {
      mayFail();
      if (noted.some(({ partition, seq }) => partition === file.partition && seq === file.seq))
        throw new FencedError({ code: 'OFFSET_MOVED', message: 'another process loads it' });
      noted.push(file);
      mayFail();
    },
    rows: async () => noted.reduce((sum, { rows }) => sum + rows, 0),
    complete: async () => noted.map((file) => ({ ...file, merged: false })),
    merged: async () => {},
    finish: async () => {},
  };
  const staging: LoadStaging = {
    line: (row) => String(row[0]),
    async put(slice, partition, lines) {
      mayFail();
      const path = `${slice}/${partition}-${volume.size}`;
      volume.set(path, linesOf(lines));
      mayFail();
      return path;
    },
  };
  return {
    noted,
    volume,
    files,
    staging,
    failing: (on: boolean) => (faults = on),
    inOrder: () => noted.toSorted((a, b) => a.partition - b.partition || a.seq - b.seq),
  };
}

/** What load-rows does: each partition from where it is claimed, in parts whose ends nobody can foretell. */
async function attempt(table: ReturnType<typeof createLoadIntoFiles>, random: () => number): Promise<number> {
  const from = await table.claim();
  let applied = await table.rows();
  const at = new Map([...from].map(([partition, next]) => [partition, Number(next)]));
  while ([...at.values()].some((offset) => offset < RECORDS))
    for (const [partition, offset] of at) {
      const next = Math.min(RECORDS, offset + 1 + Math.floor(random() * 17));
      const rows = Array.from({ length: next - offset }, (_, n) => rowAt(partition, offset + n)).filter(
        (row) => row !== null,
      );
      await table.append({ partition, expected: BigInt(offset), next: BigInt(next), rows });
      applied += rows.length;
      at.set(partition, next);
    }
  await table.finish?.();
  return applied;
}

describe('a load on its way into files', () => {
  it('has every row in one file and in order, whatever fails, whoever goes on, however the topic is cut', async () => {
    const seed = Number(process.env['LOAD_FILES_SEED'] ?? Date.now() % 1_000_000);
    const random = seededRandom(seed);
    for (let run = 0; run < 60; run++) {
      const hint = `seed ${seed} (set LOAD_FILES_SEED), run ${run}`;
      const { files, staging, volume, inOrder, failing } = world(random);
      const make = () => createLoadIntoFiles({ files, staging, partitions: PARTITIONS, rowsHeld: 3 * 7 });
      failing(true);
      let table = make();
      let counted = NaN;
      for (let tries = 0; Number.isNaN(counted); tries++) {
        if (tries === 200) failing(false);
        counted = await attempt(table, random).catch(() => NaN);
        if (random() < 0.5) table = make();
      }
      const expected: string[] = [];
      for (let partition = 0; partition < PARTITIONS; partition++)
        for (let offset = 0; offset < RECORDS; offset++) {
          const row = rowAt(partition, offset);
          if (row !== null) expected.push(String(row[0]));
        }
      const lines = inOrder().flatMap(({ path }) => volume.get(path) ?? []);
      assert.deepEqual(lines, expected, hint);
      assert.equal(counted, expected.length, `what is shown as applied; ${hint}`);
      for (const { rows, slice, seq, path } of inOrder()) {
        assert.ok(rows <= 7, hint);
        assert.equal(slice, Math.floor(seq / 10), hint);
        assert.equal(volume.get(path)?.length, rows, hint);
      }
    }
  });

  it('takes no batch but the next one', async () => {
    const { files, staging } = world(() => 0);
    const table = createLoadIntoFiles({ files, staging, partitions: PARTITIONS });
    await table.claim();
    await table.append({ partition: 0, expected: 0n, next: 3n, rows: [] });
    await assert.rejects(table.append({ partition: 0, expected: 0n, next: 3n, rows: [] }), BugError);
  });
});
