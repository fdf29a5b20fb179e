import { mergeLoopMutants } from './merge-loop.ts';
import { mergeTableMutants } from './merge-table.ts';
import { mergeValueMutants } from './merge-values.ts';
import type { Mutant } from './mutant.ts';

const CONSUMER = 'test/consumers/delta-merge.test.ts';
const FAULTS = 'test/consumers/merge-faults.test.ts';
const BUFFER = 'test/flow/merge-buffer.test.ts';

/** M1 to M6 in docs/SPEC.md. M1 has more in test/consumers/merge-faults.test.ts. */
const mergeMutants: readonly Mutant[] = [
  {
    promise: 'M1',
    name: 'reads and counts anew what landed though its answer was lost',
    file: 'src/consumers/merge-hand.ts',
    find: 'doubt.landed(null);',
    put: '{}',
    caughtBy: [
      CONSUMER,
      'a lost answer is recognised: nothing is merged twice, a person’s edit since then stays, and it counts once',
    ],
  },
  {
    promise: 'M1',
    name: 'counts a merge of which another replica has done one part',
    file: 'src/consumers/merge-hand.ts',
    find: 'doubt?.steps.every(landed)',
    put: 'doubt?.steps.some(landed)',
    caughtBy: [FAULTS, 'though another replica has moved one of its partitions to the same offset'],
  },
  {
    promise: 'M1',
    name: 'counts a merge of which a part is another’s by now',
    file: 'src/consumers/merge-hand.ts',
    find: '!own.gone && (offsets.get(own.partition) ?? 0n) >= next',
    put: 'own.gone || (offsets.get(own.partition) ?? 0n) >= next',
    caughtBy: [FAULTS, 'though besides that its other partition was lost, and came back'],
  },
  {
    promise: 'M2',
    name: 'merges every change of a key at once',
    file: 'src/consumers/merge-hand.ts',
    find: 'changes: lastPerKey(changes) }',
    put: 'changes }',
    caughtBy: [CONSUMER, 'one merge holds the last change of each key, of all partitions'],
  },
  {
    promise: 'M2',
    name: 'merges the first change of each key',
    file: 'src/consumers/merge-hand.ts',
    find: 'changes.map((change) => [change.key, change])',
    put: 'changes.toReversed().map((change) => [change.key, change])',
    caughtBy: [CONSUMER, 'one merge holds the last change of each key, of all partitions'],
  },
  {
    promise: 'M2',
    name: 'keeps nothing but the last change of a key, which may be refused',
    file: 'src/consumers/merge-hand.ts',
    find: 'return left.length === 0 ? [{ part, item: null }] : left.map((item) => this.#cell(part, item));',
    put: `const last = new Map(left.map((item) => [String(item.record.key), item]));
      return left.length === 0 ? [{ part, item: null }] : [...last.values()].map((item) => this.#cell(part, item));`,
    caughtBy: [CONSUMER, 'where the last change of a key is refused, the one before it holds'],
  },
  {
    promise: 'M3',
    name: 'holds a record more than it may',
    file: 'src/flow/merge-buffer.ts',
    find: '(this.#records >= records || this.#bytes + bytes > mostBytes)',
    put: '(this.#records > records || this.#bytes + bytes > mostBytes)',
    caughtBy: [BUFFER, 'property: the limits hold, and what is taken is what was added, in order'],
  },
  {
    promise: 'M3',
    name: 'looks at the bytes that it holds, and not at those that come',
    file: 'src/flow/merge-buffer.ts',
    find: '(this.#records >= records || this.#bytes + bytes > mostBytes)',
    put: '(this.#records >= records || this.#bytes > mostBytes)',
    caughtBy: [BUFFER, 'property: the limits hold, and what is taken is what was added, in order'],
  },
  {
    promise: 'M3',
    name: 'waits for room once, and then goes on without it',
    file: 'src/consumers/merge-intake.ts',
    find: 'while (!buffer.add(partition, item, sizeOf(item), offset + 1n, clock()))',
    put: 'if (!buffer.add(partition, item, sizeOf(item), offset + 1n, clock()))',
    caughtBy: [CONSUMER, 'until merges have taken what is held'],
  },
  {
    promise: 'M4',
    name: 'takes the age of the newest change for that of the oldest',
    file: 'src/flow/merge-buffer.ts',
    find: 'this.#since ??= now;\n    return true;',
    put: 'this.#since = now;\n    return true;',
    caughtBy: [BUFFER, 'soon for a change'],
  },
  {
    promise: 'M4',
    name: 'makes many small merges of a backlog',
    file: 'src/flow/merge-buffer.ts',
    find: 'const hurry = this.#records > 0 && toCome <= this.#records;',
    put: 'const hurry = this.#records > 0;',
    caughtBy: [BUFFER, 'later while more is to come than is held: a larger merge is the quicker one'],
  },
  {
    promise: 'M4',
    name: 'lets changes wait for as long as more is to come',
    file: 'src/flow/merge-buffer.ts',
    find: 'Math.min(minAgeMs, maxAgeMs) : maxAgeMs) - now',
    put: 'Math.min(minAgeMs, maxAgeMs) : Infinity) - now',
    caughtBy: [BUFFER, 'but not later than the highest age'],
  },
  {
    promise: 'M4',
    name: 'waits for the age though as many are held as may be',
    file: 'src/flow/merge-buffer.ts',
    find: 'if (this.#refused || this.#records >= records || this.#bytes >= bytes) return 0;',
    put: 'if (this.#refused || this.#bytes >= bytes) return 0;',
    caughtBy: [BUFFER, 'at once when so many are held'],
  },
  {
    promise: 'M5',
    name: 'calls durable what it holds',
    file: 'src/consumers/delta-merge.ts',
    find: 'return position === null || !held ? position : stored;',
    put: 'return position;',
    caughtBy: [CONSUMER, 'a batch is done once it is held; offsets that tools see follow the merge'],
  },
  {
    promise: 'M5',
    name: 'calls durable what is on its way to the table',
    file: 'src/consumers/delta-merge.ts',
    find: 'const held = buffer.holds(partition) || hand?.partitions.includes(partition) === true;',
    put: 'const held = buffer.holds(partition);',
    caughtBy: [CONSUMER, 'a batch is done once it is held; offsets that tools see follow the merge'],
  },
  {
    promise: 'M5',
    name: 'commits what it has read where nothing is durable yet',
    file: 'src/connections/kafka/assignment.ts',
    find: 'durable === undefined ? flow.done : durable.get(flow.partition);',
    put: 'durable?.get(flow.partition) || flow.done;',
    caughtBy: [
      'test/connections/kafka/record-stream.engine.test.ts',
      'commits what the handler calls durable, and no more',
    ],
  },
  {
    promise: 'M6',
    name: 'tries one record after the other where a value is refused',
    file: 'src/flow/isolate.ts',
    find: 'from + Math.floor((to - from) / 2)',
    put: 'from + 1',
    caughtBy: [CONSUMER, 'one bad record among many is found by halves'],
  },
  {
    promise: 'M6',
    name: 'writes no letter for what the table refuses',
    file: 'src/consumers/merge-hand.ts',
    find: "(item?.kind === 'poison' ? [item] : []));",
    put: "(item?.kind === 'poison' && !this.#refused.has(item.record) ? [item] : []));",
    caughtBy: [CONSUMER, 'one bad record among many is found by halves'],
  },
  {
    promise: 'M6',
    name: 'goes on though a letter was not acknowledged',
    file: 'src/consumers/partition-letters.ts',
    find: 'await this.#options.deadLetters.send(unsent);',
    put: 'await this.#options.deadLetters.send(unsent).catch(() => {});',
    caughtBy: [CONSUMER, 'the offset does not pass a dead letter that was not acknowledged'],
  },
  {
    promise: 'M6',
    name: 'moves the offset past all that it holds with the first half of it',
    file: 'src/consumers/merge-hand.ts',
    find: 'const next = last ? part.next : follower.item.record.offset;',
    put: 'const next = part.next;',
    caughtBy: [CONSUMER, 'the offset does not pass a dead letter that was not acknowledged'],
  },
  {
    promise: 'M6',
    name: 'says of a record that it sets aside that it is poison, and not why',
    file: 'src/consumers/partition-letters.ts',
    find: 'errorCode: error.code,',
    put: 'errorCode: error.kind,',
    caughtBy: [
      'test/service/delta-merge-poison.engine.test.ts',
      'a value that a CHECK of the table refuses: set aside as DELTA_VALUE_REFUSED with its cause and its bytes, the records around it merged',
    ],
  },
];

/** All of M. */
export const mergingMutants: readonly Mutant[] = [
  ...mergeMutants,
  ...mergeLoopMutants,
  ...mergeTableMutants,
  ...mergeValueMutants,
];
