import { open, type FileHandle } from 'node:fs/promises';

export interface SomeLines {
  /** Whole lines, each with its end. */
  readonly text: string;
  /** The byte at which the next line begins; null: these are the last. */
  readonly next: number | null;
}

const LINE_END = 0x0a;

/** The lines of a file from this byte on, about so many bytes at a time, and one line at least. */
export async function* linesOf(file: string, from: number, bytes: number): AsyncGenerator<SomeLines> {
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    let at: number | null = from;
    while (at !== null) {
      let part = await partOf(handle, at, Math.min(bytes, size - at));
      while (!part.includes(LINE_END) && at + part.length < size)
        part = await partOf(handle, at, Math.min(part.length * 2, size - at));
      const end: number = at + part.length < size ? part.lastIndexOf(LINE_END) + 1 : part.length;
      const next: number | null = at + end < size ? at + end : null;
      yield { text: part.toString('utf8', 0, end), next };
      at = next;
    }
  } finally {
    await handle.close();
  }
}

async function partOf(handle: FileHandle, at: number, length: number): Promise<Buffer> {
  const part = Buffer.allocUnsafe(Math.max(0, length));
  let read = 0;
  while (read < part.length) {
    const { bytesRead } = await handle.read(part, read, part.length - read, at + read);
    if (bytesRead === 0) break;
    read += bytesRead;
  }
  return part.subarray(0, read);
}
