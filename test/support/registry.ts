import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A schema registry in front of the real one, which can be wiped, taken down and restored. */
export interface RegistryInFront {
  readonly url: string;
  /** `wiped`: knows nothing; `down`: answers 503 to everything. */
  mode: 'up' | 'wiped' | 'down';
  /** Schema ids that stand for others. */
  readonly aliases: Map<number, number>;
  close(): Promise<void>;
}

/** Reads only, as a running service does. */
export async function registryInFront(real: string): Promise<RegistryInFront> {
  const aliases = new Map<number, number>();
  const server = createServer((request, response) => {
    const path = request.url ?? '/';
    if (request.method !== 'GET') return answer(response, 405, {});
    switch (self.mode) {
      case 'down':
        return answer(response, 503, {});
      case 'wiped':
        return answer(response, 404, {
          error_code: path.startsWith('/schemas/') ? 40_403 : 40_401,
          message: 'not found',
        });
      case 'up':
        fetch(real + path.replace(/\d+$/, (id) => String(aliases.get(Number(id)) ?? id))).then(
          async (found) => answer(response, found.status, await found.json()),
          () => answer(response, 502, {}),
        );
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const self: RegistryInFront = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    mode: 'up',
    aliases,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return self;
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
