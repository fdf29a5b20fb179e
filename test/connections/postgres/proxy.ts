import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { urlWith } from './database.ts';

/** A TCP proxy before Postgres that can go silent, as a broken network does. */
export interface Proxy {
  /** The given URL, by way of the proxy. */
  readonly url: string;
  /** From now on nothing passes in either direction; the connections stay open. */
  freeze(): void;
  /** Forwards the first request that contains the text, and no answer from then on. */
  loseAnswerTo(text: string): void;
  /** What the clients' first messages said. */
  greetings(): string;
  /** Breaks every connection. */
  cut(): void;
  close(): Promise<void>;
}

export async function openProxy(url: string): Promise<Proxy> {
  const target = new URL(url);
  const sockets = new Set<Socket>();
  let frozen = false;
  let silent = false;
  let fatal: string | null = null;
  let greetings = '';

  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname);
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        if (!frozen) other.destroy();
      });
    }
    client.once('data', (bytes: Buffer) => {
      greetings += bytes.toString('latin1');
    });
    client.on('data', (bytes: Buffer) => {
      if (frozen) return;
      if (fatal !== null && bytes.includes(fatal)) silent = true;
      upstream.write(bytes);
    });
    upstream.on('data', (bytes: Buffer) => {
      if (!frozen && !silent) client.write(bytes);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: urlWith(url, { host: '127.0.0.1', port: (server.address() as AddressInfo).port }),
    freeze() {
      frozen = true;
    },
    loseAnswerTo(text) {
      fatal = text;
    },
    greetings: () => greetings,
    cut() {
      silent = false;
      fatal = null;
      cut();
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      cut();
      await closed;
    },
  };
}
