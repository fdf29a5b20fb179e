// Loaded before anything else in each process of a test that has to fail: see mutant.ts.
import { writeFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { pathToFileURL } from 'node:url';

const { file, find, put, seen } = JSON.parse(process.env['MUTANT_OF_A_TEST']!) as Record<string, string>;
const mutated = pathToFileURL(file!).href;

registerHooks({
  load(url, context, next) {
    const loaded = next(url, context);
    if (url !== mutated) return loaded;
    const source = String(loaded.source);
    const parts = source.split(find!);
    if (parts.length !== 2) throw new Error(`${file} says ${parts.length - 1} times: ${find}`);
    writeFileSync(seen!, '');
    return { ...loaded, source: parts.join(put) };
  },
});
