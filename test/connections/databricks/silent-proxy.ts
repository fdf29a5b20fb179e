import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** A TCP proxy before the warehouse that can go silent, cut its connections, or refuse new ones. */
export interface SilentProxy {
  readonly port: number;
  /** While true nothing passes in either direction; the connections stay open. */
  silence(silent: boolean): void;
  /** Breaks every connection; while `refusing`, new ones end at once. */
  cut(refusing?: boolean): void;
  close(): Promise<void>;
}

export async function openSilentProxy(host: string, port: number): Promise<SilentProxy> {
  const sockets = new Set<Socket>();
  let silent = false;
  let refused = false;
  const server = createServer((client) => {
    if (refused) return void client.destroy();
    const upstream = connect(port, host);
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('data', (bytes: Buffer) => silent || other.write(bytes));
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = (refusing = false): void => {
    refused = refusing;
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    silence(now) {
      silent = now;
    },
    cut,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      cut(true);
      await closed;
    },
  };
}
