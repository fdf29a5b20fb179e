import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** What a client sent in one piece: with clients that wait for each answer, one request. */
export type RequestMatch = (request: Buffer) => boolean;

/** Stands between a client and one server, and does to their connections what networks do. */
export interface Proxy {
  readonly port: number;
  /** The next so many requests that match are passed on; their answers are not: the connection is cut when they come. */
  loseAnswers(count: number, match?: RequestMatch): void;
  /** The next so many requests that match are lost, with their connection. */
  loseRequests(count: number, match?: RequestMatch): void;
  /** How many requests and answers were lost. */
  readonly lost: number;
  /** Requests that match are kept back from now on; `release` passes them on. */
  keepBack(match: RequestMatch): { readonly kept: () => number; readonly release: () => void };
  /** Connections are accepted and nothing passes, in either direction, until it is switched off. */
  hang(hanging: boolean): void;
  /** Every piece takes so many milliseconds longer. */
  slow(milliseconds: number): void;
  /** Cuts all connections and accepts none, until it is switched off. */
  refuse(refusing: boolean): void;
  cut(): void;
  close(): Promise<void>;
}

interface Loss {
  count: number;
  readonly what: 'request' | 'answer';
  readonly match: RequestMatch;
}

export async function startProxy(target: { readonly host: string; readonly port: number }): Promise<Proxy> {
  const sockets = new Set<Socket>();
  const losses: Loss[] = [];
  const gates = new Set<{ readonly match: RequestMatch; readonly opened: Promise<void> }>();
  let refusing = false;
  let slowMs = 0;
  let lost = 0;
  let hanging: PromiseWithResolvers<void> | undefined;

  const server = createServer((client) => {
    if (refusing) return void client.destroy();
    const upstream = connect(target.port, target.host);
    const connection = { losing: false };
    const close = (): void => {
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', close).on('close', () => {
        close();
        sockets.delete(socket);
      });
    }
    void pass(client, upstream, async (request) => {
      for (const gate of gates) if (gate.match(request)) await gate.opened;
      const loss = losses.find(({ count, match }) => count > 0 && match(request));
      if (loss === undefined) return true;
      loss.count -= 1;
      if (loss.what === 'answer') return (connection.losing = true);
      lost += 1;
      return false;
    });
    void pass(upstream, client, () => {
      if (connection.losing) lost += 1;
      return Promise.resolve(!connection.losing);
    });
  });

  /** At the reader's pace; where `inspect` says no, the connection is cut. */
  async function pass(from: Socket, to: Socket, inspect: (piece: Buffer) => Promise<boolean>): Promise<void> {
    try {
      for await (const piece of from as AsyncIterable<Buffer>) {
        if (slowMs > 0) await delay(slowMs);
        await hanging?.promise;
        if (!(await inspect(piece))) break;
        if (!to.destroyed && !to.write(piece)) await Promise.race([once(to, 'drain'), once(to, 'close')]);
      }
    } catch {
      // The other side learns of it below.
    }
    to.destroy();
    from.destroy();
  }

  const everything: RequestMatch = () => true;
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    loseAnswers: (count, match = everything) => void losses.push({ count, what: 'answer', match }),
    loseRequests: (count, match = everything) => void losses.push({ count, what: 'request', match }),
    get lost() {
      return lost;
    },
    keepBack(match) {
      const { promise, resolve } = Promise.withResolvers<void>();
      let kept = 0;
      const gate = { match: (request: Buffer) => match(request) && ++kept > 0, opened: promise };
      gates.add(gate);
      return {
        kept: () => kept,
        release() {
          gates.delete(gate);
          resolve();
        },
      };
    },
    hang(now) {
      if (now) hanging ??= Promise.withResolvers();
      else {
        hanging?.resolve();
        hanging = undefined;
      }
    },
    slow(milliseconds) {
      slowMs = milliseconds;
    },
    refuse(now) {
      refusing = now;
      if (now) cut();
    },
    cut,
    async close() {
      hanging?.resolve();
      cut();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Requests of the Postgres protocol that hold this statement, such as `COMMIT`. */
export function statement(text: string): RequestMatch {
  return (request) => request.includes(`${text}\0`);
}
