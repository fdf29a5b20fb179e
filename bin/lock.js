// One bootstrap at a time in a checkout: a file that holds its owner's pid and start time.
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { processStart } from './processes.js';

/**
 * Runs `work` while holding the lock; waits for a living owner, takes over from a dead one.
 * @template T
 * @param {string} file
 * @param {(owner: number) => void} onWait called once when another process holds it
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLock(file, onWait, work) {
  mkdirSync(dirname(file), { recursive: true });
  let told = false;
  while (!take(file)) {
    const owner = ownerOf(file);
    if (owner !== undefined && processStart(owner.pid) === owner.start) {
      if (!told) onWait(owner.pid);
      told = true;
      await new Promise((resolve) => setTimeout(resolve, 100));
    } else {
      removeStale(file, owner);
    }
  }
  try {
    return await work();
  } finally {
    rmSync(file, { force: true });
  }
}

/** A hard link appears whole or not at all: nobody ever reads a lock without its owner. */
function take(file) {
  const own = `${file}.${process.pid}`;
  writeFileSync(own, JSON.stringify({ pid: process.pid, start: processStart(process.pid) }));
  try {
    linkSync(own, file);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(own, { force: true });
  }
}

function ownerOf(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Moved aside first: of two that see the same stale lock, one may already hold a new one. */
function removeStale(file, stale) {
  const aside = `${file}.stale.${process.pid}`;
  try {
    renameSync(file, aside);
  } catch {
    return;
  }
  const moved = ownerOf(aside);
  if (moved !== undefined && (moved.pid !== stale?.pid || moved.start !== stale?.start)) {
    try {
      linkSync(aside, file);
    } catch {
      // Somebody took it in between.
    }
  }
  rmSync(aside, { force: true });
}
