import { OperatorError } from '../../errors.ts';
import type { Position } from '../../ports/change-log.ts';

/** One partition, whatever the topic has: positions are found again also after partitions were added. */
export const POSITIONS_PARTITION = 0;

/** The position that a record of `owner` (`delta-feed/employees`) on the positions topic holds. Throws an OperatorError where it holds none. */
export function parsePosition(value: Uint8Array, owner: string, topic: string): Position {
  try {
    return JSON.parse(Buffer.from(value).toString()) as Position;
  } catch (error) {
    throw new OperatorError({
      code: 'POSITION_UNREADABLE',
      message: `The newest position of ${owner} on topic ${topic} is not JSON.`,
      remedy: `Find what else writes to ${topic}, then write the last good position again.`,
      cause: error,
    });
  }
}
