import { isUnderWay } from '../flow/load-state.ts';
import type { LoadStatus, Status, TableStatus } from '../service/status.ts';
import { count, duration, heldUp, rows, share } from './load-progress.ts';

/** The status for people: a line per role and load, then what did not answer. */
export function statusLines({ tables, problems }: Status): readonly string[] {
  return [
    ...tables.flatMap(tableLines),
    ...problems.flatMap(({ system, code, message, remedy }) => [
      '',
      `error: ${system}: ${message}`,
      ...(remedy === '' ? [] : [`→ ${remedy}`]),
      `  code: ${code}`,
    ]),
  ];
}

function tableLines({ table, direction, topic, roles, load }: TableStatus): readonly string[] {
  const feed = roles['delta-feed'];
  const log = roles['postgres-log'];
  const history = roles['postgres-history'];
  const merge = roles['delta-merge'];
  return [
    `${table} (${direction}, topic ${topic})`,
    ...(feed === undefined ? [] : [line('delta-feed', feedText(feed))]),
    ...(log === undefined ? [] : [line('postgres-log', logText(log))]),
    ...(history === undefined ? [] : [line('postgres-history', sinkText(history))]),
    ...(merge === undefined ? [] : [line('delta-merge', mergeText(merge))]),
    ...(load === null ? [] : [line('load', loadText(load))]),
  ];
}

const WIDTH = 'postgres-history'.length;
const UNKNOWN = 'not known';

const line = (head: string, text: string): string => `  ${head.padEnd(WIDTH)}  ${text}`;

type Role<R extends keyof TableStatus['roles']> = Exclude<TableStatus['roles'][R], undefined>;

function feedText(feed: Role<'delta-feed'>): string {
  if (feed === null) return UNKNOWN;
  const { version, latest, running } = feed;
  const behind = latest === null || version === null ? null : latest - version;
  const place = version === null ? 'nothing published yet' : `version ${version} published`;
  const ahead = latest === null ? '' : `, the newest is ${latest}`;
  return [behind === 0 ? `${place}, up to date` : `${place}${ahead}`, ...leader(running)].join('; ');
}

function logText(log: Role<'postgres-log'>): string {
  if (log === null) return UNKNOWN;
  const { unpublished, atLeast, partitions, bytes, running } = log;
  return [
    unpublished === null
      ? 'what is published is not known'
      : unpublished === 0
        ? 'up to date'
        : `${atLeast ? 'at least ' : ''}${rows(unpublished)} of the log to publish`,
    ...(partitions === null || bytes === null
      ? []
      : [`log of ${count(partitions)} partitions, ${size(bytes)}`]),
    ...leader(running),
  ].join('; ');
}

function sinkText(sink: Role<'postgres-history'>): string {
  if (sink === null) return UNKNOWN;
  const { lag, heldBy, movedAt } = sink;
  const behind =
    lag === null
      ? 'its lag is not known'
      : lag.records === 0
        ? 'up to date'
        : lag.exact
          ? `${count(lag.records)} ${lag.records === 1 ? 'change' : 'changes'} to apply`
          : `up to ${count(lag.records)} changes to apply`;
  return [
    behind,
    ...(heldBy === null ? [] : [`waits for the load ${heldBy}`]),
    movedAt === null ? 'has never run' : `last moved at ${movedAt}`,
  ].join('; ');
}

function mergeText(merge: Role<'delta-merge'>): string {
  if (merge === null) return UNKNOWN;
  const { mergingSince } = merge;
  return [sinkText(merge), ...(mergingSince === null ? [] : [`merging since ${mergingSince}`])].join('; ');
}

function leader(running: boolean | null): readonly string[] {
  return running === false ? ['nobody runs it'] : [];
}

function loadText(load: LoadStatus): string {
  const { id, source, phase, version, rejected, running, startedAt, finishedAt, tookSeconds, error } = load;
  return [
    `${id} from ${source}: ${phase}, begun at ${startedAt}`,
    version === null ? 'its version is not chosen yet' : `version ${version}`,
    phase === 'live' ? `${rows(load.applied)} loaded` : amountsText(load),
    ...(rejected === 0 ? [] : [`${rows(rejected)} set aside`]),
    ...(running === true ? stageText(load) : []),
    ...(load.secondsLeft === null ? [] : [`about ${duration(load.secondsLeft)} left`]),
    ...(isUnderWay(phase) && running === false ? ['nobody carries it out'] : []),
    ...(finishedAt === null || tookSeconds === null
      ? []
      : [`ended at ${finishedAt} after ${duration(tookSeconds)}`]),
    ...(error === null ? [] : [`stopped with: ${error}`]),
  ].join('; ');
}

function amountsText(load: LoadStatus): string {
  const { source, running, totalRows, perSecond } = load;
  // Loaded from the topic, nothing is read or published; and what was read and not published ends with who read it.
  const stages = [
    ...(source === 'topic' || running !== true ? [] : (['read'] as const)),
    ...(source === 'topic' ? [] : (['published'] as const)),
    'applied' as const,
  ];
  return stages
    .map((stage, at) => {
      const of = at === 0 && totalRows !== null ? ` of ${count(totalRows)}` : '';
      const done = stage === 'applied' && totalRows !== null ? ` (${share(load[stage], totalRows)})` : '';
      const rate = perSecond?.[stage] ?? 0;
      return `${count(load[stage])}${of}${done} ${stage}${rate === 0 ? '' : ` (${count(rate)}/s)`}`;
    })
    .join(', ');
}

function stageText(load: LoadStatus): readonly string[] {
  const { stage, stageSeconds, way, totalRows, compared, perSecond } = load;
  const since = stageSeconds === null || stageSeconds < 1 ? '' : ` for ${duration(stageSeconds)}`;
  switch (stage) {
    case null:
    case 'loading':
    case 'done':
      return [];
    case 'merging':
      return [`waiting${since} until Delta has what was changed in Postgres`];
    case 'pinning':
      return ['choosing the version'];
    case 'exporting':
      return [`exporting the rows${since}`];
    case 'catching up':
      return [`waiting${since} until live changes up to that version are applied`];
    case 'handing over':
      if (way === 'fill') return [`moving the rows into the table${since}`];
      if (compared === 0) return [`comparing the rows with the table${since}`];
      return [
        `${count(compared)} (${share(compared, totalRows ?? 0)}) compared with the table (${count(perSecond?.compared ?? 0)}/s)`,
        ...heldUp(load.heldUp),
      ];
    default:
      return stage satisfies never;
  }
}

/** `812 kB`, `1.2 GB` */
function size(bytes: number): string {
  const units = ['kB', 'MB', 'GB', 'TB'];
  let amount = bytes / 1000;
  let unit = 0;
  for (; amount >= 1000 && unit < units.length - 1; unit++) amount /= 1000;
  return `${amount < 10 ? amount.toFixed(1) : Math.round(amount)} ${units[unit]}`;
}
