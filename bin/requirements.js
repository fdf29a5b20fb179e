// What the machine itself must have, and one line that says what to install when it has not.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

/** Something that only the person at the keyboard can mend: shown as one line, exit code 2. */
export class MissingRequirement extends Error {}

export function checkNode(version = process.versions.node) {
  if (major(version) < 20) {
    throw new MissingRequirement(
      `Node ${version} is too old: install Node 20 or later (https://nodejs.org).`,
    );
  }
}

const jdk =
  'install a JDK 17 or later (Debian: apt-get install openjdk-17-jdk-headless; macOS: brew install openjdk@17)';

/** A tool of Java: that of JAVA_HOME, else the one on the PATH. */
function javaTool(name) {
  return process.env.JAVA_HOME ? join(process.env.JAVA_HOME, 'bin', name) : name;
}

export function checkJava() {
  const found = run(javaTool('java'), ['-version']);
  if (found === undefined) throw new MissingRequirement(`Java is missing: ${jdk}, or set JAVA_HOME.`);
  const version = /version "([^"]+)"/.exec(found)?.[1];
  if (version === undefined) throw new MissingRequirement(`Java does not tell its version: ${jdk}.`);
  if (release(version) < 17)
    throw new MissingRequirement(`Java ${version} is too old: ${jdk}, or set JAVA_HOME.`);
}

/** Maven, and the compiler of the Java that it runs on. */
export function checkMaven() {
  const install = 'install Maven 3.6.3 or later (Debian: apt-get install maven; macOS: brew install maven)';
  const found = run('mvn', ['-version']);
  if (found === undefined) throw new MissingRequirement(`Maven is missing: ${install}.`);
  const version = /Apache Maven (\d+)\.(\d+)\.(\d+)/.exec(found);
  if (version === null)
    throw new MissingRequirement(`Maven does not work (mvn -version): ${firstLine(found)}`);
  const [, ...numbers] = version;
  const [one, two, three] = numbers.map(Number);
  if (one * 10_000 + two * 100 + three < 30_603) {
    throw new MissingRequirement(`Maven ${numbers.join('.')} is too old: ${install}.`);
  }
  checkCompiler(/runtime: (.+)/.exec(found)?.[1]?.trim());
}

/** A JRE runs the engines, but cannot compile them. */
function checkCompiler(home) {
  const found = run(home === undefined ? javaTool('javac') : join(home, 'bin', 'javac'), ['-version']);
  const version = /javac (\S+)/.exec(found ?? '')?.[1];
  const which = `The Java that Maven uses${home === undefined ? '' : ` (${home})`}`;
  if (version === undefined)
    throw new MissingRequirement(`${which} has no compiler, javac: ${jdk}, or set JAVA_HOME.`);
  if (release(version) < 17)
    throw new MissingRequirement(`${which} is ${version}, too old: ${jdk}, or set JAVA_HOME.`);
}

/**
 * The Node that runs the TypeScript sources: the pinned one of the lock file, else the running one if it can.
 * @param {string} root
 * @returns {string}
 */
export function node24(root) {
  const name = `node-${process.platform}-${process.arch}`;
  try {
    const manifest = createRequire(join(root, 'package.json')).resolve(`${name}/package.json`);
    const pinned = join(manifest, '..', 'bin', 'node');
    if (existsSync(pinned)) return pinned;
  } catch {
    // No package for this platform: the running Node may do.
  }
  if (major(process.versions.node) >= 24) return process.execPath;
  throw new MissingRequirement(
    `Node 24 is needed and Node ${process.versions.node} is running: install Node 24, or npm install --no-save ${name}@24.`,
  );
}

/** 8 of `1.8.0_402`, 17 of `17.0.15`. */
const release = (version) => major(version.startsWith('1.') ? version.slice(2) : version);
const major = (version) => Number.parseInt(version, 10);
const firstLine = (text) => text.trim().split('\n')[0] ?? '';

function run(command, args) {
  const { status, error, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  return error !== undefined || status === 127 ? undefined : `${stdout}${stderr}`;
}
