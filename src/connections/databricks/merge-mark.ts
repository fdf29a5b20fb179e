/**
 * What a merge leaves in the table's history: which sink it was, in which epoch, and the next offset
 * of each partition in it. As text `deltaferry/employees e3 0:1042,1:977`.
 */
export interface MergeMark {
  readonly epoch: bigint;
  readonly offsets: ReadonlyMap<number, bigint>;
}

export function markText(sink: string, { epoch, offsets }: MergeMark): string {
  const parts = Array.from(offsets, ([partition, next]) => `${partition}:${next}`);
  return `${markPrefix(sink)}e${epoch} ${parts.join(',')}`;
}

/** Null where the mark is another sink's. */
export function parseMark(sink: string, text: string): MergeMark | null {
  const prefix = markPrefix(sink);
  if (!text.startsWith(prefix)) return null;
  const found = /^e(\d+) (\d+:\d+(?:,\d+:\d+)*)$/.exec(text.slice(prefix.length));
  if (found === null) return null;
  const [, epoch = '', parts = ''] = found;
  const offsets = parts.split(',').map((part): [number, bigint] => {
    const [partition = '', next = ''] = part.split(':');
    return [Number(partition), BigInt(next)];
  });
  return { epoch: BigInt(epoch), offsets: new Map(offsets) };
}

/** Whether everything that a merge with this mark brought counts already. */
export function isCovered(mark: MergeMark, offsets: ReadonlyMap<number, bigint>): boolean {
  return Array.from(mark.offsets).every(([partition, next]) => (offsets.get(partition) ?? -1n) >= next);
}

/** A sink's name in a place where only plain characters may stand: marks, files. */
export function plainName(sink: string): string {
  return encodeURIComponent(sink).replace(
    /[!'()*~]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function markPrefix(sink: string): string {
  return `deltaferry/${plainName(sink)} `;
}
