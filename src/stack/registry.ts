import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { javaFlags, javaTool, keepClassArchive, prepareJava } from './java.ts';
import type { Part, Place } from './part.ts';

/** Apicurio with its storage in a file; clients speak Confluent's API to it. */
export const registry: Part = {
  name: 'registry',
  ports: ['registry'],
  needsEngine: true,
  stopSignal: 'SIGTERM',

  prepare: prepareJava,

  command(place) {
    const options = {
      'quarkus.http.host': '127.0.0.1',
      'quarkus.http.port': place.ports.registry,
      'quarkus.log.level': 'WARN',
      'quarkus.otel.sdk.disabled': true,
      'apicurio.ccompat.legacy-id-mode.enabled': false,
      'apicurio.storage.kind': 'sql',
      'apicurio.storage.sql.kind': 'h2',
      'apicurio.datasource.url': `jdbc:h2:file:${join(place.dir, 'h2')};DB_CLOSE_ON_EXIT=FALSE`,
    };
    // It serves a few schemas: a small heap, and a start that does not wait for the optimising compiler.
    const flags = ['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];
    const properties = Object.entries(options).map(([key, value]) => `-D${key}=${value}`);
    return Promise.resolve({
      file: javaTool('java'),
      args: [...flags, ...javaFlags(place), ...properties, '-jar', runner(place)],
      cwd: place.dir,
    });
  },

  async ready(place) {
    const url = `http://127.0.0.1:${place.ports.registry}/apis/ccompat/v7/subjects`;
    const response = await fetch(url, { signal: AbortSignal.timeout(5000) });
    if (!response.ok || !Array.isArray(await response.json()))
      throw new Error(`GET /subjects: ${response.status}`);
  },

  ended: keepClassArchive,
};

function runner({ engine }: Place): string {
  const app = join(engine, 'target', 'app');
  const jar = readdirSync(app).find((name) => name.endsWith('-runner.jar'));
  if (jar === undefined) throw new Error(`no runner jar in ${app}`);
  return join(app, jar);
}
