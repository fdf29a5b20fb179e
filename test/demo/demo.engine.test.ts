import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import pino from 'pino';
import { openDatabricks } from '../../src/connections/databricks/client.ts';
import { runDemo, type DemoOptions } from '../../src/demo/demo.ts';
import { databricksOptions } from '../../src/service/connect.ts';
import { stackStatus, stopStack } from '../../src/stack/stack.ts';
import { deltaferry, type Ended } from '../cli/spawned.ts';
import { enginesForTests } from '../support/engines-jvm.ts';

const root = mkdtempSync(join(tmpdir(), 'deltaferry-demo-'));
const dir = join(root, 'stack');
const input = join(root, 'input.csv');
/** One version each: a single commit. */
const smallInput = join(root, 'small.csv');

/** Twenty people with one to three versions, the third equal to the second, every fourth gone. */
function inputText(): string {
  const lines = ['emp_id,name,salary,from_date,to_date'];
  for (let id = 1; id <= 20; id += 1) {
    const versions = 1 + (id % 3);
    for (let k = 0; k < versions; k += 1) {
      const last = k === versions - 1;
      const salary = 1000 * id + Math.min(k, 1);
      lines.push(
        `${id},Person ${id},${salary}.5,${2000 + k}-01-01,${last && id % 4 !== 0 ? '' : `${2001 + k}-01-01`}`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}

async function demo(more: Partial<DemoOptions> = {}) {
  const lines: string[] = [];
  const run = runDemo({
    input,
    keep: false,
    dir,
    report: { line: (text) => lines.push(text), progress: () => {} },
    logger: pino({ level: 'silent' }),
    conceal: () => {},
    signal: new AbortController().signal,
    ...more,
  });
  return { outcome: (await Promise.allSettled([run]))[0], text: lines.join('\n') };
}

/** Runs what a kept demo prints, where only Node is to be had: what it shows must be there. */
async function assertEachPartCanBeLookedAt(text: string): Promise<void> {
  const shows = {
    Kafka:
      /^The newest 10 records of topic employees_changes:\n.*\n\d:\d+ +\d+ +insert +delta +2\S+ +.* → \{"emp_id":"\d+","name":"Person/,
    registry: /^Subject employees_changes-value: version 1, .*\n.*\nop +\{/,
    Postgres: /^The first 10 versions of public\.employees:\nemp_id +name +.*\n1 +Person 1 +1000\.50 +/,
    Delta: /^The first 10 rows of default\.employees:\nemp_id +name +salary\n1 +Person 1 +1000\.50$/m,
    all: /^employees \(both, topic employees_changes\)$/m,
  };
  for (const [part, shown] of Object.entries(shows)) {
    const printed = new RegExp(`^ {2}${part} +npx deltaferry (.*)$`, 'm').exec(text)?.[1];
    assert.ok(printed, `${part} is not among what one can look at:\n${text}`);
    const { stdout, stderr, code } = await deltaferry(printed.split(' '), process.cwd());
    assert.match(stdout, shown, stderr);
    assert.equal(code, 0);
  }
}

async function assertNothingLeft(): Promise<void> {
  const { parts } = await stackStatus({ dir });
  assert.deepEqual(new Set(parts.map(({ state }) => state)), new Set(['stopped']));
  assert.equal(existsSync(join(dir, 'stack.json')), false);
}

describe('the demo', () => {
  before(() => {
    // A JVM that lives for seconds does not win its optimising compiler's time back.
    enginesForTests();
    // As root, Postgres runs as nobody, who has to get there.
    chmodSync(root, 0o755);
    writeFileSync(input, inputText());
    writeFileSync(smallInput, inputText().replaceAll(/^.*,200[1-9]-01-01,.*\n|(?<=,)2001-01-01$/gm, ''));
  });

  after(async () => {
    await stopStack({ dir, wipe: true });
    rmSync(root, { recursive: true, force: true });
  });

  it('replays a file, proves the history equal to it and stops what it started', async () => {
    const { outcome, text } = await demo();
    assert.deepEqual(outcome, { status: 'fulfilled', value: 0 }, text);
    assert.match(text, /^20 employees with 41 versions, to be replayed as 4 Delta commits\.$/m);
    // Seven of the versions are no change; five of the people leave.
    assert.match(
      text,
      /^Replayed truth: {3}34 versions, 15 of them current\.\nPostgres history: 34 versions, 15 of them current\.$/m,
    );
    assert.match(text, /visible in Postgres: p50 [\d,]+ ms, p99 [\d,]+ ms\.$/m);
    assert.match(text, /^VERIFIED: both hold the same, version by version\.$/m);
    // The year after: fourteen rises, one leaves and comes back, twenty are hired.
    assert.match(
      text,
      /^Published 36 changes, merged 36, .* visible in Delta: p50 [\d,]+ ms, p99 [\d,]+ ms\.$/m,
    );
    assert.match(text, /^Postgres: 35 current employees\.\nDelta: 35 current employees\.$/m);
    assert.match(
      text,
      /^VERIFIED: both hold the same, key by key; every change crossed once, and none came back\.$/m,
    );
    await assertNothingLeft();
  });

  it('goes from Postgres to Delta alone, and answers 1 and names the key where one row of Delta is wrong', async () => {
    const { outcome, text } = await demo({
      only: 'postgres-to-delta',
      beforeVerify: {
        async 'postgres-to-delta'(config) {
          const person = openDatabricks(databricksOptions(config));
          await person.query({
            doing: 'changing a row by hand',
            sql: 'UPDATE default.employees SET salary = salary + 0.01 WHERE emp_id = 7',
          });
          await person.close();
        },
      },
    });
    assert.deepEqual(outcome, { status: 'fulfilled', value: 1 }, text);
    assert.match(text, /^20 employees with 41 versions, to be replayed as 4 Postgres transactions\.$/m);
    assert.doesNotMatch(text, /VERIFIED|From Delta/);
    assert.match(
      text,
      /^DIFFERENT in Delta: 1 employee\. The first:\n {2}expected 7 Person 7 7001\.50\n {2}found {4}7 Person 7 7001\.51$/m,
    );
    await assertNothingLeft();
  });

  it('answers 1 and names the key where one row of the history is wrong; kept, the stack stays until it is stopped', async () => {
    let clean = (line: string): string => line;
    const { outcome, text } = await demo({
      input: smallInput,
      keep: true,
      conceal: (given) => (clean = given),
      only: 'delta-to-postgres',
      beforeVerify: {
        async 'delta-to-postgres'({ postgres, databricks }) {
          assert.equal(clean(`no login with ${new URL(postgres.url).password}`), 'no login with ***');
          assert.equal(clean(`no login with ${databricks.token}`), 'no login with ***');
          const person = new pg.Client({ connectionString: postgres.url });
          await person.connect();
          const { rowCount } = await person.query(
            'UPDATE public.employees SET salary = salary + 0.01 WHERE emp_id = 7',
          );
          assert.equal(rowCount, 1);
          await person.end();
        },
      },
    });
    assert.deepEqual(outcome, { status: 'fulfilled', value: 1 }, text);
    assert.doesNotMatch(text, /VERIFIED/);
    assert.match(
      text,
      /^DIFFERENT: 1 version\. The first:\n {2}expected 7 Person 7 7000\.50 .*\n {2}found {4}7 Person 7 7000\.51 /m,
    );
    assert.match(text, /^The stack stays up\. .* are in .*stack\.json; to look at each part:$/m);
    await assertEachPartCanBeLookedAt(text);
    const command = (...args: string[]): Promise<Ended> =>
      deltaferry(['stack', ...args, '--dir', dir, '--json'], root);
    const states = async (): Promise<unknown> =>
      (JSON.parse((await command('status')).stdout) as { parts: { state: string }[] }).parts.map(
        ({ state }) => state,
      );
    assert.deepEqual(await states(), ['up', 'up', 'up', 'up']);
    assert.equal((await command('up')).code, 0);
    assert.equal((await command('down', '--wipe')).code, 0);
    assert.deepEqual(await states(), ['stopped', 'stopped', 'stopped', 'stopped']);
    await assertNothingLeft();
  });

  it('stops what it started when it is interrupted in the middle of the replay', async () => {
    const stop = new AbortController();
    const interrupted = new Error('stopped by a test');
    let shown = '';
    const { outcome, text } = await demo({
      signal: stop.signal,
      report: {
        line: () => {},
        progress(state) {
          shown = state;
          if (/^commits [1-3]\/4/.test(state)) stop.abort(interrupted);
        },
      },
    });
    assert.match(shown, /^commits \d\/4 /);
    assert.deepEqual(outcome, { status: 'rejected', reason: interrupted }, text);
    await assertNothingLeft();
  });
});
