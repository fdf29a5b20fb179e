/** The known name that the given one is most likely a slip of, if any. */
export function nearest(name: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let least = Infinity;
  for (const candidate of known) {
    const distance = edits(plain(name), plain(candidate));
    if (distance < least && distance <= Math.max(1, Math.floor(candidate.length / 3))) {
      best = candidate;
      least = distance;
    }
  }
  return best ?? [...known].find((candidate) => name.length >= 3 && plain(candidate).startsWith(plain(name)));
}

/** `client_id`, `client-id` and `ClientId` are the same slip of `clientId`. */
function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9.[\]]/g, '');
}

/** Insertions, deletions, replacements and swaps of neighbours between two texts. */
function edits(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let cost = Math.min(next[j - 1]! + 1, row[j]! + 1, replaced);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, before[j - 2]! + 1);
      next.push(cost);
    }
    before = row;
    row = next;
  }
  return row[b.length]!;
}
