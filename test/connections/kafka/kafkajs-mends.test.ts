import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { connect, createServer, type AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { mendRequestQueue } from '../../../src/connections/kafka/kafkajs-mends.ts';

interface Connection {
  connect(): Promise<unknown>;
  send(request: object): Promise<unknown>;
  disconnect(): Promise<unknown>;
}

const load = createRequire(import.meta.url);
const KafkaJsConnection = load('kafkajs/src/network/connection.js') as new (options: object) => Connection;
const Encoder = load('kafkajs/src/protocol/encoder.js') as new () => object;
const silent = { debug() {}, info() {}, warn() {}, error() {}, namespace: (): object => silent };
/** In how many steps kafkajs hands a request over; it is asked to disconnect between any two of them. */
const STEPS = 12;
const PATIENCE_MS = 5000;

describe('a request that is sent while kafkajs disconnects', () => {
  /** Takes everything and answers nothing, as a broker whose client has said goodbye. */
  const server = createServer((socket) => {
    socket
      .on('error', () => undefined)
      .on('end', () => socket.end())
      .resume();
  });

  before(async () => {
    mendRequestQueue();
    await once(server.listen(0, '127.0.0.1'), 'listening');
  });
  after(() => server.close());

  for (let steps = 0; steps < STEPS; steps++)
    it(`ends, ${steps} steps before`, async () => {
      const connection = new KafkaJsConnection({
        host: '127.0.0.1',
        port: (server.address() as AddressInfo).port,
        logger: silent,
        socketFactory: ({ host, port, onConnect }: { host: string; port: number; onConnect: () => void }) =>
          connect({ host, port }, onConnect),
        requestTimeout: 50,
        enforceRequestTimeout: true,
        connectionTimeout: 1000,
        clientId: 'test',
      });
      await connection.connect();
      const request = {
        apiKey: 1,
        apiVersion: 0,
        apiName: 'Fetch',
        encode: () => Promise.resolve(new Encoder()),
      };
      const sent = connection.send({ request, response: {} });
      for (let step = 0; step < steps; step++) await Promise.resolve();
      const disconnected = connection.disconnect();
      const late = new AbortController();
      const timer = setTimeout(() => late.abort(), PATIENCE_MS);
      const never = once(late.signal, 'abort').then(() => assert.fail('it waits for ever'));
      await assert.rejects(Promise.race([sent, never]), /Not connected|timed out/);
      await disconnected;
      clearTimeout(timer);
    });
});
