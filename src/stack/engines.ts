import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { StackError } from './errors.ts';
import type { PartName } from './part.ts';

/**
 * The folders of the parts' jars, built by the bootstrap where they are missing (a tenth of a second where not).
 * It reports a line per step.
 */
export async function engineFolders(
  parts: readonly PartName[],
  onLine: (line: string) => void,
): Promise<Partial<Record<PartName, string>>> {
  if (parts.length === 0) return {};
  const bootstrap = fileURLToPath(new URL('../../bin/bootstrap.js', import.meta.url));
  const child = spawn(process.execPath, [bootstrap, 'engines', ...parts], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let answer = '';
  const said: string[] = [];
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (answer += chunk));
  createInterface({ input: child.stderr }).on('line', (line) => {
    said.push(line);
    onLine(line.replace(/^bootstrap: /, ''));
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('close', resolve).on('error', reject);
  });
  if (code !== 0) {
    throw new StackError({
      code: 'STACK_NO_ENGINES',
      message: said
        .slice(-12)
        .join('\n')
        .replace(/^deltaferry: /, ''),
    });
  }
  return JSON.parse(answer) as Partial<Record<PartName, string>>;
}
