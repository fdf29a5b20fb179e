import { bothWaysMutants } from './both-ways.ts';
import { captureMutants } from './capture.ts';
import { deliveryMutants } from './delivery.ts';
import { offsetMutants } from './delivery-offsets.ts';
import { feedMutants } from './feed.ts';
import { historyMutants } from './history.ts';
import { loadMutants } from './loads.ts';
import { mergingMutants } from './merging.ts';
import { recordMutants } from './records.ts';
import { setupMutants } from './setup.ts';
import type { Mutant } from './mutant.ts';

/** Those whose test needs an engine are run by `npm run soak -- mutants`, all others with `npm test`. */
export const MUTANTS: readonly Mutant[] = [
  ...historyMutants,
  ...deliveryMutants,
  ...offsetMutants,
  ...recordMutants,
  ...feedMutants,
  ...captureMutants,
  ...mergingMutants,
  ...bothWaysMutants,
  ...loadMutants,
  ...setupMutants,
];
