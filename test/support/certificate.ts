import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { javaTool } from '../../src/stack/java.ts';
import { run } from '../../src/stack/processes.ts';

/** A self-signed certificate for localhost and 127.0.0.1, which is its own authority. */
export interface Certificate {
  /** PKCS#12, for servers in Java. */
  readonly keystore: string;
  readonly password: string;
  /** PEM files, for all others. */
  readonly certFile: string;
  readonly keyFile: string;
  /** The certificate as PEM text. */
  readonly pem: string;
}

// keytool does not give private keys away, and openssl is not everywhere where Java is.
const EXPORT = `
import java.io.FileInputStream;
import java.security.KeyStore;
import java.util.Base64;
public class KeyPem {
  public static void main(String[] args) throws Exception {
    KeyStore store = KeyStore.getInstance("PKCS12");
    store.load(new FileInputStream(args[0]), args[1].toCharArray());
    byte[] key = store.getKey("own", args[1].toCharArray()).getEncoded();
    System.out.println("-----BEGIN PRIVATE KEY-----");
    System.out.println(Base64.getMimeEncoder(64, "\\n".getBytes()).encodeToString(key));
    System.out.println("-----END PRIVATE KEY-----");
  }
}`;

/** Writes the files into the folder, their names beginning with `name`. */
export async function makeCertificate(dir: string, name: string): Promise<Certificate> {
  const password = 'changeit';
  const keystore = join(dir, `${name}.p12`);
  const certFile = join(dir, `${name}.pem`);
  const keyFile = join(dir, `${name}.key`);
  const source = join(dir, 'KeyPem.java');
  const store = ['-alias', 'own', '-storetype', 'PKCS12', '-storepass', password, '-keystore', keystore];
  const kind = ['-keyalg', 'RSA', '-keysize', '2048', '-dname', `CN=${name}`, '-validity', '30'];
  await run(javaTool('keytool'), [
    '-genkeypair',
    ...store,
    ...kind,
    '-ext',
    'SAN=dns:localhost,ip:127.0.0.1',
    '-ext',
    'bc:c',
  ]);
  await run(javaTool('keytool'), ['-exportcert', '-rfc', ...store, '-file', certFile]);
  writeFileSync(source, EXPORT);
  const { stdout } = await run(javaTool('java'), [source, keystore, password]);
  writeFileSync(keyFile, stdout, { mode: 0o600 });
  return { keystore, password, certFile, keyFile, pem: readFileSync(certFile, 'utf8') };
}
