import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';

/** A process that drains for ever: only a second signal ends it. */
const DRAINING = `
import { abortOnSignals } from ${JSON.stringify(new URL('../../src/cli/signals.ts', import.meta.url).href)};
const signal = abortOnSignals(() => {});
signal.addEventListener('abort', () => setTimeout(() => console.log('draining'), 400));
setInterval(() => {}, 1000);
console.log('ready');
`;

for (const [signal, code] of [
  ['SIGTERM', 143],
  ['SIGINT', 130],
] as const)
  test(
    `signals: the first ${signal}, even doubled at once, drains; the second ends with ${code}`,
    { timeout: 20_000 },
    async () => {
      const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', DRAINING], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      try {
        const ended = once(child, 'exit');
        const lines = child.stdout.setEncoding('utf8')[Symbol.asyncIterator]() as AsyncIterator<string>;
        assert.match((await lines.next()).value as string, /ready/);
        child.kill(signal);
        child.kill(signal);
        assert.match((await lines.next()).value as string, /draining/);
        child.kill(signal);
        assert.deepEqual(await ended, [code, null]);
      } finally {
        child.kill('SIGKILL');
      }
    },
  );
