import { readFileSync } from 'node:fs';
import type { DatabricksOptions } from '../connections/databricks/client.ts';
import type { KafkaOptions } from '../connections/kafka/client.ts';
import type { PostgresOptions } from '../connections/postgres/pool.ts';
import type { RegistryOptions } from '../connections/registry/schemas.ts';
import type { Config, TlsConfig } from './config/schema.ts';
import type { Logger } from './logger.ts';

/** From the configuration's words to each adapter's: PEM files are read here. */
export function kafkaOptions({ kafka }: Config, logger?: Logger): KafkaOptions {
  return {
    brokers: kafka.brokers,
    clientId: kafka.clientId,
    ...(kafka.tls.enabled ? { tls: tlsMaterial(kafka.tls) } : {}),
    ...(kafka.sasl === undefined ? {} : { sasl: kafka.sasl }),
    ...(logger === undefined ? {} : { logger }),
  };
}

export function registryOptions({ registry }: Config): RegistryOptions {
  const { url, auth, token, caFile } = registry;
  return {
    url,
    ...(auth === undefined ? {} : { auth }),
    ...(token === undefined ? {} : { auth: { token } }),
    ...(caFile === undefined ? {} : { tls: { ca: pem(caFile) } }),
  };
}

export function postgresOptions({ postgres, delivery }: Config): PostgresOptions {
  return {
    url: postgres.url,
    lockTimeoutMs: delivery.lockTimeoutMs,
    ...(postgres.tls.enabled ? { tls: tlsMaterial(postgres.tls) } : {}),
  };
}

export function databricksOptions({ databricks }: Config): DatabricksOptions {
  const { host, port, path, token, oauth, caFile } = databricks;
  return {
    host,
    port,
    path,
    ...(token === undefined ? {} : { token }),
    ...(oauth === undefined ? {} : { oauth }),
    ...(caFile === undefined ? {} : { caFile }),
  };
}

function tlsMaterial(tls: TlsConfig): {
  ca?: string;
  cert?: string;
  key?: string;
  rejectUnauthorized: boolean;
} {
  return {
    rejectUnauthorized: tls.rejectUnauthorized,
    ...(tls.caFile === undefined ? {} : { ca: pem(tls.caFile) }),
    ...(tls.certFile === undefined ? {} : { cert: pem(tls.certFile) }),
    ...(tls.keyFile === undefined ? {} : { key: pem(tls.keyFile) }),
  };
}

function pem(file: string): string {
  return readFileSync(file, 'utf8');
}
