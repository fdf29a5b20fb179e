import { triggerMutants } from './capture-triggers.ts';
import { logPollerMutants } from './log-poller.ts';
import { logWindowMutants } from './log-windows.ts';
import type { Mutant } from './mutant.ts';

/** P1 to P15: from a change in Postgres to the topic. */
export const captureMutants: readonly Mutant[] = [
  ...triggerMutants,
  ...logWindowMutants,
  ...logPollerMutants,
];
