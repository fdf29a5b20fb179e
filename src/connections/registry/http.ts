import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { OperatorError, TransientError } from '../../errors.ts';

export interface RegistryOptions {
  /** Base of the Confluent API, e.g. `http://registry:8081` or `http://apicurio:8080/apis/ccompat/v7`. */
  readonly url: string;
  readonly auth?: { readonly username: string; readonly password: string } | { readonly token: string };
  /** PEM texts; the system's authorities where absent. */
  readonly tls?: {
    readonly ca?: string;
    readonly cert?: string;
    readonly key?: string;
    readonly rejectUnauthorized?: boolean;
  };
  /** Longest wait for one answer, milliseconds; default 10,000. */
  readonly timeoutMs?: number;
}

/** An answer that is not a failure of the registry itself: 2xx, or one of the statuses asked for. */
export interface RegistryAnswer {
  readonly status: number;
  /** Confluent's five digit code of an error; null for a success or for an answer that is not the registry's. */
  readonly errorCode: number | null;
  readonly body: unknown;
}

export interface RegistryCall {
  readonly method: 'GET' | 'POST' | 'PUT';
  readonly path: string;
  readonly body?: object;
  /** Error statuses that mean something to the caller. */
  readonly expected?: readonly number[];
}

export interface RegistryHttp {
  call(call: RegistryCall): Promise<RegistryAnswer>;
  close(): void;
}

const MOST_BYTES = 16 * 1024 * 1024;
const MEDIA_TYPE = 'application/vnd.schemaregistry.v1+json';

/**
 * The registry over HTTP, each call under one deadline. `fetch` cannot be given an authority of one's
 * own, and the registry clients of npm have no deadline.
 */
export function openRegistryHttp(options: RegistryOptions): RegistryHttp {
  const base = new URL(options.url.endsWith('/') ? options.url : `${options.url}/`);
  const secure = base.protocol === 'https:';
  const agent = secure
    ? new HttpsAgent({ keepAlive: true, ...options.tls })
    : new HttpAgent({ keepAlive: true });
  const where = `the schema registry at ${base.origin}${base.pathname.replace(/\/$/, '')}`;

  async function call({ method, path, body, expected = [] }: RegistryCall): Promise<RegistryAnswer> {
    const text = body === undefined ? null : JSON.stringify(body);
    const { status, answer } = await exchange(method, new URL(path, base), text);
    if (status >= 500 || status === 429 || status === 408)
      throw new TransientError({
        code: 'REGISTRY_UNAVAILABLE',
        message: `${where} answered ${status} to ${path}.`,
      });
    if (status === 401 || status === 403)
      throw new OperatorError({
        code: 'REGISTRY_DENIED',
        message: `${where} refused ${method} ${path} (${status}).`,
        remedy: 'Check registry.auth in the configuration and what its user may do.',
      });
    const parsed = parse(answer);
    if (parsed === undefined || (status >= 300 && status < 400)) throw notARegistry(where, path, status);
    const errorCode = errorCodeOf(parsed);
    if (status >= 400 && !expected.includes(status))
      throw new OperatorError({
        code: 'REGISTRY_REFUSED',
        message: `${where} refused ${method} ${path} (${status}): ${messageOf(parsed)}`,
        remedy: 'Mend what the message names, then run `deltaferry setup`.',
      });
    return { status, errorCode, body: parsed };
  }

  function exchange(
    method: string,
    url: URL,
    text: string | null,
  ): Promise<{ status: number; answer: string }> {
    return new Promise((resolve, reject) => {
      const failed = (error: Error): void => reject(unreachable(where, error));
      const request = (secure ? httpsRequest : httpRequest)(
        url,
        {
          method,
          agent,
          signal: AbortSignal.timeout(options.timeoutMs ?? 10_000),
          headers: {
            accept: `${MEDIA_TYPE}, application/json`,
            ...authorization(options.auth),
            ...(text === null
              ? {}
              : { 'content-type': MEDIA_TYPE, 'content-length': Buffer.byteLength(text) }),
          },
        },
        (response) => {
          const chunks: Buffer[] = [];
          let size = 0;
          response.on('data', (chunk: Buffer) => {
            size += chunk.length;
            if (size > MOST_BYTES) response.destroy(new Error('the answer is too long'));
            else chunks.push(chunk);
          });
          response.on('error', failed);
          response.on('end', () =>
            resolve({ status: response.statusCode ?? 0, answer: Buffer.concat(chunks).toString() }),
          );
        },
      );
      request.on('error', failed);
      request.end(text ?? undefined);
    });
  }

  return { call, close: () => agent.destroy() };
}

function authorization(auth: RegistryOptions['auth']): Record<string, string> {
  if (auth === undefined) return {};
  if ('token' in auth) return { authorization: `Bearer ${auth.token}` };
  return { authorization: `Basic ${Buffer.from(`${auth.username}:${auth.password}`).toString('base64')}` };
}

const TLS_FAILURE = /^(ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|HOSTNAME_MISMATCH)/;

function unreachable(where: string, error: Error): Error {
  const { code } = error as { code?: string };
  if (code !== undefined && TLS_FAILURE.test(code))
    return new OperatorError({
      code: 'REGISTRY_TLS',
      message: `No trusted connection to ${where}: ${error.message}`,
      remedy: 'Check registry.caFile in the configuration and the name in the certificate.',
      cause: error,
    });
  const late = error.name === 'TimeoutError' || error.name === 'AbortError';
  return new TransientError({
    code: 'REGISTRY_UNREACHABLE',
    message: late
      ? `${where} did not answer in time.`
      : `${where} cannot be reached: ${error.message || code}`,
    cause: error,
  });
}

function notARegistry(where: string, path: string, status: number): OperatorError {
  return new OperatorError({
    code: 'REGISTRY_URL',
    message: `What answers as ${where} is not a schema registry with the Confluent API: ${path} gave ${status} without JSON.`,
    remedy: 'Check registry.url in the configuration (Apicurio needs the path /apis/ccompat/v7).',
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function errorCodeOf(body: unknown): number | null {
  const { error_code: code } = (body ?? {}) as { error_code?: unknown };
  return typeof code === 'number' ? code : null;
}

function messageOf(body: unknown): string {
  const { message } = (body ?? {}) as { message?: unknown };
  return typeof message === 'string' ? message : 'no reason given';
}
