import type { Cluster } from 'kafkajs';
import { TransientError, type DeltaferryError } from '../../errors.ts';
import { backoff } from '../../flow/backoff.ts';
import { sleep } from '../../flow/sleep.ts';
import { protocolErrorOf, translateKafka } from './errors.ts';
import { createFetchRoom, partsBeside } from './fetch-room.ts';
import { fetchCommitted, type FetchLimits } from './fetch.ts';
import type { PartitionFlow } from './partition-flow.ts';

export interface FetchLoopOptions {
  readonly cluster: Cluster;
  readonly topic: string;
  /** As it lies on the topic, compressed: it is less where much comes of it. */
  readonly limits: FetchLimits;
  readonly stopping: AbortSignal;
  readonly random: () => number;
  /** The partitions that are ours at the moment. */
  readonly flows: () => Iterable<PartitionFlow>;
  /** An error of a fetch; it is tried again after a while. Null: fetches succeed again. */
  readonly onTrouble: (error: DeltaferryError | null) => void;
}

export interface FetchLoop {
  /** Something may be wanted that was not wanted before. */
  wake(): void;
}

/**
 * Keeps one fetch under way at every broker that leads a partition with room for more, as long as what all
 * partitions hold is little: then the next fetch is one batch at least, however much comes of it.
 */
export function startFetchLoop(options: FetchLoopOptions): FetchLoop {
  const { cluster, topic, limits, stopping } = options;
  const underWay = new Set<string>();
  const room = createFetchRoom(limits.maxBytesPerPartition);
  /** The larger, the more recently a partition got something: none runs away from the others. */
  const turns = new WeakMap<PartitionFlow, number>();
  let turn = 0;
  const waits = backoff({ initialMs: 50, maxMs: 2000, random: options.random });
  let resting = false;
  let failing = false;

  function wake(): void {
    if (resting || stopping.aborted) return;
    const held = [...options.flows()].reduce((sum, { heldBytes }) => sum + heldBytes, 0);
    try {
      const wanted = wantedByLeader();
      const parts = partsBeside(held, new Set([...underWay, ...wanted.keys()]).size);
      for (const [leader, flows] of wanted) {
        if (underWay.has(leader) || parts === 0) continue;
        underWay.add(leader);
        void fetchFrom(leader, flows, parts);
      }
    } catch (error) {
      void rest(error);
    }
  }

  function wantedByLeader(): Map<string, PartitionFlow[]> {
    const wanting = [...options.flows()]
      .filter((flow) => flow.wants !== null)
      .sort((a, b) => Number(b.starved) - Number(a.starved) || (turns.get(a) ?? 0) - (turns.get(b) ?? 0));
    if (wanting.length === 0) return new Map();
    const byPartition = new Map(wanting.map((flow) => [flow.partition, flow]));
    const leaders = cluster.findLeaderForPartitions(topic, [...byPartition.keys()]);
    const wanted = new Map<string, PartitionFlow[]>();
    for (const [leader, partitions] of Object.entries(leaders)) {
      const flows = partitions.flatMap((partition) => byPartition.get(partition) ?? []);
      wanted.set(leader, flows);
      for (const flow of flows) byPartition.delete(flow.partition);
    }
    if (byPartition.size > 0)
      throw new TransientError({
        code: 'KAFKA_NO_LEADER',
        message: `No leader is known for topic ${topic} partition ${[...byPartition.keys()].join()}.`,
      });
    return wanted;
  }

  async function fetchFrom(leader: string, flows: readonly PartitionFlow[], parts: number): Promise<void> {
    const wanted = new Map(
      flows.flatMap((flow) => (flow.wants === null ? [] : [[flow.partition, flow.wants]])),
    );
    const stretch = Math.max(...flows.map((flow) => flow.stretch));
    try {
      const fetched = await fetchCommitted(cluster, leader, topic, wanted, {
        ...limits,
        maxBytes: Math.min(limits.maxBytes, room.bytes() * parts) * stretch,
        maxBytesPerPartition: room.bytes() * stretch,
      });
      room.fetched(fetched);
      turn += 1;
      const nothing = fetched.every(({ from, next }) => from === next);
      for (const part of fetched) {
        const flow = flows.find(({ partition }) => partition === part.partition);
        if (flow === undefined) continue;
        flow.deliver(part, nothing);
        if (part.next !== part.from) turns.set(flow, turn);
      }
      waits.reset();
      if (failing) options.onTrouble(null);
      failing = false;
    } catch (error) {
      if (!deliverOutOfRange(error, flows, wanted)) await rest(error);
    } finally {
      underWay.delete(leader);
    }
    wake();
  }

  /** kafkajs names the first partition out of range and drops the answer for all others. */
  function deliverOutOfRange(
    error: unknown,
    flows: readonly PartitionFlow[],
    wanted: ReadonlyMap<number, bigint>,
  ): boolean {
    if (protocolErrorOf(error) !== 'OFFSET_OUT_OF_RANGE') return false;
    const { partition } = error as { partition?: number };
    const flow = flows.find((each) => each.partition === partition);
    const asked = flow === undefined ? undefined : wanted.get(flow.partition);
    if (flow === undefined || asked === undefined) return false;
    flow.deliverOutOfRange(asked);
    return true;
  }

  async function rest(error: unknown): Promise<void> {
    if (resting || stopping.aborted) return;
    resting = true;
    failing = true;
    options.onTrouble(translateKafka(error, { doing: 'fetching', topic }));
    await sleep(waits.next(), stopping);
    // Leaders may have moved, or the topic is gone.
    await cluster.refreshMetadata().catch((failure: unknown) => {
      options.onTrouble(translateKafka(failure, { doing: 'looking for the leaders', topic }));
    });
    resting = false;
    wake();
  }

  return { wake };
}
