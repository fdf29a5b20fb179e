import type { Change, Micros } from '../../src/change/change.ts';

/** What the oracle knows of a change; it shares no code with what it judges. */
export type Told<Image> = Pick<Change, 'ts'> & { readonly image: Image | null };

export interface TrueVersion<Image> {
  readonly from: Micros;
  readonly to: Micros | null;
  readonly image: Image;
}

/** What the source said the row was at this instant: null where it was not there. At one time the last told counts. */
export function truthAt<Image>(told: readonly Told<Image>[], instant: Micros): Image | null {
  let best: Told<Image> | null = null;
  for (const one of told) if (one.ts <= instant && (best === null || one.ts >= best.ts)) best = one;
  return best === null ? null : best.image;
}

/** Every version there must be, found by asking about each time that was ever told. */
export function trueVersions<Image>(told: readonly Told<Image>[]): TrueVersion<Image>[] {
  const times = [...new Set(told.map((one) => one.ts))].sort((a, b) => (a < b ? -1 : 1));
  const versions: TrueVersion<Image>[] = [];
  for (const from of times) {
    const image = truthAt(told, from);
    if (image === null) continue;
    const later = times.filter((time) => time > from);
    versions.push({ from, to: later[0] ?? null, image });
  }
  return versions;
}
