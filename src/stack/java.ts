import { join } from 'node:path';

/** A tool of the JDK that the bootstrap has checked: that of JAVA_HOME, else the one on the PATH. */
export function javaTool(name: 'java' | 'keytool'): string {
  const home = process.env['JAVA_HOME'];
  return home === undefined || home === '' ? name : join(home, 'bin', name);
}
