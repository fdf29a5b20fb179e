import type { Micros } from '../change/change.ts';
import { eventsOf, historyOf, settle, type Arrival, type History, type Version } from './history.ts';

/** What to write so that one stored history becomes another. A version is named by its start. */
export interface Edits<Image> {
  readonly insert: readonly Version<Image>[];
  /** Versions that keep their start and image and end elsewhere (null: become current again). */
  readonly end: readonly { readonly from: Micros; readonly to: Micros | null }[];
  /** Versions that keep their start and may have another image. */
  readonly replace: readonly Version<Image>[];
  readonly remove: readonly Micros[];
  readonly addOrphans: readonly Micros[];
  readonly removeOrphans: readonly Micros[];
}

/** The edits that bring a stored history to what it must be once these changes count, too. */
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
  const replace: Version<Image>[] = [];
  for (const version of after.versions) {
    const old = stored.get(version.from);
    stored.delete(version.from);
    if (old === undefined) insert.push(version);
    else if (old.image !== version.image) replace.push(version);
    else if (old.to !== version.to) end.push({ from: version.from, to: version.to });
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
