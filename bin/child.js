// Runs another program in place of this one: same terminal, same signals, same exit code.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';

/**
 * @param {string} file
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {Promise<number>} its exit code; 128 and the signal's number when a signal ended it
 */
export async function runInPlace(file, args, env = process.env) {
  const child = spawn(file, args, { stdio: 'inherit', env });
  const forward = (signal) => {
    if (signal !== 'SIGINT' || !terminalReachesAll()) child.kill(signal);
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, forward);
  try {
    return await new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) => resolve(code ?? 128 + constants.signals[signal]));
    });
  } finally {
    for (const signal of signals) process.off(signal, forward);
  }
}

/**
 * Whether Ctrl-C goes to the child too, since the terminal sends it to its whole foreground group: forwarded, it
 * would arrive twice, and the second one means "do not wait".
 */
function terminalReachesAll() {
  try {
    const stat = readFileSync('/proc/self/stat', 'utf8');
    const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return group === foreground;
  } catch {
    return process.stdin.isTTY === true;
  }
}
