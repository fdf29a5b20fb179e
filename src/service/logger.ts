import pino, { type Logger } from 'pino';
import pretty from 'pino-pretty';

export type { Logger } from 'pino';

export interface LoggerOptions {
  readonly level: string;
  /** `auto`: readable on a TTY, JSON otherwise. */
  readonly format: 'json' | 'pretty' | 'auto';
  /** Takes secrets out of a line: the last line of defence, for messages that come from drivers. */
  readonly clean?: (line: string) => string;
}

/** JSON lines on standard error, or the same made readable; standard output stays the command's own. */
export function createLogger(options: LoggerOptions): Logger {
  const readable = options.format === 'pretty' || (options.format === 'auto' && process.stderr.isTTY);
  const { clean } = options;
  const settings: pino.LoggerOptions = {
    level: options.level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    ...(clean === undefined ? {} : { hooks: { streamWrite: clean } }),
  };
  return readable
    ? pino(settings, pretty({ destination: 2, sync: true, translateTime: 'SYS:HH:MM:ss.l' }))
    : pino(settings, pino.destination({ dest: 2, sync: true }));
}
