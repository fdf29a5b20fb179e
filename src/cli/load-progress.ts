import { comparedPerSecond, secondsLeft } from '../flow/load-estimate.ts';
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
  let began: { readonly stage: BackfillProgress['stage']; readonly at: number } | null = null;
  return (progress, now) => {
    const { stage, pinned, read, published, applied } = progress;
    if (began?.stage !== stage) began = { stage, at: now };
    const stageSeconds = (now - began.at) / 1000;
    const total = Math.max(0, (pinned?.rows ?? 0) - progress.rejected);
    const left = (appliedPerSecond: number): string[] => {
      const seconds = secondsLeft({ ...progress, total, appliedPerSecond, stageSeconds });
      return seconds === null ? [] : [`about ${duration(seconds)} left`];
    };
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
        return `${head}${[...handoverText(progress, stageSeconds), ...left(0), ...heldUp(progress.heldUp)].join(' · ')}`;
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
    const speed = perSecond(applied, first.applied);
    // Where the terminal cuts a line off, what matters most is left. Loaded from the topic, nothing is read or published.
    const isPublished = progress.source === 'topic' || first.published >= total;
    return [
      `${head}${count(applied)} of ${count(total)} (${share(applied, total)})`,
      ...left(speed),
      `${rate(speed)} applied`,
      ...(isPublished
        ? []
        : [
            `${rate(perSecond(published, first.published))} published`,
            `${rate(perSecond(read, first.read))} read`,
          ]),
    ].join(' · ');
  };
}

function handoverText(progress: BackfillProgress, stageSeconds: number): readonly string[] {
  const { way, applied, compared } = progress;
  const since = stageSeconds < 1 ? [] : [`for ${duration(stageSeconds)}`];
  if (way === 'fill') return [`moving ${rows(applied)} into the table`, ...since];
  if (compared === 0) return [`comparing ${rows(applied)} with the table`, ...since];
  return [
    `${count(compared)} of ${rows(applied)} (${share(compared, applied)}) compared with the table`,
    ...(stageSeconds < 1 ? [] : [rate(comparedPerSecond({ compared, stageSeconds }))]),
  ];
}

function backlogText(backlog: BackfillProgress['backlog']): string {
  if (backlog === null || backlog.behind === 0) return 'looking for changes that Delta does not have yet';
  const { role, behind, atLeast } = backlog;
  const much = `${atLeast ? 'at least ' : ''}${count(behind)}`;
  const left = role === 'postgres-log' ? `${much} rows of the log` : `${much} records of the changes topic`;
  return `waiting until Delta has what was changed in Postgres: ${left} are left (for ${role} of \`deltaferry run\`)`;
}

/** Nothing, or for whom ranges of keys wait. */
export function heldUp(ranges: number): readonly string[] {
  if (ranges === 0) return [];
  return [
    `${ranges === 1 ? '1 range of keys waits' : `${count(ranges)} ranges of keys wait`} for open transactions in Postgres`,
  ];
}

/** Rounded down: all is 100% only. */
export function share(part: number, whole: number): string {
  return `${whole <= 0 ? 100 : Math.floor((part / whole) * 100)}%`;
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
