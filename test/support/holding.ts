import type { Site } from './site.ts';

/** Holds a lock of the test's own, which a load comes to wait for; resolves to what lets go of it. */
export async function holding({ pool }: Site, lock: string): Promise<() => Promise<void>> {
  const client = await pool.connect();
  await client.query(`BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0; LOCK TABLE ${lock}`);
  let held = true;
  return async () => {
    if (!held) return;
    held = false;
    await client.query('COMMIT');
    client.release();
  };
}
