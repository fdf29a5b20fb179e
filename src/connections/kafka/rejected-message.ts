import type { Message } from 'kafkajs';
import type { RejectedChange } from '../../ports/change-log.ts';

// A row that can never become a change must not hold up those that can, however large it is.
const MOST_BYTES = 4_000_000;
const CUT_CHARACTERS = 500_000;

/** A source row that a producer rejected, as a dead letter. */
export function rejectedMessage(rejected: RejectedChange, producer: string): Message {
  return {
    key: rejected.key,
    value: payloadOf(rejected),
    partition: 0,
    headers: {
      'error.code': rejected.code,
      'error.message': rejected.message,
      producer,
      table: rejected.table,
      position: String(rejected.position),
      'event.ts': String(rejected.ts),
    },
  };
}

/** Whole where it fits; else how it begins, in JSON of its own. */
function payloadOf({ payload }: RejectedChange): string {
  const bytes = Buffer.byteLength(payload);
  if (bytes <= MOST_BYTES) return payload;
  return JSON.stringify({ cut: `of ${bytes} bytes`, begins: payload.slice(0, CUT_CHARACTERS) });
}
