import type { Kafka } from 'kafkajs';
import type { DeltaferryError } from '../../errors.ts';
import { backoff } from '../../flow/backoff.ts';
import { sleep } from '../../flow/sleep.ts';
import { createSlots } from '../../flow/slots.ts';
import type { RecordStream, StreamHandler } from '../../ports/record-stream.ts';
import { createAssignment, type Assignment } from './assignment.ts';
import { silent, type KafkaLogger } from './client.ts';
import { translateKafka } from './errors.ts';
import { joinGroup, type Membership } from './membership.ts';

export interface RecordStreamOptions {
  readonly kafka: Kafka;
  /** Contains the target's id: two targets never share a group. */
  readonly groupId: string;
  readonly topic: string;
  /** How many batches, of different partitions, may be with the handler at once; default 4. */
  readonly partitionsConcurrently?: number;
  /** As they lie on the topic, compressed; default 256 KB. It is less where more than twelve times that comes of it. */
  readonly maxBytesPerPartition?: number;
  /** Per fetch of all partitions of a broker; default 2 MB. It is less while much is held. */
  readonly maxBytes?: number;
  /** After how long without heartbeat the group gives our partitions away; default 30,000. */
  readonly sessionTimeoutMs?: number;
  /** How long the broker holds a fetch that finds nothing; default 50. */
  readonly maxWaitMs?: number;
  /** How often Kafka's own offsets follow, for lag tools; default 1,000. */
  readonly commitEveryMs?: number;
  /** When to try again what a person has to mend, and a partition that the handler left out; default 30,000. */
  readonly askAgainMs?: number;
  readonly logger?: KafkaLogger;
  /** Uniform in [0, 1), for jitter. */
  readonly random?: () => number;
  /** Reading fails and is tried again (an error; of kind `operator`: a person has to act), or works again (null). */
  readonly onTrouble?: (error: DeltaferryError | null) => void;
}

// For how long an error that only a person can mend may last before it is taken for one: topics and
// grants take a moment to spread through a cluster.
const PATIENCE_MS = 10_000;
const ASK_AGAIN_MS = 30_000;
const LAST_COMMIT_MS = 500;

/**
 * One member of a consumer group that reads committed records: at most one batch per partition is
 * with the handler, the next is read meanwhile. Connections that fail, brokers that move and a
 * kafkajs consumer that crashed are tried again for ever with backoff; what only a person can mend
 * (credentials, grants, a missing topic) is tried again slowly, as often as a partition that the
 * handler left out. `onTrouble` tells of both; `run` never rejects.
 */
export function createRecordStream(options: RecordStreamOptions): RecordStream {
  const { topic, groupId } = options;
  const random = options.random ?? Math.random;
  const logger = options.logger ?? silent;
  let current: Assignment | undefined;

  async function run(handler: StreamHandler, signal: AbortSignal): Promise<void> {
    const waits = backoff({ initialMs: 100, maxMs: 5000, random });
    const began = Date.now();
    while (!signal.aborted) {
      const started = Date.now();
      const error = await session(handler, signal);
      if (error === null || signal.aborted) return;
      options.onTrouble?.(error);
      if (Date.now() - started > 60_000) waits.reset();
      const shortly = waits.next();
      const late = Date.now() - began > PATIENCE_MS;
      await sleep(
        error.kind === 'transient' || !late ? shortly : (options.askAgainMs ?? ASK_AGAIN_MS),
        signal,
      );
    }
  }

  /** One membership, until the signal aborts (null) or it is lost (why). */
  async function session(handler: StreamHandler, signal: AbortSignal): Promise<DeltaferryError | null> {
    const ending = new AbortController();
    const stopping = AbortSignal.any([signal, ending.signal]);
    let lostBy: DeltaferryError | null = null;
    let assignment: Assignment | undefined;
    const end = (error: DeltaferryError): void => {
      lostBy ??= error;
      ending.abort();
    };
    const onTrouble = patience(end);
    let membership: Membership;
    try {
      membership = await joinGroup({
        kafka: options.kafka,
        groupId,
        topic,
        sessionTimeoutMs: options.sessionTimeoutMs ?? 30_000,
        logger,
        onLost: end,
        onAssignment(partitions, cluster) {
          current = assignment ??= createAssignment({
            cluster,
            topic,
            handler,
            stopping,
            random,
            logger,
            onTrouble,
            slots: createSlots(options.partitionsConcurrently ?? 4),
            askAgainMs: options.askAgainMs ?? ASK_AGAIN_MS,
            limits: {
              maxWaitMs: options.maxWaitMs ?? 50,
              maxBytes: options.maxBytes ?? 2 * 1024 * 1024,
              maxBytesPerPartition: options.maxBytesPerPartition ?? 256 * 1024,
            },
          });
          assignment.update(partitions);
        },
      });
    } catch (error) {
      ending.abort();
      await assignment?.idle();
      return translateKafka(error, { doing: 'joining the group', topic, group: groupId });
    }
    // Also a member without partitions is well.
    onTrouble(null);
    await commitUntil(stopping, membership, () => assignment?.done() ?? new Map());
    await assignment?.idle();
    await lastCommit(membership, assignment);
    await membership.leave();
    assignment?.update([]);
    current = undefined;
    return lostBy;
  }

  /** An error for a person to mend ends the session once it has lasted; others only show. */
  function patience(end: (error: DeltaferryError) => void): (error: DeltaferryError | null) => void {
    let since: number | null = null;
    return (error) => {
      options.onTrouble?.(error);
      if (error?.kind !== 'operator') {
        since = null;
        return;
      }
      since ??= Date.now();
      if (Date.now() - since >= PATIENCE_MS) end(error);
    };
  }

  async function commitUntil(
    stopping: AbortSignal,
    membership: Membership,
    done: () => ReadonlyMap<number, bigint>,
  ): Promise<void> {
    let committed: ReadonlyMap<number, bigint> = new Map();
    while (!stopping.aborted) {
      await sleep(options.commitEveryMs ?? 1000, stopping);
      if (stopping.aborted) return;
      const now = done();
      const news = new Map([...now].filter(([partition, offset]) => committed.get(partition) !== offset));
      if (await commit(membership, news)) committed = now;
    }
  }

  async function lastCommit(membership: Membership, assignment: Assignment | undefined): Promise<void> {
    if (assignment === undefined) return;
    const late = new AbortController();
    await Promise.race([commit(membership, assignment.done()), sleep(LAST_COMMIT_MS, late.signal)]);
    late.abort();
  }

  /** Nothing depends on Kafka's own offsets but tools that show lag. */
  async function commit(membership: Membership, offsets: ReadonlyMap<number, bigint>): Promise<boolean> {
    try {
      await membership.commit(offsets);
      return true;
    } catch (error) {
      logger.debug({ err: error, topic, group: groupId }, 'committing offsets for lag tools failed');
      return false;
    }
  }

  return { run, reread: (partitions) => current?.reread(partitions) };
}
