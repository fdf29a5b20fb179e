import { existsSync, readFileSync, renameSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DBSQLClient } from '@databricks/sql';
import { certificateFile } from './endpoints.ts';
import { extraFlags, javaFlags, javaTool, keepClassArchive, prepareJava } from './java.ts';
import type { Part, Place } from './part.ts';
import { answers } from './ports.ts';
import { run } from './processes.ts';

/** Spark and Delta Lake behind the protocol of a Databricks SQL warehouse (stack/warehouse). */
export const warehouse: Part = {
  name: 'warehouse',
  ports: ['warehouse'],
  needsEngine: true,
  stopSignal: 'SIGTERM',

  async prepare(place) {
    await prepareJava(place);
    if (!existsSync(keystoreFile(place))) await makeCertificate(place);
  },

  command(place) {
    const target = join(place.engine, 'target');
    const heap = process.env['DELTAFERRY_WAREHOUSE_HEAP'] ?? '2g';
    const own = {
      'dw.home': join(place.dir, 'home'),
      'dw.port': place.ports.warehouse,
      'dw.keystore': keystoreFile(place),
    };
    return Promise.resolve({
      file: javaTool('java'),
      args: [
        `@${join(place.engine, 'jvm.options')}`,
        `-Xmx${heap}`,
        ...javaFlags(place),
        ...extraFlags('WAREHOUSE'),
        ...Object.entries(own).map(([key, value]) => `-D${key}=${value}`),
        '-cp',
        [join(target, 'warehouse.jar'), join(target, 'jars', '*')].join(':'),
        'deltaferry.warehouse.Main',
      ],
      cwd: place.dir,
      env: { DW_TOKEN: place.secrets.warehouseToken, DW_KEYSTORE_PASSWORD: place.secrets.keystorePassword },
    });
  },

  async ready(place) {
    if (!(await answers(place.ports.warehouse))) throw new Error('nothing listens on its port yet');
    const client = new DBSQLClient({ logger: { log: () => undefined } });
    // The driver reports a broken connection here besides rejecting.
    client.on('error', () => undefined);
    try {
      await client.connect({
        host: 'localhost',
        port: place.ports.warehouse,
        path: '/sql/1.0/warehouses/local',
        token: place.secrets.warehouseToken,
        customCaCert: readFileSync(certificateFile(place.dir)),
        telemetryEnabled: false,
        retryMaxAttempts: 1,
        socketTimeout: 30_000,
      });
      const session = await client.openSession();
      const operation = await session.executeStatement('SELECT 1');
      await operation.fetchAll();
      await operation.close();
      await session.close();
    } finally {
      await client.close();
    }
  },

  ended: keepClassArchive,
};

const keystoreFile = (place: Place): string => join(place.dir, 'keystore.p12');

/** A key of its own for every stack; clients trust it through the PEM file. */
async function makeCertificate(place: Place): Promise<void> {
  const unfinished = join(place.dir, 'keystore.new.p12');
  await rm(unfinished, { force: true });
  const store = [
    '-alias',
    'warehouse',
    '-storetype',
    'PKCS12',
    '-keystore',
    unfinished,
    '-storepass:env',
    'STORE_PASSWORD',
  ];
  const key = ['-keyalg', 'EC', '-groupname', 'secp256r1', '-validity', '3650'];
  const name = ['-dname', 'CN=localhost', '-ext', 'SAN=dns:localhost,ip:127.0.0.1'];
  const options = { env: { ...process.env, STORE_PASSWORD: place.secrets.keystorePassword } };
  await run(javaTool('keytool'), ['-genkeypair', ...store, ...key, ...name], options);
  await run(
    javaTool('keytool'),
    ['-exportcert', '-rfc', ...store, '-file', certificateFile(place.dir)],
    options,
  );
  renameSync(unfinished, keystoreFile(place));
}
