import type { ChangeLog } from '../ports/change-log.ts';
import type { HistorySink } from '../ports/history-sink.ts';
import type { MergePart, MergeSink } from '../ports/merge-sink.ts';
import type { Logger } from './logger.ts';

/** The same log of changes, saying in the debug log when each publication begins and ends. */
export function tracedChangeLog(log: ChangeLog, logger: Logger): ChangeLog {
  return {
    async open() {
      const position = await log.open();
      logger.debug({ position }, 'log opened');
      return position;
    },
    async publish(batch) {
      const about = { changes: batch.changes.length, position: batch.position };
      logger.debug(about, 'publish begins');
      await log.publish(batch);
      logger.debug(about, 'publish ends');
    },
    close: () => log.close(),
  };
}

/** The same sink, saying in the debug log when each applying transaction begins and ends. */
export function tracedHistorySink(sink: HistorySink, logger: Logger): HistorySink {
  return {
    async claim(partitions, startAt) {
      const offsets = await sink.claim(partitions, startAt);
      logger.debug({ offsets: textsOf(offsets) }, 'offsets claimed');
      return offsets;
    },
    async apply(batch) {
      const about = {
        partition: batch.partition,
        from: String(batch.expected),
        next: String(batch.next),
        changes: batch.changes.length,
      };
      logger.debug(about, 'apply begins');
      const applied = await sink.apply(batch);
      logger.debug({ ...about, ...applied }, 'apply ends');
      return applied;
    },
    close: () => sink.close(),
  };
}

/** The same sink, saying in the debug log when each merge begins and ends. */
export function tracedMergeSink(sink: MergeSink, logger: Logger): MergeSink {
  return {
    ...sink,
    async claim(partitions, startAt, signal) {
      const offsets = await sink.claim(partitions, startAt, signal);
      logger.debug({ offsets: textsOf(offsets) }, 'offsets claimed');
      return offsets;
    },
    async merge(parts, signal) {
      const about = {
        from: textsOf(new Map(parts.map(({ partition, expected }) => [partition, expected]))),
        next: textsOf(new Map(parts.map(({ partition, next }) => [partition, next]))),
        changes: changesOf(parts),
      };
      logger.debug(about, 'merge begins');
      const merged = await sink.merge(parts, signal);
      logger.debug({ ...about, ...merged }, 'merge ends');
      return merged;
    },
  };
}

function textsOf(offsets: ReadonlyMap<number, bigint>): Record<string, string> {
  return Object.fromEntries([...offsets].map(([partition, offset]) => [partition, String(offset)]));
}

function changesOf(parts: readonly MergePart[]): number {
  return parts.reduce((sum, { changes }) => sum + changes.length, 0);
}
