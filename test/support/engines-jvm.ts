import { shortLivedBroker, shortLivedWarehouse, smallStatements } from '../../src/stack/short-lived.ts';

/** For every warehouse and broker that this process and its children start from now on. */
export function enginesForTests(): void {
  process.env['DELTAFERRY_WAREHOUSE_JVM'] ??= shortLivedWarehouse;
  process.env['DELTAFERRY_BROKER_JVM'] ??= shortLivedBroker;
}

/** As `enginesForTests`, for those that live as long as the whole run: `start` starts them. The broker has no more to do then. */
export async function longLivedEngines(start: () => Promise<unknown>): Promise<void> {
  const given = process.env['DELTAFERRY_WAREHOUSE_JVM'];
  process.env['DELTAFERRY_WAREHOUSE_JVM'] ??= smallStatements;
  process.env['DELTAFERRY_BROKER_JVM'] ??= shortLivedBroker;
  await start();
  if (given === undefined) delete process.env['DELTAFERRY_WAREHOUSE_JVM'];
}
