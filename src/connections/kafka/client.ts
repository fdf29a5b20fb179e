import kafkajs, { type Kafka, type KafkaConfig, type LogEntry, type SASLOptions } from 'kafkajs';
import { registerCodecs } from './codecs.ts';
import { mendBatches, mendRequestQueue } from './kafkajs-mends.ts';
import { openSocket } from './sockets.ts';

export interface KafkaOptions {
  /** `host:port` of one broker or more. */
  readonly brokers: readonly string[];
  readonly clientId: string;
  /** Absent: plain text. PEM texts; the system's authorities where `ca` is absent. */
  readonly tls?: {
    readonly ca?: string;
    readonly cert?: string;
    readonly key?: string;
    readonly rejectUnauthorized?: boolean;
  };
  readonly sasl?: {
    readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512';
    readonly username: string;
    readonly password: string;
  };
  /** Where kafkajs's own lines go; absent: nowhere. */
  readonly logger?: KafkaLogger;
  /** How long a broker may take to answer one request, milliseconds; default 20,000. */
  readonly requestTimeoutMs?: number;
}

/** What is needed of a logger; pino's fits. */
export interface KafkaLogger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** No logger was given. */
export const silent: KafkaLogger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

// The first retry follows this many milliseconds after a refusal. A transaction waits for the end of
// the one before it by retrying: kafkajs's default of 300 makes each cost 259 ms.
const INITIAL_RETRY_MS = 10;
// Together about 3 s: longer waits are the loops' own affair, where they can be interrupted.
const RETRIES = 8;
const LONGEST_RETRY_MS = 1000;

/** The kafkajs client that everything in this folder is built on. Connects lazily. */
export function openKafka(options: KafkaOptions): Kafka {
  registerCodecs();
  mendRequestQueue();
  mendBatches();
  const config: KafkaConfig = {
    brokers: [...options.brokers],
    clientId: options.clientId,
    socketFactory: openSocket,
    connectionTimeout: 5000,
    authenticationTimeout: 10_000,
    requestTimeout: options.requestTimeoutMs ?? 20_000,
    retry: { initialRetryTime: INITIAL_RETRY_MS, maxRetryTime: LONGEST_RETRY_MS, retries: RETRIES },
    logLevel: options.logger === undefined ? kafkajs.logLevel.NOTHING : kafkajs.logLevel.INFO,
    logCreator: () => (entry) => route(entry, options.logger ?? silent),
  };
  if (options.tls !== undefined) config.ssl = definedOnly(options.tls);
  if (options.sasl !== undefined) config.sasl = { ...options.sasl } as SASLOptions;
  return new kafkajs.Kafka(config);
}

// A refused request is an error to whoever made it, who says what becomes of it: a transaction waits for
// the end of the one before it so many times a second, a coordinator moves, a topic is not there yet.
const REFUSED = /^Response |concurrent operation on the same transaction/;
// A membership that ends is reported by who holds it (membership.ts), with what becomes of it.
const MEMBERSHIP = /^(Crash|Restarting the consumer)/;
// So is a broker that does not answer, once; kafkajs says it again for every attempt of every connection.
const UNREACHABLE =
  /^(Connection (error|timeout)|Failed to connect|Failed to send messages: Conn|Closed connection)/;
const TOLD_BY_OTHERS = [REFUSED, MEMBERSHIP, UNREACHABLE];

function route({ namespace, level, log }: LogEntry, logger: KafkaLogger): void {
  const { message, timestamp: _, logger: __, ...rest } = log;
  const fields = { kafkajs: namespace, ...rest };
  if (TOLD_BY_OTHERS.some((told) => told.test(message))) logger.debug(fields, message);
  else if (level === kafkajs.logLevel.ERROR) logger.error(fields, message);
  else if (level === kafkajs.logLevel.WARN) logger.warn(fields, message);
  else logger.debug(fields, message);
}

function definedOnly<T extends object>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
