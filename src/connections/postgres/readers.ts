import pg from 'pg';
import { connectionConfig, silenced, type PostgresOptions } from './pool.ts';

/** Connections for COPY, which has no deadline: the driver's own would strike in the midst of a large one. */
export function openReaders(options: PostgresOptions, { max, settings = '' }: ReadersOptions): pg.Pool {
  const config = connectionConfig(options);
  return silenced(
    new pg.Pool({
      ...config,
      options: `${config.options} ${settings}`,
      query_timeout: 0,
      max,
      idleTimeoutMillis: 30_000,
    }),
  );
}

export interface ReadersOptions {
  readonly max: number;
  /** Of each connection: `-c name=value …` */
  readonly settings?: string;
}

/** Ends its connection at once: nothing else ends a COPY, or a connection to a server that hangs. */
export function sever(client: pg.ClientBase): void {
  (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
}
