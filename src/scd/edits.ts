import type { Micros } from '../change/change.ts';
import { eventsOf, historyOf, settle, type Arrival, type History, type Version } from './history.ts';

/** What to write so that one stored history becomes another. A version is named by its start. */
export interface Edits<Image> {
  readonly insert: readonly Version<Image>[];
  /** Versions that keep their start and end elsewhere (null: current again). */
  readonly end: readonly { readonly from: Micros; readonly to: Micros | null }[];
  /** Versions that keep their start and may get another image; one of them may be in `end`, too. */
  readonly replace: readonly { readonly from: Micros; readonly image: Image }[];
  readonly remove: readonly Micros[];
  readonly addOrphans: readonly Micros[];
  readonly removeOrphans: readonly Micros[];
}

/** The edits that bring a stored history to what it must be once these arrivals count, too. */
export function editsFor<Image>(
  stored: History<Image>,
  arrivals: readonly Arrival<Image>[],
  sameImage?: (one: Image, other: Image) => boolean,
): Edits<Image> {
  return editsBetween(stored, historyOf(settle([...eventsOf(stored), ...arrivals], sameImage)));
}

export function editsBetween<Image>(before: History<Image>, after: History<Image>): Edits<Image> {
  const stored = new Map(before.versions.map((version) => [version.from, version]));
  const insert: Version<Image>[] = [];
  const end: { from: Micros; to: Micros | null }[] = [];
  const replace: { from: Micros; image: Image }[] = [];
  for (const version of after.versions) {
    const { from, to, image } = version;
    const old = stored.get(from);
    stored.delete(from);
    if (old === undefined) {
      insert.push(version);
      continue;
    }
    if (old.to !== to) end.push({ from, to });
    if (old.image !== image) replace.push({ from, image });
  }
  return {
    insert,
    end,
    replace,
    remove: [...stored.keys()],
    addOrphans: without(after.orphanDeletes, before.orphanDeletes),
    removeOrphans: without(before.orphanDeletes, after.orphanDeletes),
  };
}

function without(items: readonly Micros[], others: readonly Micros[]): readonly Micros[] {
  if (items.length === 0 || others.length === 0) return items;
  const known = new Set(others);
  return items.filter((item) => !known.has(item));
}
