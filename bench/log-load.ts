/** Single-row transactions at an even pace, as a process of its own. Prints `key commit-time` lines (epoch milliseconds) at the end. */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';

const [url = '', table = '', rate = '1000', secondsToRun = '10'] = process.argv.slice(2);
const SESSIONS = 8;
const total = Number(rate) * Number(secondsToRun);
const now = (): number => performance.timeOrigin + performance.now();

const sessions = await Promise.all(
  Array.from({ length: SESSIONS }, async () => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await client.query(`SET synchronous_commit = off`);
    return client;
  }),
);
const begun = now();
const commits: string[] = [];
await Promise.all(
  sessions.map(async (session, index) => {
    for (let key = index; key < total; key += SESSIONS) {
      const due = begun + (key * 1000) / Number(rate) - now();
      if (due > 1) await delay(due);
      await session.query({
        name: 'insert',
        text: `INSERT INTO ${table} VALUES ($1, $2, 1)`,
        values: [key + 1, `Employee ${key}`],
      });
      commits.push(`${key + 1} ${now()}`);
    }
  }),
);
const took = now() - begun;
await Promise.all(sessions.map((session) => session.end()));
process.stdout.write(`${commits.join('\n')}\ntook ${took}\n`);
