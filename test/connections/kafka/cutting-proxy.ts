import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import kafkajs, { type ISocketFactory, type Kafka } from 'kafkajs';
import { openKafka } from '../../../src/connections/kafka/client.ts';

/** Kafka's numbers of the requests that tests lose. */
export const API = { produce: 0, fetch: 1, heartbeat: 12, addPartitions: 24, endTransaction: 26 } as const;

export interface Cut {
  readonly api: number;
  /** `before`: the broker never sees it. `after`: the broker has done it, the answer is lost. */
  readonly when: 'before' | 'after';
}

export interface CuttingProxy {
  readonly port: number;
  /** What happens to the next such requests, one each. */
  cut(...cuts: Cut[]): void;
  /** How many cuts have happened. */
  readonly happened: number;
  /** While true, no connection is accepted and those there are closed. */
  refuse(refusing: boolean): void;
  close(): Promise<void>;
}

/** A proxy before one broker that understands just enough of the protocol to lose a chosen request or answer. */
export async function cuttingProxy(host: string, port: number): Promise<CuttingProxy> {
  const cuts: Cut[] = [];
  const sockets = new Set<Socket>();
  let refusing = false;
  let happened = 0;
  const server = createServer((client) => {
    if (refusing) return void client.destroy();
    const broker = connect(port, host);
    const losing = new Set<number>();
    const close = (): void => {
      client.destroy();
      broker.destroy();
    };
    for (const socket of [client, broker]) {
      sockets.add(socket);
      socket.on('error', close).on('close', () => {
        close();
        sockets.delete(socket);
      });
    }
    frames(client, (frame) => {
      const api = frame.readInt16BE(4);
      const at = cuts.findIndex((each) => each.api === api);
      const [cut] = at < 0 ? [] : cuts.splice(at, 1);
      if (cut?.when === 'before') {
        happened += 1;
        return close();
      }
      if (cut?.when === 'after') losing.add(frame.readInt32BE(8));
      broker.write(frame);
    });
    frames(broker, (frame) => {
      if (!losing.has(frame.readInt32BE(4))) return void client.write(frame);
      happened += 1;
      close();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    cut: (...more) => void cuts.push(...more),
    get happened() {
      return happened;
    },
    refuse(now) {
      refusing = now;
      if (now) for (const socket of sockets) socket.destroy();
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Calls with each whole frame: four bytes of length, then so many bytes. */
function frames(socket: Socket, each: (frame: Buffer) => void): void {
  let buffered = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    buffered = Buffer.concat([buffered, chunk]);
    while (buffered.length >= 4) {
      const length = 4 + buffered.readInt32BE(0);
      if (buffered.length < length) return;
      each(buffered.subarray(0, length));
      buffered = buffered.subarray(length);
    }
  });
}

/** A client whose every connection goes through the proxy, whatever address the broker tells. */
export function kafkaThrough(proxy: CuttingProxy): Kafka {
  // Registers what openKafka registers once for the process.
  openKafka({ brokers: ['127.0.0.1:1'], clientId: 'unused' });
  const socketFactory: ISocketFactory = ({ onConnect }) => {
    const socket = connect(proxy.port, '127.0.0.1', onConnect);
    socket.setKeepAlive(true, 60_000);
    return socket;
  };
  return new kafkajs.Kafka({
    brokers: [`127.0.0.1:${proxy.port}`],
    clientId: 'deltaferry-test',
    socketFactory,
    requestTimeout: 5000,
    retry: { initialRetryTime: 10, maxRetryTime: 200, retries: 8 },
    logLevel: kafkajs.logLevel.NOTHING,
  });
}
