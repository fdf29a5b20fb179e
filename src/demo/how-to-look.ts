import { join, relative } from 'node:path';

/** What a kept demo says at its end; every command works with Node alone, but those after "or". */
export function howToLook(dir: string): string {
  const folder = relative(process.cwd(), dir) || '.';
  const file = join(folder, 'stack.json');
  const url = (part: string) => `"$(node -p "require('./${file}').${part}.url")`;
  const look = (part: string) => `npx deltaferry demo --look ${part} --dir ${folder}`;
  return [
    `The stack stays up. Its endpoints and passwords are in ${file}; to look at each part:`,
    `  Kafka     ${look('kafka')}`,
    `  registry  ${look('registry')}`,
    `            or curl ${url('registry')}/subjects"`,
    `  Postgres  ${look('postgres')}`,
    `            or psql ${url('postgres')}" -c 'SELECT * FROM employees ORDER BY emp_id, on_date LIMIT 20'`,
    `  Delta     ${look('delta')}`,
    `  all       npx deltaferry status --stack ${folder}`,
    `            npx deltaferry stack status --dir ${folder}`,
    `            tail ${join(folder, 'logs')}/*`,
    `Run the service against it, or stop it:`,
    `  npx deltaferry run --stack ${folder}`,
    `  npx deltaferry stack down --wipe --dir ${folder}`,
  ].join('\n');
}
