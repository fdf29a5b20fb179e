import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Path of a file of the checkout. */
export function inTree(path: string): string {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url));
}

export function text(path: string): string {
  return readFileSync(inTree(path), 'utf8');
}

type Versions = Readonly<Record<string, string>>;

export const packageJson = JSON.parse(text('package.json')) as {
  readonly dependencies: Versions;
  readonly devDependencies: Versions;
  readonly optionalDependencies: Versions;
  readonly overrides: Versions;
};

/** The version that a pom gives an artifact, its properties filled in. */
export function pomVersion(pom: string, artifact: string): string {
  const xml = text(pom);
  const declared = new RegExp(`<artifactId>${artifact}</artifactId>\\s*<version>([^<]+)</version>`).exec(
    xml,
  )?.[1];
  if (declared === undefined) throw new Error(`${pom} has no version of ${artifact}`);
  const property = /^\$\{(.+)\}$/.exec(declared)?.[1];
  const version = property === undefined ? declared : new RegExp(`<${property}>([^<]+)<`).exec(xml)?.[1];
  if (version === undefined) throw new Error(`${pom} does not say what ${declared} is`);
  return version;
}
