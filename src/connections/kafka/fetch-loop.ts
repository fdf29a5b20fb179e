import type { Cluster } from 'kafkajs';
import { TransientError, type DeltaferryError } from '../../errors.ts';
import { backoff } from '../../flow/backoff.ts';
import { sleep } from '../../flow/sleep.ts';
import { protocolErrorOf, translateKafka } from './errors.ts';
import { fetchCommitted, type FetchLimits } from './fetch.ts';
import type { PartitionFlow } from './partition-flow.ts';

export interface FetchLoopOptions {
  readonly cluster: Cluster;
  readonly topic: string;
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

/** Keeps one fetch under way at every broker that leads a partition with room for more. */
export function startFetchLoop(options: FetchLoopOptions): FetchLoop {
  const { cluster, topic, limits, stopping } = options;
  const underWay = new Set<string>();
  const waits = backoff({ initialMs: 50, maxMs: 2000, random: options.random });
  let resting = false;
  let failing = false;

  function wake(): void {
    if (resting || stopping.aborted) return;
    try {
      for (const [leader, flows] of wantedByLeader()) {
        if (underWay.has(leader)) continue;
        underWay.add(leader);
        void fetchFrom(leader, flows);
      }
    } catch (error) {
      void rest(error);
    }
  }

  function wantedByLeader(): Map<string, PartitionFlow[]> {
    const wanting = [...options.flows()]
      .filter((flow) => flow.wants !== null)
      .sort((a, b) => Number(b.starved) - Number(a.starved));
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

  async function fetchFrom(leader: string, flows: readonly PartitionFlow[]): Promise<void> {
    const wanted = new Map(
      flows.flatMap((flow) => (flow.wants === null ? [] : [[flow.partition, flow.wants]])),
    );
    const stretch = Math.max(...flows.map((flow) => flow.stretch));
    try {
      const fetched = await fetchCommitted(cluster, leader, topic, wanted, {
        ...limits,
        maxBytes: limits.maxBytes * stretch,
        maxBytesPerPartition: limits.maxBytesPerPartition * stretch,
      });
      const nothing = fetched.every(({ from, next }) => from === next);
      for (const part of fetched)
        flows.find(({ partition }) => partition === part.partition)?.deliver(part, nothing);
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
