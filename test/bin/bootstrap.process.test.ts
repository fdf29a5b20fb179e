import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Checkout } from './checkout.ts';

const everything = ['npm ci', 'mvn kafka', 'mvn registry', 'mvn warehouse'];

describe('a machine that lacks something', () => {
  const machines: { name: string; break: (machine: Checkout) => void; says: RegExp }[] = [
    {
      name: 'no Java',
      break: (machine) => machine.without('java'),
      says: /^deltaferry: Java is missing: install a JDK 17 or later/m,
    },
    {
      name: 'Java 11',
      break: (machine) => machine.java('11.0.2'),
      says: /^deltaferry: Java 11\.0\.2 is too old: install a JDK 17/m,
    },
    {
      name: 'Java 8',
      break: (machine) => machine.java('1.8.0_402'),
      says: /^deltaferry: Java 1\.8\.0_402 is too old/m,
    },
    {
      name: 'no Maven',
      break: (machine) => machine.without('mvn'),
      says: /^deltaferry: Maven is missing: install Maven 3\.6\.3 or later/m,
    },
    {
      name: 'Maven 3.5',
      break: (machine) => machine.maven('3.5.4'),
      says: /^deltaferry: Maven 3\.5\.4 is too old: install Maven 3\.6\.3/m,
    },
    {
      name: 'a JRE without a compiler',
      break: (machine) => machine.without('javac'),
      says: /^deltaferry: The Java that Maven uses \(\/.*\) has no compiler, javac: install a JDK 17/m,
    },
    {
      name: 'a Maven that uses another Java, which is too old',
      break: (machine) => machine.javac('11.0.2'),
      says: /^deltaferry: The Java that Maven uses \(\/.*\) is 11\.0\.2, too old: install a JDK 17/m,
    },
  ];
  for (const { name, break: breakIt, says } of machines) {
    it(`${name}: is told in one line what to install, before anything is downloaded, exit code 2`, async () => {
      using machine = new Checkout();
      breakIt(machine);
      const { code, output } = await machine.run('engines');
      assert.match(output, says);
      assert.equal(output.trim().split('\n').length, 1);
      assert.equal(code, 2);
      assert.deepEqual(machine.calls(), []);
    });
  }

  it('needs neither Java nor Maven for the dependencies alone', async () => {
    using machine = new Checkout();
    for (const tool of ['java', 'javac', 'mvn']) machine.without(tool);
    assert.equal((await machine.run('dependencies')).code, 0);
  });

  it('needs neither Maven nor a compiler any more once the engines are built', async () => {
    using machine = new Checkout();
    await machine.run('engines');
    machine.without('mvn');
    machine.without('javac');
    assert.equal((await machine.run('engines')).code, 0);
  });
});

describe('a bare checkout', () => {
  it('is made ready once: the first run says what it does and how big it is, the second is silent and calls nothing', async () => {
    using checkout = new Checkout();
    const first = await checkout.run('engines');
    assert.equal(first.code, 0, first.output);
    assert.match(first.output, /npm packages.*MB/);
    assert.match(first.output, /Kafka.*43 MB[^]*registry.*MB[^]*Spark.*MB/);
    assert.deepEqual(checkout.calls(), everything);
    assert.deepEqual(await checkout.run('engines'), { code: 0, output: '' });
    assert.deepEqual(checkout.calls(), everything);
  });

  it('installs again when the lock file changed, and builds again only the engine whose sources changed', async () => {
    using checkout = new Checkout();
    await checkout.run('engines');
    checkout.lock('2.0.0');
    checkout.write('stack/warehouse/src/Main.java', 'class Main {}');
    await checkout.run('engines');
    assert.deepEqual(checkout.calls().slice(everything.length), ['npm ci', 'mvn warehouse']);
  });

  it('takes what a person has installed by hand from the same lock file', async () => {
    using checkout = new Checkout();
    checkout.write('node_modules/left/package.json', '{}');
    checkout.write(
      'node_modules/.package-lock.json',
      readFileSync(join(checkout.root, 'package-lock.json'), 'utf8'),
    );
    assert.equal((await checkout.run('dependencies')).code, 0);
    assert.deepEqual(checkout.calls(), []);
  });

  it('leaves a build that a person made in stack/ alone', async () => {
    using checkout = new Checkout();
    checkout.write('stack/kafka/target/jars/one.jar', 'mine');
    await checkout.run('engines');
    assert.equal(readFileSync(join(checkout.root, 'stack/kafka/target/jars/one.jar'), 'utf8'), 'mine');
    assert.deepEqual(checkout.calls(), everything);
  });
});

describe('an interrupted first time', () => {
  it('in npm: the install is done again', async () => {
    using checkout = new Checkout();
    checkout.behave('npm', 'hang');
    await killAfter(checkout, 1);
    assert.ok(existsSync(join(checkout.root, 'node_modules', 'left')), 'it was half-way');
    checkout.behave('npm', 'work');
    assert.equal((await checkout.run('dependencies')).code, 0);
    assert.deepEqual(checkout.calls(), ['npm ci', 'npm ci']);
  });

  it('in Maven: only what is missing is built, and no half of a file is taken for whole', async () => {
    using checkout = new Checkout();
    await checkout.run('dependencies');
    checkout.behave('mvn', 'hang');
    await killAfter(checkout, 2);
    assert.deepEqual(engines(checkout), []);
    checkout.behave('mvn', 'work');
    assert.equal((await checkout.run('engines')).code, 0);
    assert.deepEqual(checkout.calls().slice(1), ['mvn kafka', 'mvn kafka', 'mvn registry', 'mvn warehouse']);
    for (const engine of engines(checkout)) {
      assert.equal(
        readFileSync(join(checkout.root, 'target/engines', engine, 'target/jars/one.jar'), 'utf8'),
        'whole',
      );
    }
  });

  it('by a failure: its last lines are shown, exit code 1, and the next run tries again', async () => {
    using checkout = new Checkout();
    for (const tool of ['npm', 'mvn'] as const) {
      checkout.behave(tool, 'fail');
      const { code, output } = await checkout.run('engines');
      assert.match(output, /it broke/);
      assert.equal(code, 1);
      checkout.behave(tool, 'work');
    }
    assert.deepEqual(engines(checkout), []);
    assert.equal((await checkout.run('engines')).code, 0);
  });
});

describe('two at once', () => {
  it('do the work once: the second waits for the first, says so, and finds all done', async () => {
    using checkout = new Checkout();
    checkout.behave('npm', 'hang');
    const first = checkout.start('bootstrap', 'engines');
    await until(() => checkout.calls().length === 1);
    const second = checkout.start('bootstrap', 'engines');
    let heard = '';
    second.child.stderr?.on('data', (chunk) => (heard += String(chunk)));
    await until(() => heard.includes(`waiting for the one that is already running (pid ${first.child.pid})`));
    checkout.behave('npm', 'work');
    const results = await Promise.all([first.result, second.result]);
    assert.deepEqual(
      results.map(({ code }) => code),
      [0, 0],
    );
    assert.deepEqual(checkout.calls(), everything);
  });
});

/** Kills the bootstrap when npm or Maven has been called that many times and hangs half-way. */
async function killAfter(checkout: Checkout, calls: number): Promise<void> {
  const { child, result } = checkout.start('bootstrap', 'engines');
  await until(() => checkout.calls().length === calls);
  child.kill('SIGKILL');
  await result;
}

function engines(checkout: Checkout): string[] {
  const home = join(checkout.root, 'target', 'engines');
  return existsSync(home) ? readdirSync(home).filter((name) => !name.startsWith('.')) : [];
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error('it did not happen in 20 s');
    await delay(10);
  }
}
