import type { LoadSeen } from '../../src/ports/load.ts';

/** Of a load of which nothing was noted. */
export const UNSEEN: LoadSeen = {
  stage: null,
  stageSeconds: null,
  handoverSeconds: null,
  read: 0,
  compared: 0,
  heldUp: 0,
  finishedAt: null,
  tookSeconds: null,
};
