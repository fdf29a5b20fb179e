import type { ChangeLog } from '../ports/change-log.ts';
import type { HistorySink } from '../ports/history-sink.ts';
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
      logger.debug(
        { offsets: Object.fromEntries([...offsets].map(([p, o]) => [p, String(o)])) },
        'offsets claimed',
      );
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
