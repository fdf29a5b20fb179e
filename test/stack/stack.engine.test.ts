import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { StackError } from '../../src/stack/errors.ts';
import { isFree } from '../../src/stack/ports.ts';
import { identify, isAlive } from '../../src/stack/processes.ts';
import type { ProcessId } from '../../src/stack/processes.ts';
import { killPart, restartPart, stackStatus, startStack, stopStack } from '../../src/stack/stack.ts';
import type { Endpoints, PartName } from '../../src/stack/stack.ts';
import { keepsakes, query } from './clients.ts';
import { enginesForTests } from '../support/engines-jvm.ts';

const root = mkdtempSync(join(tmpdir(), 'deltaferry-stacks-'));
// Everybody may enter it: as root, Postgres runs as nobody.
chmodSync(root, 0o755);
const dirs: string[] = [];
const light: PartName[] = ['kafka', 'registry', 'postgres'];

/** A stack folder that is stopped and removed whatever happens to the test. */
function stackDir(name: string): string {
  const dir = join(root, name);
  dirs.push(dir);
  return dir;
}

after(async () => {
  await Promise.all(dirs.map((dir) => stopStack({ dir, wipe: true })));
  rmSync(root, { recursive: true, force: true });
});

describe('a stack of Kafka, registry and Postgres', () => {
  const dir = stackDir('one');
  const start = (): Promise<Endpoints> => startStack({ dir, parts: light, ownerPid: process.pid });
  let endpoints: Endpoints;

  before(async () => {
    endpoints = await start();
    for (const part of light) await keepsakes[part].write(endpoints);
  });

  it('writes its endpoints where only their owner reads them', () => {
    const file = join(dir, 'stack.json');
    assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), endpoints);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const shape = Object.fromEntries(
      Object.entries(endpoints).map(([part, known]) => [part, Object.keys(known).sort()]),
    );
    assert.deepEqual(shape, {
      kafka: ['brokers'],
      registry: ['url'],
      postgres: ['url'],
      databricks: ['caFile', 'host', 'path', 'port', 'stagingVolume', 'token'],
    });
  });

  it('is left alone by a second up, also by two at once', async () => {
    const pids = await pidsOf(dir);
    const again = await Promise.all([start(), start()]);
    assert.deepEqual(again, [endpoints, endpoints]);
    assert.deepEqual(await pidsOf(dir), pids);
  });

  it('runs beside a second stack without sharing anything', async () => {
    const other = await startStack({ dir: stackDir('two'), parts: light, ownerPid: process.pid });
    assert.notDeepEqual(other.kafka, endpoints.kafka);
    await assert.rejects(keepsakes.postgres.read(other), /does not exist/);
    assert.equal((await fetch(`${other.registry.url}/subjects/keepsake/versions/latest`)).status, 404);
    await stopStack({ dir: stackDir('two'), wipe: true });
    assert.equal(await keepsakes.postgres.read(endpoints), 'kept');
  });

  it('comes back after a down with its data, on the same ports; the down leaves nothing running', async () => {
    const before = await processesOf(dir);
    assert.equal(before.length, light.length);
    await stopStack({ dir });
    assert.deepEqual(before.filter(isAlive), []);
    assert.ok(await isFree(portOf(endpoints.postgres.url)));
    assert.equal(existsSync(join(dir, 'stack.json')), false);
    assert.ok((await stackStatus({ dir })).parts.every(({ state }) => state === 'stopped'));
    assert.deepEqual(await start(), endpoints);
    for (const part of ['kafka', 'registry', 'postgres'] as const) {
      assert.equal(await keepsakes[part].read(endpoints), 'kept', part);
    }
  });

  for (const part of ['kafka', 'registry', 'postgres'] as const) {
    it(`keeps what ${part} had when it crashes, and only that part is started again`, async () => {
      const pids = await pidsOf(dir);
      await killPart(dir, part);
      const died = (await stackStatus({ dir })).parts.find((one) => one.part === part);
      assert.equal(died?.state, 'died');
      assert.ok((died.lastLines ?? []).length > 0, `nothing of the log of ${part}`);
      assert.deepEqual(await start(), endpoints);
      const now = await pidsOf(dir);
      assert.notEqual(now[part], pids[part]);
      assert.deepEqual({ ...now, [part]: 0 }, { ...pids, [part]: 0 });
      assert.equal(await keepsakes[part].read(endpoints), 'kept');
    });
  }

  it('restarts a crashed Postgres whose backends were at work', async () => {
    const busy = query(endpoints, 'SELECT pg_sleep(60)').catch((error: unknown) => error);
    await until(async () => {
      const [row] = await query(
        endpoints,
        "SELECT count(*)::int AS n FROM pg_stat_activity WHERE query ~ '^SELECT pg_sleep'",
      );
      return row?.['n'] === 1;
    });
    assert.deepEqual(await restartPart(dir, 'postgres', { signal: 'SIGKILL' }), endpoints);
    assert.ok((await busy) instanceof Error);
    assert.equal(await keepsakes.postgres.read(endpoints), 'kept');
  });

  it('gives a part a new port when another process took its own meanwhile', async () => {
    await stopStack({ dir });
    const stranger = createServer().listen(portOf(endpoints.postgres.url), '127.0.0.1');
    await once(stranger, 'listening');
    try {
      const moved = await start();
      assert.notEqual(moved.postgres.url, endpoints.postgres.url);
      assert.deepEqual({ ...moved, postgres: null }, { ...endpoints, postgres: null });
      assert.equal(await keepsakes.postgres.read(moved), 'kept');
    } finally {
      stranger.close();
    }
  });

  it('names a part that cannot start with the end of its log, and stops what it had started', async () => {
    await stopStack({ dir });
    writeFileSync(
      join(dir, 'kafka', 'data', 'meta.properties'),
      'version=1\ncluster.id=another\nnode.id=7\n',
    );
    await assert.rejects(startStack({ dir, parts: ['kafka', 'postgres'] }), (error) => {
      assert.ok(error instanceof StackError);
      assert.match(error.message, /^kafka ended while it started\..*kafka\.log:\n.*meta\.properties/s);
      return true;
    });
    assert.ok((await stackStatus({ dir })).parts.every(({ state }) => state === 'stopped'));
  });

  it('is not started any further after an interrupt: what was up before stays, the rest is stopped', async () => {
    const before = await startStack({ dir, parts: ['postgres'], ownerPid: process.pid });
    const interrupt = new AbortController();
    const starting = startStack({
      dir,
      ownerPid: process.pid,
      signal: interrupt.signal,
      onProgress: ({ part, state }) => {
        if (part === 'registry' && state === 'starting') interrupt.abort(new Error('enough'));
      },
    });
    await assert.rejects(starting, /^Error: enough$/);
    const states = (await stackStatus({ dir })).parts.map(({ part, state }) => `${part} ${state}`);
    assert.deepEqual(states, ['kafka stopped', 'registry stopped', 'postgres up', 'warehouse stopped']);
    assert.equal((await startStack({ dir, parts: ['postgres'] })).postgres.url, before.postgres.url);
    await stopStack({ dir });
  });

  it('is removed by a wipe, apart from what others put there', async () => {
    writeFileSync(join(dir, 'notes.txt'), 'mine');
    await stopStack({ dir, wipe: true });
    assert.deepEqual(readdirSync(dir), ['notes.txt']);
  });
});

describe('the processes of a stack', () => {
  it('are not mistaken for a stranger that was given their pid', async () => {
    const dir = stackDir('stranger');
    await startStack({ dir, parts: ['postgres'] });
    await killPart(dir, 'postgres');
    const stranger = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    try {
      const file = join(dir, 'run', 'postgres.json');
      const record = JSON.parse(readFileSync(file, 'utf8')) as ProcessId;
      writeFileSync(file, JSON.stringify({ ...record, pid: stranger.pid }));
      assert.equal((await stackStatus({ dir })).parts.find(({ part }) => part === 'postgres')?.state, 'died');
      await stopStack({ dir });
      assert.notEqual(identify(stranger.pid ?? 0), undefined);
    } finally {
      stranger.kill('SIGKILL');
    }
  });

  it('are gone soon after their owner was killed, and so are its data if it wished', async () => {
    // As root also: Postgres serves a folder that its account cannot enter.
    const dir = stackDir(join('private', 'owned'));
    mkdirSync(join(root, 'private'), { mode: 0o700 });
    const stack = fileURLToPath(new URL('../../src/stack/stack.ts', import.meta.url));
    const program = `
      const { startStack } = await import(${JSON.stringify(stack)});
      await startStack({ dir: ${JSON.stringify(dir)}, parts: ['postgres'], ownerPid: process.pid, wipeWithOwner: true });
      console.log('up');
      setInterval(() => {}, 1000);`;
    const owner = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(owner.stdout, 'data');
    const running = await processesOf(dir);
    assert.equal(running.length, 1);
    owner.kill('SIGKILL');
    await until(() => Promise.resolve(running.every((id) => !isAlive(id)) && !existsSync(dir)));
  });
});

describe('the warehouse of a stack', () => {
  const dir = stackDir('warehouse');

  it('keeps its tables over a down and an up', async () => {
    enginesForTests();
    const parts: PartName[] = ['warehouse'];
    const endpoints = await startStack({ dir, parts, ownerPid: process.pid });
    await keepsakes.warehouse.write(endpoints);
    await stopStack({ dir });
    assert.deepEqual(await startStack({ dir, parts, ownerPid: process.pid }), endpoints);
    assert.equal(await keepsakes.warehouse.read(endpoints), 'kept');
  });
});

async function pidsOf(dir: string): Promise<Partial<Record<PartName, number>>> {
  const { parts } = await stackStatus({ dir });
  return Object.fromEntries(parts.map(({ part, state, pid }) => [part, state === 'up' ? pid : undefined]));
}

async function processesOf(dir: string): Promise<ProcessId[]> {
  const pids = Object.values(await pidsOf(dir)).filter((pid) => pid !== undefined);
  return pids.map((pid) => identify(pid)).filter((id) => id !== undefined);
}

const portOf = (url: string): number => Number(new URL(url).port);

async function until(condition: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error('it did not happen in 20 s');
    await delay(50);
  }
}
