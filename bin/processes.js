// What identifies a process: its pid alone is not enough, the system gives pids out again.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/**
 * The start time of a live process as an opaque text, or undefined when there is none (or only a zombie).
 * @param {number} pid
 */
export function processStart(pid) {
  if (process.platform === 'linux') {
    try {
      // The command's name, in brackets, may itself hold brackets and blanks: fields count from the last one.
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      // A killed process with many threads is a zombie for a while before the last of them has let go of its ports.
      const ended = fields[0] === 'X' || (fields[0] === 'Z' && Number(fields[17]) <= 1);
      return ended ? undefined : fields[19];
    } catch {
      return undefined;
    }
  }
  try {
    const line = execFileSync('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim();
    return line.startsWith('Z') || line === '' ? undefined : line.slice(line.indexOf(' ')).trim();
  } catch {
    return undefined;
  }
}
