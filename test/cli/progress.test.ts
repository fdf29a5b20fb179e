import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createProgress } from '../../src/cli/progress.ts';

function recorder(isTTY: boolean) {
  const output = { isTTY, columns: 20, text: '', write: (text: string) => (output.text += text) };
  return output;
}

test('progress: on a terminal the state is rewritten in place and cut to the width', () => {
  const output = recorder(true);
  const progress = createProgress(output);
  progress.progress('1 of 3');
  progress.progress(`2 of 3 ${'x'.repeat(50)}`);
  progress.line('done');
  progress.end();
  assert.equal(output.text, `\r\u001B[K1 of 3\r\u001B[K2 of 3 xxxxxxxxxxxx\r\u001B[Kdone\n`);
});

test('progress: elsewhere plain lines, few of them, and the last state before what follows', () => {
  const output = recorder(false);
  let now = 0;
  const progress = createProgress(output, () => now);
  for (const [at, text] of [
    [0, 'a'],
    [500, 'b'],
    [1999, 'c'],
    [2001, 'd'],
    [2500, 'e'],
  ] as const) {
    now = at;
    progress.progress(text);
  }
  progress.line('done');
  progress.progress('f');
  progress.end();
  assert.equal(output.text, 'a\nd\ne\ndone\nf\n');
});
