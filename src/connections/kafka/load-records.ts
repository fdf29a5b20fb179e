import type { Cluster, Kafka } from 'kafkajs';
import { TransientError } from '../../errors.ts';
import type { LoadReading, LoadRecords, LoadRecordsPart } from '../../ports/load.ts';
import { partitionCount, withCluster } from './cluster.ts';
import { translateKafka } from './errors.ts';
import { createFetchRoom, MOST_PARTS } from './fetch-room.ts';
import { fetchCommitted, type PartitionFetch } from './fetch.ts';

export interface LoadRecordsOptions {
  readonly kafka: Kafka;
  readonly topic: string;
  /** As they lie on the topic, compressed; default 256 KB. It is less where more than twelve times that comes of it. */
  readonly maxBytesPerPartition?: number | undefined;
  /** Per fetch of all partitions of a broker; default 2 MB. */
  readonly maxBytes?: number | undefined;
}

const MAX_WAIT_MS = 50;
const MOST_STRETCH = 64;
/** Parts that are with the handler or wait for it: of a partition one is read while the other is handled. */
const IN_HAND = 2;

interface Flow {
  readonly partition: number;
  /** The offset to fetch next. */
  next: bigint;
  inHand: number;
  /** The later, the more recently it got a part: no partition runs away from the others. */
  turn: number;
  /** Batches that compaction emptied are not seen: a larger fetch reaches past them. */
  stretch: number;
  /** A broker gives a batch larger than the limits only for the first partition of a fetch that has anything. */
  starved: boolean;
  /** A part was not handled: none behind it may be. */
  failed: boolean;
  /** Ends when everything delivered so far has been handled. */
  handled: Promise<void>;
}

/** Reads a topic outside of any group: who reads what, and how far, is the caller's own affair. */
export function createLoadRecords(options: LoadRecordsOptions): LoadRecords {
  const { kafka, topic } = options;
  const room = createFetchRoom(options.maxBytesPerPartition ?? 256 * 1024);

  async function read(reading: LoadReading, signal: AbortSignal): Promise<void> {
    const failed = new AbortController();
    const stopping = AbortSignal.any([signal, failed.signal]);
    const flows = Array.from(reading.from, ([partition, next]): Flow => ({
      partition,
      next,
      inHand: 0,
      turn: 0,
      stretch: 1,
      starved: false,
      failed: false,
      handled: Promise.resolve(),
    }));
    try {
      await withCluster(kafka, async (cluster) => {
        await partitionCount(cluster, topic);
        while (!stopping.aborted) {
          const open = flows.filter((flow) => !isDone(flow, reading));
          if (open.length === 0 && flows.every(({ inHand }) => inHand === 0)) return;
          const free = MOST_PARTS - flows.reduce((sum, { inHand }) => sum + inHand, 0);
          const wanting = open
            .filter(({ inHand }) => inHand < IN_HAND)
            .sort((a, b) => Number(b.starved) - Number(a.starved) || a.turn - b.turn)
            .slice(0, free);
          if (wanting.length === 0) await oneHandled(flows);
          else deliver(await fetchAll(cluster, wanting), flows, reading, (error) => failed.abort(error));
        }
      });
      if (stopping.aborted) throw stopping.reason;
    } catch (error) {
      throw signal.aborted ? signal.reason : translateKafka(error, { doing: 'reading the load', topic });
    } finally {
      failed.abort();
      await Promise.all(flows.map(({ handled }) => handled));
    }
  }

  async function fetchAll(cluster: Cluster, flows: readonly Flow[]): Promise<readonly PartitionFetch[]> {
    const leaders = cluster.findLeaderForPartitions(
      topic,
      flows.map(({ partition }) => partition),
    );
    const known = Object.values(leaders).flat().length;
    if (known < flows.length) {
      await cluster.refreshMetadata();
      throw new TransientError({
        code: 'KAFKA_NO_LEADER',
        message: `No leader is known for some partitions of topic ${topic}.`,
      });
    }
    const stretch = Math.max(...flows.map((flow) => flow.stretch));
    const limits = {
      maxWaitMs: MAX_WAIT_MS,
      maxBytes: (options.maxBytes ?? 2 * 1024 * 1024) * stretch,
      maxBytesPerPartition: room.bytes() * stretch,
    };
    const parts = await Promise.all(
      Object.entries(leaders).map(([leader, partitions]) => {
        const wanted = flows.filter(({ partition }) => partitions.includes(partition));
        const offsets = new Map(wanted.map(({ partition, next }) => [partition, next]));
        return fetchCommitted(cluster, leader, topic, offsets, limits);
      }),
    );
    const fetched = parts.flat();
    room.fetched(fetched);
    return fetched;
  }

  return { read };
}

function isDone({ partition, next }: Flow, { end }: LoadReading): boolean {
  const last = end(partition);
  return last !== null && next >= last;
}

function deliver(
  fetched: readonly PartitionFetch[],
  flows: readonly Flow[],
  { handle }: LoadReading,
  onFailure: (error: unknown) => void,
): void {
  const turn = Math.max(...flows.map((flow) => flow.turn)) + 1;
  const nothing = fetched.every(({ from, next }) => from === next);
  for (const { partition, from, next, stable, records } of fetched) {
    const flow = flows.find((each) => each.partition === partition);
    if (flow === undefined) continue;
    flow.starved = next === from && from < stable;
    flow.stretch = nothing && flow.starved ? Math.min(flow.stretch * 2, MOST_STRETCH) : 1;
    if (next === from) continue;
    flow.next = next;
    flow.inHand += 1;
    flow.turn = turn;
    const part: LoadRecordsPart = { partition, from, next, records };
    flow.handled = flow.handled
      .then(() => (flow.failed ? undefined : handle(part)))
      .catch((error: unknown) => {
        flow.failed = true;
        onFailure(error);
      })
      .finally(() => {
        flow.inHand -= 1;
      });
  }
}

function oneHandled(flows: readonly Flow[]): Promise<unknown> {
  return Promise.race(flows.filter(({ inHand }) => inHand > 0).map(({ handled }) => handled));
}
