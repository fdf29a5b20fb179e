import { resolve } from 'node:path';
import { loadConfig } from '../service/config/load.ts';
import { scrubber } from '../service/config/redact.ts';
import type { Config } from '../service/config/schema.ts';

/** The package's own tables on the demo's stack, which is up; `conceal` is told how to hide its secrets. */
export async function demoConfig(
  dir: string,
  conceal: (clean: (text: string) => string) => void,
): Promise<Config> {
  const config = await loadConfig({
    file: resolve(import.meta.dirname, '../../deltaferry.yaml'),
    stackDir: dir,
    overrides: { 'http.port': '0' },
  });
  conceal(scrubber(config));
  return config;
}
