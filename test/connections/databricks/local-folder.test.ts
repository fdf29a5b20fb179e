import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { removeLeftBehind, withLocalFolder } from '../../../src/connections/databricks/local-folder.ts';

const HOUR = 3_600_000;

describe('local files of a statement', () => {
  const given = process.env['TMPDIR'];
  let place: string;
  before(() => {
    place = mkdtempSync(join(tmpdir(), 'deltaferry-test-'));
    process.env['TMPDIR'] = place;
  });
  after(() => {
    if (given === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = given;
    rmSync(place, { recursive: true });
  });

  it('go with the work, also where it fails', async () => {
    const answer = await withLocalFolder((folder) => {
      writeFileSync(join(folder, 'rows'), 'x');
      assert.equal(readdirSync(place).length, 1);
      return Promise.resolve(42);
    });
    assert.equal(answer, 42);
    await assert.rejects(
      withLocalFolder((folder) => {
        writeFileSync(join(folder, 'rows'), 'x');
        return Promise.reject(new Error('no'));
      }),
      /^Error: no$/,
    );
    assert.deepEqual(readdirSync(place), []);
  });

  it('that a killed process has left go a day later; no others', async () => {
    const old = new Date(Date.now() - 25 * HOUR);
    for (const name of ['deltaferry-files-old', 'deltaferry-files-young', 'deltaferry-else', 'files']) {
      const folder = join(place, name);
      mkdirSync(folder);
      writeFileSync(join(folder, 'rows'), 'x');
      if (!name.endsWith('young')) utimesSync(folder, old, old);
    }
    await removeLeftBehind();
    assert.deepEqual(readdirSync(place).sort(), ['deltaferry-else', 'deltaferry-files-young', 'files']);
    await removeLeftBehind(Date.now() + 25 * HOUR);
    assert.deepEqual(readdirSync(place).sort(), ['deltaferry-else', 'files']);
  });
});
