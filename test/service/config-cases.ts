import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** The files of one case; keys are paths inside a fresh folder. */
export async function inFolder<T>(
  files: Readonly<Record<string, string>>,
  work: (dir: string) => Promise<T>,
): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), 'deltaferry-config-'));
  try {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(dir, name)), { recursive: true });
      writeFileSync(join(dir, name), text);
    }
    return await work(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** A complete file, without the tables. */
export const CONNECTIONS = `
kafka: { brokers: [broker:9092] }
registry: { url: http://registry:8081 }
postgres: { url: postgres://u:pw@db/hr }
databricks: { host: dbc.example.com, path: /sql/1, token: t0ken }
`;

export const TABLES = `
tables:
  - name: employees
    key: emp_id
    columns: { emp_id: bigint, name: text, salary: "numeric(12,2)" }
`;

export const STACK_JSON = JSON.stringify({
  kafka: { brokers: ['127.0.0.1:1'] },
  registry: { url: 'http://127.0.0.1:2' },
  postgres: { url: 'postgres://postgres:stack-secret@127.0.0.1:3/postgres' },
  databricks: { host: 'localhost', port: 4, path: '/sql', token: 'stack-token', caFile: '/dev/null' },
});
