import { join } from 'node:path';
import type { Ports } from './ports.ts';
import type { Secrets } from './secrets.ts';

/** What a client needs to reach the local stack: the content of `stack.json`. It holds secrets. */
export interface Endpoints {
  readonly kafka: { readonly brokers: string[] };
  readonly registry: { readonly url: string };
  readonly postgres: { readonly url: string };
  readonly databricks: {
    readonly host: string;
    readonly port: number;
    readonly path: string;
    readonly token: string;
    /** PEM file of the authority behind the warehouse's certificate. */
    readonly caFile: string;
    /** A folder of the warehouse's own, by the name that its SQL knows. */
    readonly stagingVolume: string;
  };
}

export function endpointsOf(dir: string, ports: Ports, secrets: Secrets): Endpoints {
  return {
    kafka: { brokers: [`127.0.0.1:${ports.kafka}`] },
    registry: { url: `http://127.0.0.1:${ports.registry}/apis/ccompat/v7` },
    postgres: { url: `postgres://postgres:${secrets.postgresPassword}@127.0.0.1:${ports.postgres}/postgres` },
    databricks: {
      host: 'localhost',
      port: ports.warehouse,
      path: '/sql/1.0/warehouses/local',
      token: secrets.warehouseToken,
      caFile: certificateFile(join(dir, 'warehouse')),
      stagingVolume: '/Volumes/local/default/deltaferry',
    },
  };
}

export const certificateFile = (warehouseDir: string): string => join(warehouseDir, 'certificate.pem');
