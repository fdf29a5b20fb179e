import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, test } from 'node:test';
import {
  createSchemaRegistry,
  type RegistryOptions,
  type SchemaRegistry,
} from '../../../src/connections/registry/schemas.ts';
import { DeltaferryError, type ErrorKind } from '../../../src/errors.ts';

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

const json =
  (status: number, body: object): Answer =>
  (_, response) =>
    void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
const schemaBody = { schema: '{"type":"record","name":"r","fields":[]}' };

describe('schema registry', () => {
  let server: Server | undefined;
  let registry: SchemaRegistry | undefined;
  afterEach(() => {
    registry?.close();
    server?.closeAllConnections();
    server?.close();
  });

  /** A registry that answers as told, by path; anything else is a 404 of the Confluent API. */
  async function fake(answers: Readonly<Record<string, Answer>>, options: Partial<RegistryOptions> = {}) {
    const asked: string[] = [];
    server = createServer((request, response) => {
      const path = (request.url ?? '').replace('/api/', '');
      asked.push(path);
      (answers[path] ?? answers['*'] ?? json(404, { error_code: 40403, message: 'not found' }))(
        request,
        response,
      );
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    registry = createSchemaRegistry({ url: `http://127.0.0.1:${port}/api`, ...options });
    return { registry, asked };
  }

  async function failure(work: Promise<unknown>): Promise<{ kind: ErrorKind; code: string; text: string }> {
    try {
      await work;
    } catch (error) {
      assert.ok(error instanceof DeltaferryError, String(error));
      return { kind: error.kind, code: error.code, text: `${error.message} ${error.remedy}` };
    }
    return assert.fail('it did not fail');
  }

  test('a schema is asked for once', async () => {
    const { registry, asked } = await fake({ 'schemas/ids/5': json(200, schemaBody) });
    const [first, second] = await Promise.all([registry.schemaById(5), registry.schemaById(5)]);
    assert.deepEqual(first, { type: 'record', name: 'r', fields: [] });
    assert.equal(second, await registry.schemaById(5));
    assert.deepEqual(asked, ['schemas/ids/5']);
  });

  test('an unknown id is poison while the registry knows our own', async () => {
    const { registry } = await fake({
      'subjects/t-value/versions/latest': json(200, { ...schemaBody, id: 5, version: 1 }),
      'schemas/ids/5': json(200, schemaBody),
    });
    for (const id of [6, 0xffffffff]) {
      const { kind, code } = await failure(registry.schemaById(id, 't-value'));
      assert.deepEqual([kind, code], ['poison', 'UNKNOWN_SCHEMA']);
    }
  });

  describe('an unknown id is never poison where the registry is not itself', () => {
    const cases: { name: string; answers: Record<string, Answer>; kind: ErrorKind; code: string }[] = [
      { name: 'it was wiped', answers: {}, kind: 'operator', code: 'REGISTRY_WIPED' },
      {
        name: 'it lists our subject, and no longer has its schema',
        answers: { 'subjects/t-value/versions/latest': json(200, { ...schemaBody, id: 5, version: 1 }) },
        kind: 'operator',
        code: 'REGISTRY_WIPED',
      },
      {
        name: 'a proxy answers 404 to everything',
        answers: { '*': (_, response) => void response.writeHead(404).end('<html>nothing here</html>') },
        kind: 'operator',
        code: 'REGISTRY_URL',
      },
      {
        name: 'another service answers 404 in JSON',
        answers: { '*': json(404, { status: 404, title: 'no such path' }) },
        kind: 'operator',
        code: 'REGISTRY_URL',
      },
      {
        name: 'it fails while it is asked for our own',
        answers: { 'subjects/t-value/versions/latest': json(500, { error_code: 50001, message: 'store' }) },
        kind: 'transient',
        code: 'REGISTRY_UNAVAILABLE',
      },
    ];
    for (const { name, answers, kind, code } of cases)
      test(name, async () => {
        const { registry } = await fake(answers);
        const found = await failure(registry.schemaById(9, 't-value'));
        assert.deepEqual([found.kind, found.code], [kind, code]);
      });
  });

  test('what was not found is asked for again, it may have been registered since', async () => {
    const answers: Record<string, Answer> = {};
    const { registry } = await fake(answers);
    await failure(registry.schemaById(5));
    answers['schemas/ids/5'] = json(200, schemaBody);
    assert.ok(await registry.schemaById(5));
  });

  describe('failures are told apart', () => {
    const html = '<html>bad gateway</html>';
    const cases: { name: string; answer: Answer; kind: ErrorKind; code: string }[] = [
      {
        name: 'bad gateway',
        answer: (_, r) => void r.writeHead(502).end(html),
        kind: 'transient',
        code: 'REGISTRY_UNAVAILABLE',
      },
      { name: 'too many requests', answer: json(429, {}), kind: 'transient', code: 'REGISTRY_UNAVAILABLE' },
      { name: 'wrong password', answer: json(401, {}), kind: 'operator', code: 'REGISTRY_DENIED' },
      { name: 'not allowed', answer: json(403, {}), kind: 'operator', code: 'REGISTRY_DENIED' },
      {
        name: 'a login page',
        answer: (_, r) => void r.writeHead(200).end(html),
        kind: 'operator',
        code: 'REGISTRY_URL',
      },
      {
        name: 'a redirect',
        answer: (_, r) => void r.writeHead(302, { location: '/login' }).end('{}'),
        kind: 'operator',
        code: 'REGISTRY_URL',
      },
      {
        name: 'refused',
        answer: json(422, { error_code: 42201, message: 'bad schema' }),
        kind: 'operator',
        code: 'REGISTRY_REFUSED',
      },
      {
        name: 'the connection is cut',
        answer: (request) => void request.socket.destroy(),
        kind: 'transient',
        code: 'REGISTRY_UNREACHABLE',
      },
      { name: 'no answer', answer: () => undefined, kind: 'transient', code: 'REGISTRY_UNREACHABLE' },
    ];
    for (const { name, answer, kind, code } of cases)
      test(name, async () => {
        const { registry } = await fake({ '*': answer }, { timeoutMs: 300 });
        const found = await failure(registry.latestId('t-value'));
        assert.deepEqual([found.kind, found.code], [kind, code]);
      });
  });

  test('nobody listens', async () => {
    const { registry } = await fake({});
    server?.close();
    server?.closeAllConnections();
    const found = await failure(registry.latestId('t'));
    assert.deepEqual([found.kind, found.code], ['transient', 'REGISTRY_UNREACHABLE']);
  });

  test('credentials are sent and never shown', async () => {
    const seen: (string | undefined)[] = [];
    const answer: Answer = ({ headers }, response) => {
      seen.push(headers.authorization);
      json(401, {})({} as IncomingMessage, response);
    };
    const basic = await fake({ '*': answer }, { auth: { username: 'u', password: 'secret' } });
    const { text } = await failure(basic.registry.latestId('t'));
    assert.ok(!text.includes('secret'));
    basic.registry.close();
    server?.closeAllConnections();
    server?.close();
    const bearer = await fake({ '*': answer }, { auth: { token: 'secret' } });
    await failure(bearer.registry.latestId('t'));
    assert.deepEqual(seen, [`Basic ${Buffer.from('u:secret').toString('base64')}`, 'Bearer secret']);
  });
});
