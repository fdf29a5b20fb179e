import { existsSync } from 'node:fs';
import { copyFile, mkdir, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Place } from './part.ts';

/** A tool of the JDK that the bootstrap has checked: that of JAVA_HOME, else the one on the PATH. */
export function javaTool(name: 'java' | 'keytool'): string {
  const home = process.env['JAVA_HOME'];
  return home === undefined || home === '' ? name : join(home, 'bin', name);
}

/** Flags of whoever starts the stack, after the part's own: `DELTAFERRY_BROKER_JVM`, `DELTAFERRY_WAREHOUSE_JVM`. */
export function extraFlags(part: 'BROKER' | 'WAREHOUSE'): string[] {
  return (process.env[`DELTAFERRY_${part}_JVM`] ?? '').split(/\s+/).filter((flag) => flag !== '');
}

/**
 * The flags of every part. Java's archive of parsed classes spares a start up to half of its work: the first run that
 * ends of itself writes one, the later starts of any stack use it. An archive that does not fit is ignored. What Java
 * and its libraries unpack goes with the stack, also where they are killed.
 */
export function javaFlags(place: Place): string[] {
  const archive = archiveFile(place);
  const flag = existsSync(archive)
    ? `-XX:SharedArchiveFile=${archive}`
    : `-XX:ArchiveClassesAtExit=${freshArchive(place)}`;
  return [flag, '-Xlog:cds=off', '-Xlog:cds+dynamic=off', `-Djava.io.tmpdir=${temporaryFolder(place)}`];
}

/** Removes what a killed run may have left of its archive, and of the files that Java unpacks. */
export async function prepareJava(place: Place): Promise<void> {
  await rm(freshArchive(place), { force: true });
  await rm(temporaryFolder(place), { recursive: true, force: true });
  await mkdir(temporaryFolder(place));
}

/** Keeps the archive of a run that has ended of itself. */
export async function keepClassArchive(place: Place): Promise<void> {
  const fresh = freshArchive(place);
  if (!existsSync(fresh)) return;
  if (!existsSync(archiveFile(place))) {
    // Renamed within its folder, so that another stack never opens half an archive.
    const arriving = `${archiveFile(place)}.${process.pid}`;
    await copyFile(fresh, arriving);
    await rename(arriving, archiveFile(place));
  }
  await rm(fresh, { force: true });
}

/** It fits one version of the jars, and so it lies beside them. */
const archiveFile = ({ engine }: Place): string => join(engine, 'classes.jsa');
const temporaryFolder = ({ dir }: Place): string => join(dir, 'tmp');
const freshArchive = ({ dir, engine }: Place): string => join(dir, `${basename(engine)}.jsa`);
