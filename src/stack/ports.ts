import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';

export interface Ports {
  readonly kafka: number;
  readonly controller: number;
  readonly registry: number;
  readonly postgres: number;
  readonly warehouse: number;
}

export const portNames = [
  'kafka',
  'controller',
  'registry',
  'postgres',
  'warehouse',
] as const satisfies readonly (keyof Ports)[];

/** As many free ports as asked for, all different: they are held together until the last is known. */
export async function freePorts(count: number): Promise<number[]> {
  const held = await Promise.all(Array.from({ length: count }, () => listen(0)));
  const ports = held.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(held.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Whether nothing listens on the port now. */
export async function isFree(port: number): Promise<boolean> {
  // Connecting finds what listens on any address, binding also what is bound and not listening yet.
  if (await answers(port)) return false;
  try {
    const server = await listen(port);
    await new Promise((resolve) => server.close(resolve));
    return true;
  } catch {
    return false;
  }
}

/** Whether a TCP connection to the port is accepted within a second. */
export function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', timeout: 1000 });
    const settle = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.on('connect', () => {
      // A client that dials a free ephemeral port can be given that very port and so reach itself.
      settle(socket.localPort !== port);
    });
    socket.on('error', () => {
      settle(false);
    });
    socket.on('timeout', () => {
      settle(false);
    });
  });
}

function listen(port: number): Promise<ReturnType<typeof createServer>> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(port, '127.0.0.1', () => {
      resolve(server);
    });
  });
}
