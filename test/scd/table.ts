import assert from 'node:assert/strict';
import type { Micros } from '../../src/change/change.ts';
import type { Edits } from '../../src/scd/edits.ts';
import type { Arrival, Event, History } from '../../src/scd/history.ts';

/** The algebra under test, so that a broken one can stand in for it. */
export interface Algebra {
  eventsOf(history: History<string>): Event<string>[];
  settle(arrivals: readonly Arrival<string>[]): Event<string>[];
  historyOf(events: readonly Event<string>[]): History<string>;
  editsBetween(before: History<string>, after: History<string>): Edits<string>;
}

const STORED = 'stored';

/** One key's rows as a database would hold them; edits that do not fit are refused as it would. */
export class StoredKey {
  readonly versions = new Map<Micros, { to: Micros | null; image: string }>();
  readonly orphans = new Set<Micros>();

  /** As the sink sees it: the images are not read. */
  history(): History<string> {
    const versions = Array.from(this.versions, ([from, { to }]) => ({ from, to, image: STORED }));
    return { versions: versions.reverse(), orphanDeletes: [...this.orphans] };
  }

  apply(algebra: Algebra, arrivals: readonly Arrival<string>[]): void {
    const before = this.history();
    const after = algebra.historyOf(algebra.settle([...algebra.eventsOf(before), ...arrivals]));
    this.#write(algebra.editsBetween(before, after));
  }

  #write(edits: Edits<string>): void {
    for (const from of edits.remove)
      assert.ok(this.versions.delete(from), `removes ${from}, which is not stored`);
    for (const { from, to } of edits.end) this.#at(from).to = to;
    for (const { from, image } of edits.replace) this.#at(from).image = image;
    for (const { from, to, image } of edits.insert) {
      assert.ok(!this.versions.has(from), `inserts ${from} twice`);
      this.versions.set(from, { to, image });
    }
    for (const ts of edits.addOrphans) this.orphans.add(ts);
    for (const ts of edits.removeOrphans)
      assert.ok(this.orphans.delete(ts), `forgets delete ${ts}, never remembered`);
    for (const { image } of this.versions.values())
      assert.notEqual(image, STORED, 'wrote an image it never read');
  }

  #at(from: Micros): { to: Micros | null; image: string } {
    const version = this.versions.get(from);
    assert.ok(version !== undefined, `edits ${from}, which is not stored`);
    return version;
  }
}
