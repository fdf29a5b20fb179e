import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const checkout = fileURLToPath(new URL('../..', import.meta.url));

describe('the package that npm makes of the checkout', () => {
  const home = mkdtempSync(join(tmpdir(), 'deltaferry-package-'));
  const source = join(home, 'source');
  const installed = join(home, 'project', 'node_modules', 'deltaferry');
  let files: readonly string[] = [];

  before(() => {
    // A copy: making the package also builds it.
    const wanted = (path: string): boolean =>
      !/[\\/](node_modules|\.git|target|dist|\.deltaferry)$/.test(path);
    cpSync(checkout, source, { recursive: true, filter: wanted });
    symlinkSync(join(checkout, 'node_modules'), join(source, 'node_modules'));
    const made = execFileSync('npm', ['pack', '--json', '--pack-destination', home, '--loglevel=error'], {
      cwd: source,
      encoding: 'utf8',
    });
    // What the build says comes before.
    const [pack] = JSON.parse(made.slice(made.search(/^\[/m))) as { files: { path: string }[] }[];
    files = pack!.files.map(({ path }) => path);
    for (const file of files) {
      mkdirSync(dirname(join(installed, file)), { recursive: true });
      cpSync(join(source, file), join(installed, file));
    }
    symlinkSync(join(checkout, 'node_modules'), join(installed, 'node_modules'));
  });
  after(() => rmSync(home, { recursive: true, force: true }));

  const all = (folder: string, ending: string): string[] =>
    readdirSync(join(checkout, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith(ending) && !/(^|[\\/])target[\\/]/.test(file))
      .map((file) => `${folder}/${file.replaceAll('\\', '/')}`);

  it('holds what a user of it needs, and nothing else', () => {
    const needed = [
      ...all('src', '.ts').map((file) => file.replace(/^src/, 'dist').replace(/\.ts$/, '.js')),
      ...all('bin', '.js'),
      ...all('sql', '.sql'),
      ...all('schemas', '.avsc'),
      ...all('stack', '.java'),
      ...['kafka', 'registry', 'warehouse'].map((engine) => `stack/${engine}/pom.xml`),
      'stack/kafka/log4j2.xml',
      'stack/warehouse/jvm.options',
      'deltaferry.yaml',
      'package.json',
      'LICENSE',
      'README.md',
    ];
    assert.deepEqual(
      needed.filter((file) => !files.includes(file)),
      [],
      'missing',
    );
    assert.deepEqual(
      files.filter(
        (file) => /^(src|test|bench|docs)\/|\/target\/|\.ts$/.test(file) && !file.endsWith('.d.ts'),
      ),
      [],
      'too much',
    );
  });

  it('runs as it is installed: no sources, no lock file, no checkout', () => {
    assert.ok(!existsSync(join(installed, 'src')));
    const { bin, version } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as {
      bin: { deltaferry: string };
      version: string;
    };
    const run = (...args: string[]): string =>
      execFileSync(process.execPath, [join(installed, bin.deltaferry), ...args], {
        cwd: join(home, 'project'),
        encoding: 'utf8',
      });
    assert.equal(run('--version').trim(), version);
    assert.match(run('--help'), /stack up\|down\|status/);
    const schema = run('schema', '--config', join(installed, 'deltaferry.yaml'), 'employees');
    assert.equal(
      (JSON.parse(schema) as { type: string }).type,
      'record',
      `what ${basename(bin.deltaferry)} prints`,
    );
  });
});
