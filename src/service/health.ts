import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';

/** What one part of the service (a table's feed, a partition of a sink) says of itself. */
export interface PartHealth {
  readonly state: string;
  /** False where a person has to act. */
  readonly ready: boolean;
  readonly code?: string;
  readonly error?: string;
  readonly remedy?: string;
}

/** The parts of one process and how they are. */
export class Health {
  readonly #parts = new Map<string, PartHealth>();
  #draining = false;

  set(part: string, health: PartHealth): void {
    this.#parts.set(part, health);
  }

  remove(part: string): void {
    this.#parts.delete(part);
  }

  drain(): void {
    this.#draining = true;
  }

  get ready(): boolean {
    return !this.#draining && [...this.#parts.values()].every((part) => part.ready);
  }

  report(): { ready: boolean; draining: boolean; parts: Record<string, PartHealth> } {
    return { ready: this.ready, draining: this.#draining, parts: Object.fromEntries(this.#parts) };
  }
}

export interface HealthServer {
  readonly url: string;
  close(): Promise<void>;
}

/** Serves `/metrics` (Prometheus text), `/livez` and `/readyz` (JSON; 503 with the remedies when not ready). */
export async function serveHealth(
  options: { readonly host: string; readonly port: number },
  health: Health,
  metrics: Registry,
): Promise<HealthServer> {
  const server = createServer((request, response) => {
    const path = (request.url ?? '/').split('?')[0];
    if (path === '/metrics') {
      metrics.metrics().then(
        (text) => response.setHeader('content-type', metrics.contentType).end(text),
        () => response.writeHead(500).end(),
      );
      return;
    }
    if (path === '/livez') return void response.end('ok\n');
    if (path === '/readyz') {
      response.setHeader('content-type', 'application/json');
      return void response.writeHead(health.ready ? 200 : 503).end(`${JSON.stringify(health.report())}\n`);
    }
    response.writeHead(404).end('try /metrics, /livez or /readyz\n');
  });
  await listen(server, options);
  const { address, port, family } = server.address() as AddressInfo;
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, options: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, resolve);
  });
}
