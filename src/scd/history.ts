import type { Micros } from '../change/change.ts';

/**
 * What is known about one key, in two forms that say the same.
 *
 * As events: a list with distinct times, each an upsert (the row looks like this from now on) or a
 * delete. As a history: versions over half-open intervals, and the deletes that end none of them.
 * Every version start is an upsert, every version end that is not the next start is a delete, every
 * orphan delete comes first or directly after another delete. So each form gives back the other, and
 * what arrives late needs no rule of its own: add it to the events and look at the history again.
 *
 * `Image` is opaque: a stored image need not be read, only told apart from a new one.
 */
export type Event<Image> =
  | { readonly kind: 'upsert'; readonly ts: Micros; readonly image: Image }
  | { readonly kind: 'delete'; readonly ts: Micros };

/** Something arriving: an event, or a snapshot's word that the row looked like this at its time. */
export type Arrival<Image> =
  | Event<Image>
  | { readonly kind: 'snapshot'; readonly ts: Micros; readonly image: Image };

/** Valid over [from, to); `to` null means current. */
export interface Version<Image> {
  readonly from: Micros;
  readonly to: Micros | null;
  readonly image: Image;
}

export interface History<Image> {
  /** In order of time, never overlapping, never empty; only the last may be current. */
  readonly versions: readonly Version<Image>[];
  readonly orphanDeletes: readonly Micros[];
}

/** The events a history stands for, in order. A history that people wrote by hand may overlap: the later start wins. */
export function eventsOf<Image>(history: History<Image>): Event<Image>[] {
  const events: Event<Image>[] = [];
  const versions = inOrder(history.versions, (version) => version.from);
  versions.forEach((version, index) => {
    events.push({ kind: 'upsert', ts: version.from, image: version.image });
    const next = versions[index + 1];
    if (version.to !== null && (next === undefined || version.to < next.from))
      events.push({ kind: 'delete', ts: version.to > version.from ? version.to : version.from });
  });
  for (const ts of history.orphanDeletes) events.push({ kind: 'delete', ts });
  return settle(events);
}

/**
 * Arrivals in partition order → events in time order. At one time the last to arrive counts. A
 * snapshot that finds its own image is no event, else it is an upsert.
 */
export function settle<Image>(
  arrivals: readonly Arrival<Image>[],
  sameImage: (one: Image, other: Image) => boolean = Object.is,
): Event<Image>[] {
  const events: Event<Image>[] = [];
  for (const arrival of inOrder(arrivals, (each) => each.ts)) {
    const last = events.at(-1);
    if (arrival.kind === 'snapshot' && last?.kind === 'upsert' && sameImage(last.image, arrival.image))
      continue;
    const event = arrival.kind === 'snapshot' ? { ...arrival, kind: 'upsert' as const } : arrival;
    if (last?.ts === event.ts) events[events.length - 1] = event;
    else events.push(event);
  }
  return events;
}

/** Settled events → the history they stand for. */
export function historyOf<Image>(events: readonly Event<Image>[]): History<Image> {
  const versions: Version<Image>[] = [];
  const orphanDeletes: Micros[] = [];
  events.forEach((event, index) => {
    if (event.kind === 'upsert')
      versions.push({ from: event.ts, to: events[index + 1]?.ts ?? null, image: event.image });
    else if (events[index - 1]?.kind !== 'upsert') orphanDeletes.push(event.ts);
  });
  return { versions, orphanDeletes };
}

/** Stable: what arrived first stays first at equal times. */
function inOrder<T>(items: readonly T[], time: (item: T) => Micros): readonly T[] {
  let previous: Micros = -Infinity;
  for (const item of items) {
    const ts = time(item);
    if (ts < previous)
      return items.toSorted((one, other) => (time(one) < time(other) ? -1 : time(one) > time(other) ? 1 : 0));
    previous = ts;
  }
  return items;
}
