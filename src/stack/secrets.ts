import { randomBytes } from 'node:crypto';

/** Made once per stack folder; never shown, never on a command line. */
export interface Secrets {
  readonly postgresPassword: string;
  readonly warehouseToken: string;
  readonly keystorePassword: string;
}

export function randomSecrets(): Secrets {
  // Hexadecimal needs no quoting in a URL.
  const random = (): string => randomBytes(16).toString('hex');
  return { postgresPassword: random(), warehouseToken: `dapi${random()}`, keystorePassword: random() };
}
