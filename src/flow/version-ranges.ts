/** Versions `from`..`to`, both included: to be read, or to be passed over because a sink of ours made them. */
export interface VersionRange {
  readonly from: number;
  readonly to: number;
  readonly own: boolean;
}

export interface VersionRangesOptions {
  readonly from: number;
  readonly to: number;
  readonly isOwn: (version: number) => boolean;
  /** Most versions read in one go. */
  readonly longest: number;
}

/** The versions in order, cut where the maker changes and where a range would grow too long. */
export function versionRanges({ from, to, isOwn, longest }: VersionRangesOptions): readonly VersionRange[] {
  const ranges: VersionRange[] = [];
  for (let version = from; version <= to; version++) {
    const own = isOwn(version);
    const last = ranges.at(-1);
    const fits = last?.own === own && (own || version - last.from < longest);
    if (last !== undefined && fits) ranges[ranges.length - 1] = { ...last, to: version };
    else ranges.push({ from: version, to: version, own });
  }
  return ranges;
}

/**
 * A range that could not be read in one go because the schema changes in it, in two: before and from the
 * named version on; where none is named inside it, its first version and the rest. A range of one
 * version cannot be split: null.
 */
export function splitRange(
  from: number,
  to: number,
  at: number | null,
): readonly [readonly [number, number], readonly [number, number]] | null {
  if (from >= to) return null;
  const cut = at !== null && at > from && at <= to ? at : from + 1;
  return [
    [from, cut - 1],
    [cut, to],
  ];
}
