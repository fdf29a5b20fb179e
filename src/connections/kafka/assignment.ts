import type { Cluster } from 'kafkajs';
import { BugError, type DeltaferryError } from '../../errors.ts';
import { backoff } from '../../flow/backoff.ts';
import { sleep } from '../../flow/sleep.ts';
import type { Slots } from '../../flow/slots.ts';
import type { BatchOutcome, PartitionRange, StreamBatch, StreamHandler } from '../../ports/record-stream.ts';
import type { KafkaLogger } from './client.ts';
import { translateKafka } from './errors.ts';
import type { FetchLimits } from './fetch.ts';
import { startFetchLoop } from './fetch-loop.ts';
import { PartitionFlow } from './partition-flow.ts';

export interface AssignmentOptions {
  readonly cluster: Cluster;
  readonly topic: string;
  readonly handler: StreamHandler;
  readonly stopping: AbortSignal;
  readonly limits: FetchLimits;
  readonly slots: Slots;
  readonly askAgainMs: number;
  readonly random: () => number;
  readonly logger: KafkaLogger;
  readonly onTrouble: (error: DeltaferryError | null) => void;
}

/** The partitions that are ours, each going through asking, reading and handling on its own. */
export interface Assignment {
  /** What is ours from now on. Partitions that stay are not disturbed. */
  update(partitions: readonly number[]): void;
  /** Partitions in which the handler has lost its place: it is asked anew. */
  reread(partitions: readonly number[]): void;
  /** Offsets after what was done, or is durable where the handler tells that, of the partitions that are ours. */
  done(): ReadonlyMap<number, bigint>;
  /** Resolves when no batch is with the handler any more; to be called after `stopping` has aborted. */
  idle(): Promise<void>;
}

export function createAssignment(options: AssignmentOptions): Assignment {
  const { cluster, topic, handler, stopping, slots } = options;
  const flows = new Map<number, PartitionFlow>();
  /** Ends when the partition's last batch has left the handler, also for a partition that was lost. */
  const inHand = new Map<number, Promise<void>>();
  const asking = new Set<Promise<void>>();
  const loop = startFetchLoop({
    cluster,
    topic,
    limits: options.limits,
    stopping,
    random: options.random,
    flows: () => flows.values(),
    onTrouble: options.onTrouble,
  });

  function update(partitions: readonly number[]): void {
    const lost = [...flows.keys()].filter((partition) => !partitions.includes(partition));
    for (const partition of lost) {
      flows.get(partition)?.revoke();
      flows.delete(partition);
    }
    if (lost.length > 0) handler.revoked(lost);
    // What these held is room for others.
    loop.wake();
    const gained = partitions.filter((partition) => !flows.has(partition));
    const free: PartitionFlow[] = [];
    for (const partition of gained) {
      const flow = new PartitionFlow(partition, stopping);
      flows.set(partition, flow);
      const busy = inHand.get(partition);
      if (busy === undefined) free.push(flow);
      else track(busy.then(() => place([flow])));
    }
    track(place(free));
  }

  /** Asks the handler where to read these partitions from, until each has an answer or is lost. */
  async function place(asked: readonly PartitionFlow[]): Promise<void> {
    const waits = backoff({ initialMs: 100, maxMs: 5000, random: options.random });
    let open = asked.filter((flow) => !flow.lost.aborted);
    while (open.length > 0) {
      let wait: number;
      for (const flow of open) flow.ask();
      try {
        const answers = await handler.assigned(await watermarks(open.map(({ partition }) => partition)));
        const placed = open.filter((flow) => answers.has(flow.partition) && !flow.rereading);
        for (const flow of placed) start(flow, answers.get(flow.partition) ?? 0n);
        open = open.filter((flow) => !placed.includes(flow));
        wait = open.some((flow) => flow.rereading) ? waits.next() : options.askAgainMs;
        options.onTrouble(null);
      } catch (error) {
        options.onTrouble(translateKafka(error, { doing: 'asking where to start', topic }));
        wait = waits.next();
      }
      open = open.filter((flow) => !flow.lost.aborted);
      if (open.length > 0) await sleep(wait, anyOf(open));
      open = open.filter((flow) => !flow.lost.aborted);
    }
  }

  async function watermarks(partitions: readonly number[]): Promise<Map<number, PartitionRange>> {
    const wanted = partitions.map((partition) => ({ partition }));
    const [low, high] = await Promise.all([
      cluster.fetchTopicsOffset([{ topic, partitions: wanted, fromBeginning: true }]),
      cluster.fetchTopicsOffset([{ topic, partitions: wanted, fromBeginning: false }]),
    ]);
    const offset = (answers: typeof low, partition: number): bigint => {
      const found = answers[0]?.partitions.find((each) => each.partition === partition);
      if (found === undefined)
        throw new BugError({
          code: 'KAFKA_WATERMARKS',
          message: `Kafka gave no offset of ${topic} ${partition}.`,
        });
      return BigInt(found.offset);
    };
    return new Map(
      partitions.map((partition) => [
        partition,
        { low: offset(low, partition), high: offset(high, partition) },
      ]),
    );
  }

  function start(flow: PartitionFlow, offset: bigint): void {
    if (flow.lost.aborted) return;
    flow.readFrom(offset);
    loop.wake();
    const { partition } = flow;
    const hand = consume(flow).then((next) => {
      if (inHand.get(partition) === hand) inHand.delete(partition);
      loop.wake();
      if (next !== 'lost') track(place([flow]));
    });
    inHand.set(partition, hand);
  }

  async function consume(flow: PartitionFlow): Promise<'out-of-range' | 'reread' | 'lost'> {
    for (;;) {
      const batch = await flow.take();
      if (batch === null) return 'lost';
      if (batch === 'out-of-range' || batch === 'reread') return batch;
      loop.wake();
      const outcome = await slots.run(async () =>
        flow.lost.aborted || flow.rereading ? null : handle(batch),
      );
      // The next take says why.
      if (outcome === null) continue;
      const rest = flow.settle(batch, outcome);
      loop.wake();
      if (outcome.kind !== 'pause') continue;
      await flow.rest(rest, batch.from);
      loop.wake();
    }
  }

  async function handle(batch: StreamBatch): Promise<BatchOutcome> {
    try {
      // The membership keeps the heartbeat going by itself.
      return await handler.batch(batch, () => Promise.resolve());
    } catch (error) {
      const { partition } = batch;
      options.logger.error({ err: error, topic, partition }, 'the handler of a batch threw');
      options.onTrouble(translateKafka(error, { doing: `handling partition ${partition}`, topic }));
      return { kind: 'pause', ms: options.askAgainMs };
    }
  }

  function track(work: Promise<void>): void {
    asking.add(work);
    void work.finally(() => asking.delete(work));
  }

  function done(): ReadonlyMap<number, bigint> {
    const durable = handler.durable?.();
    return new Map(
      [...flows.values()].flatMap((flow): [number, bigint][] => {
        const offset = durable === undefined ? flow.done : durable.get(flow.partition);
        return offset === undefined || offset === null ? [] : [[flow.partition, offset]];
      }),
    );
  }

  return {
    update,
    reread(partitions) {
      for (const partition of partitions) flows.get(partition)?.reread();
      loop.wake();
    },
    done,
    idle: async () => {
      await Promise.all([...inHand.values(), ...asking]);
    },
  };
}

function anyOf(flows: readonly PartitionFlow[]): AbortSignal {
  return AbortSignal.any(flows.map(({ lost }) => lost));
}
