import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import type { LoggerOptions } from '../../src/service/logger.ts';

const LOGGER = new URL('../../src/service/logger.ts', import.meta.url).href;

/** What a process writes to standard error, which is no terminal. */
function written(options: Pick<LoggerOptions, 'level' | 'format'>): readonly string[] {
  const program = `
    const { createLogger } = await import(${JSON.stringify(LOGGER)});
    const logger = createLogger({
      ...${JSON.stringify(options)},
      clean: (line) => line.replaceAll('hunter2', '***'),
    });
    logger.debug('too little');
    logger.warn({ table: 'employees', password: 'hunter2' }, 'tried again');`;
  const { stderr, stdout, status } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  assert.equal(stdout, '');
  return stderr.trimEnd().split('\n');
}

describe('the log', () => {
  for (const format of ['json', 'auto'] as const)
    it(`is a JSON document a line, its secrets masked, where nobody watches: ${format}`, () => {
      const lines = written({ level: 'info', format });
      assert.equal(lines.length, 1);
      const { time, ...rest } = JSON.parse(lines[0]!) as Record<string, unknown>;
      assert.ok(Math.abs(Date.parse(String(time)) - Date.now()) < 60_000, String(time));
      assert.deepEqual(rest, { level: 40, table: 'employees', password: '***', msg: 'tried again' });
    });

  it('is readable for people: the time, the level in words, the message, and each field on its line', () => {
    const [first = '', ...fields] = written({ level: 'info', format: 'pretty' });
    assert.match(first, /^\[\d\d:\d\d:\d\d\.\d{3}\].*WARN.*tried again/);
    assert.equal(fields.length, 2);
    assert.match(fields[0]!, /table.*employees/);
    assert.match(fields[1]!, /password.*\*\*\*/);
  });
});
