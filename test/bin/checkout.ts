import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A bare checkout with our `bin/`, on a machine whose java, javac, mvn and npm are fakes that are quick and can be told to fail. */
export class Checkout {
  readonly root: string;
  private readonly home = mkdtempSync(join(tmpdir(), 'deltaferry-checkout-'));
  private readonly tools = join(this.home, '.tools', 'bin');

  /** @param inside a folder of the machine, `node_modules/deltaferry` for an installed package */
  constructor(inside = 'checkout') {
    this.root = join(this.home, inside);
    cpSync(fileURLToPath(new URL('../../bin', import.meta.url)), join(this.root, 'bin'), { recursive: true });
    this.write('package.json', '{"name": "deltaferry", "type": "module"}');
    this.lock('1.0.0');
    for (const engine of ['kafka', 'registry', 'warehouse'])
      this.write(`stack/${engine}/pom.xml`, `<project>${engine}</project>`);
    this.java('17.0.15');
    this.javac('17.0.15');
    this.maven('3.8.7');
    this.tool('npm', fakeNpm);
  }

  [Symbol.dispose](): void {
    rmSync(this.home, { recursive: true, force: true, maxRetries: 5 });
  }

  /** The lock file asks for one package in this version. */
  lock(version: string): void {
    const packages = { '': { name: 'deltaferry' }, 'node_modules/left': { version } };
    this.write('package-lock.json', JSON.stringify({ lockfileVersion: 3, packages }));
  }

  java(version: string): void {
    this.tool('java', `console.error('openjdk version "${version}" 2025-04-15');`);
  }

  javac(version: string): void {
    this.tool('javac', `console.log('javac ${version}');`);
  }

  maven(version: string): void {
    const says = `Apache Maven ${version}\nJava version: 17.0.15, vendor: Any, runtime: ${dirname(this.tools)}`;
    this.tool(
      'mvn',
      `if (process.argv[2] === '-version') { console.log(${JSON.stringify(says)}); process.exit(0); } ${fakeMaven}`,
    );
  }

  without(tool: string): void {
    rmSync(join(this.tools, tool));
  }

  /** `hang`: the tool stops half-way and waits; `fail`: it fails; otherwise it works. */
  behave(tool: 'npm' | 'mvn', how: 'hang' | 'fail' | 'work'): void {
    writeFileSync(join(this.tools, `${tool}.behaviour`), how);
  }

  /** What npm and Maven were called for so far, in order. */
  calls(): string[] {
    const file = join(this.tools, 'calls');
    return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
  }

  /** Starts one of the scripts in `bin/`. */
  start(
    script: 'bootstrap' | 'deltaferry' | 'run',
    ...args: string[]
  ): { child: ChildProcess; result: Promise<Result> } {
    const env = { PATH: this.tools, HOME: this.home };
    const child = spawn(process.execPath, [join(this.root, 'bin', `${script}.js`), ...args], { env });
    let output = '';
    child.stdout.on('data', (chunk) => (output += String(chunk)));
    child.stderr.on('data', (chunk) => (output += String(chunk)));
    const result = new Promise<Result>((resolve) => {
      child.on('close', (code) => {
        resolve({ code, output });
      });
    });
    return { child, result };
  }

  run(need: 'dependencies' | 'engines'): Promise<Result> {
    return this.start('bootstrap', need).result;
  }

  write(name: string, content: string, mode = 0o644): void {
    mkdirSync(dirname(join(this.root, name)), { recursive: true });
    writeFileSync(join(this.root, name), content, { mode });
  }

  private tool(name: string, body: string): void {
    const behaviour = `
      const fs = require('node:fs');
      const behaviour = () => {
        try { return fs.readFileSync(${JSON.stringify(join(this.tools, `${name}.behaviour`))}, 'utf8'); } catch { return 'work'; }
      };
      const called = (what) => fs.appendFileSync(${JSON.stringify(join(this.tools, 'calls'))}, what + '\\n');
      const halfway = () => {
        if (behaviour() === 'fail') { console.log('some work'); console.error('it broke'); process.exit(1); }
        const parent = process.ppid;
        while (behaviour() === 'hang' && process.ppid === parent) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
        if (process.ppid !== parent) process.exit(1);
      };`;
    const file = join(this.tools, name);
    mkdirSync(this.tools, { recursive: true });
    writeFileSync(file, `#!${process.execPath}\n${behaviour}\n${body}`, { mode: 0o755 });
  }
}

export interface Result {
  readonly code: number | null;
  /** Of stdout and stderr. */
  readonly output: string;
}

/** As `npm ci` does: removes everything, puts the packages in place, and notes them last. A call counts once it is half-way. */
const fakeNpm = `
  fs.rmSync('node_modules', { recursive: true, force: true });
  fs.mkdirSync('node_modules/left', { recursive: true });
  called('npm ' + process.argv[2]);
  halfway();
  fs.copyFileSync('package.json', 'node_modules/left/package.json');
  if (fs.existsSync('.installed')) fs.cpSync('.installed', 'node_modules/.bin', { recursive: true });
  fs.copyFileSync('package-lock.json', 'node_modules/.package-lock.json');`;

/** As the three poms do, with a first half that must never pass for the whole. */
const fakeMaven = `
  fs.mkdirSync('target/jars', { recursive: true });
  fs.mkdirSync('target/app');
  fs.writeFileSync('target/jars/one.jar', behaviour() === 'hang' ? 'half' : 'whole');
  called('mvn ' + fs.readFileSync('pom.xml', 'utf8').replace(/<[^>]*>/g, ''));
  halfway();
  fs.writeFileSync('target/warehouse.jar', '');`;
