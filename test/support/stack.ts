import { readFileSync } from 'node:fs';

/** What `.deltaferry/stack.json` holds. */
export interface StackEndpoints {
  readonly kafka: { readonly brokers: readonly string[] };
  readonly registry: { readonly url: string };
  readonly postgres: { readonly url: string };
  readonly databricks: {
    readonly host: string;
    readonly port: number;
    readonly path: string;
    readonly token: string;
    readonly caFile: string;
  };
}

/** The stack that the whole test run shares. Each test file makes its own database, topics and schema in it. */
export function testStack(): StackEndpoints {
  const file = process.env['DELTAFERRY_TEST_STACK'];
  if (file === undefined)
    throw new Error(
      'No test stack: run `npm test`, or start one with `npx deltaferry stack up --dir DIR` and set DELTAFERRY_TEST_STACK=DIR/stack.json',
    );
  return JSON.parse(readFileSync(file, 'utf8')) as StackEndpoints;
}
