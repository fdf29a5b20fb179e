import type { BackfillProgress } from '../service/backfill.ts';

/** The rates shown are those of the last few seconds. */
const WINDOW_MS = 5_000;

interface Sample {
  readonly at: number;
  readonly read: number;
  readonly published: number;
  readonly applied: number;
}

/** Makes a line of text of each state of a load. `now`: milliseconds that never go backwards. */
export function loadProgressText(table: string): (progress: BackfillProgress, now: number) => string {
  let samples: Sample[] = [];
  return (progress, now) => {
    const { stage, pinned, read, published, applied } = progress;
    const head = `${table}: `;
    switch (stage) {
      case 'merging':
        return `${head}${backlogText(progress.backlog)}`;
      case 'pinning':
        return `${head}choosing the version to load`;
      case 'exporting':
        if (progress.source === 'postgres') return `${head}dividing ${rows(pinned?.rows ?? 0)} into pieces`;
        return `${head}exporting ${rows(pinned?.rows ?? 0)} of version ${pinned?.version}`;
      case 'catching up':
        return `${head}waiting until live changes up to version ${pinned?.version} are applied (by \`deltaferry run\`)`;
      case 'handing over':
        return progress.compared === 0
          ? `${head}moving ${rows(applied)} into the table`
          : `${head}${count(progress.compared)} of ${rows(applied)} compared with the table${heldUp(progress.heldUp)}`;
      case 'done':
        return `${head}${rows(applied)} loaded`;
      case 'loading':
        break;
      default:
        return stage satisfies never;
    }
    samples = [...samples.filter(({ at }) => now - at <= WINDOW_MS), { at: now, read, published, applied }];
    const first = samples[0]!;
    const perSecond = (now_: number, then: number): number =>
      // One that begins anew in the same process counts from nothing again.
      now === first.at ? 0 : (Math.max(0, now_ - then) / (now - first.at)) * 1000;
    const total = Math.max(0, (pinned?.rows ?? 0) - progress.rejected);
    const speed = perSecond(applied, first.applied);
    const share = total === 0 ? 100 : Math.floor((applied / total) * 100);
    // Where the terminal cuts a line off, what matters most is left. Loaded from the topic, nothing is read or published.
    const isPublished = progress.source === 'topic' || first.published >= total;
    return [
      `${head}${count(applied)} of ${rows(total)} (${share}%)`,
      ...(speed > 0 ? [`${duration((total - applied) / speed)} left`] : []),
      `applied ${rate(speed)}`,
      ...(isPublished
        ? []
        : [
            `published ${rate(perSecond(published, first.published))}`,
            `read ${rate(perSecond(read, first.read))}`,
          ]),
    ].join(' · ');
  };
}

function backlogText(backlog: BackfillProgress['backlog']): string {
  if (backlog === null || backlog.behind === 0) return 'looking for changes that Delta does not have yet';
  const { role, behind, atLeast } = backlog;
  const much = `${atLeast ? 'at least ' : ''}${count(behind)}`;
  const left = role === 'postgres-log' ? `${much} rows of the log` : `${much} records of the changes topic`;
  return `waiting until Delta has what was changed in Postgres: ${left} are left (for ${role} of \`deltaferry run\`)`;
}

function heldUp(ranges: number): string {
  if (ranges === 0) return '';
  return `; ${ranges === 1 ? '1 range of keys waits' : `${count(ranges)} ranges of keys wait`} for open transactions in Postgres`;
}

export function rows(n: number): string {
  return n === 1 ? '1 row' : `${count(n)} rows`;
}

export function count(n: number): string {
  return Math.round(n).toLocaleString('en');
}

function rate(perSecond: number): string {
  return perSecond < 10_000 ? `${count(perSecond)}/s` : `${count(perSecond / 1000)}k/s`;
}

/** `4 s`, `2:05 min`, `1:00:09 h` */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const two = (n: number): string => String(n).padStart(2, '0');
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${two(whole % 60)} min`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)} h`;
}
