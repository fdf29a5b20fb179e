import type { Mutant } from './mutant.ts';

const SESSION = 'src/producers/postgres-log-session.ts';
const LOG_SQL = 'src/connections/postgres/log-sql.ts';
const LOOP = 'test/producers/postgres-log.test.ts';
const CAPTURED = 'test/producers/log-capture.engine.test.ts';
const PROCESSES = 'test/producers/log-processes.engine.test.ts';
const TEXTS = 'test/change/postgres-text.test.ts';

/** P12 to P15: the life of the poller. */
export const logPollerMutants: readonly Mutant[] = [
  {
    promise: 'P12',
    name: 'takes a trigger for enabled that is not',
    file: LOG_SQL,
    find: " AND tgenabled IN ('O', 'A')",
    put: '',
    caughtBy: [CAPTURED, 'a trigger that was dropped or switched off, and goes on once it is back'],
    saying: /Not within 10000 ms: it stops/,
  },
  {
    promise: 'P12',
    name: 'does not say that the log is missing',
    file: 'src/connections/postgres/log-source.ts',
    find: 'if (!state.log) return `there is no log ${names.log}`;',
    put: '',
    caughtBy: [CAPTURED, 'a log that is not there'],
  },
  {
    promise: 'P12',
    name: 'goes on in a database that was restored',
    file: 'src/connections/postgres/log-source.ts',
    find: 'if (found === undefined || found.behind)',
    put: 'if (found === undefined)',
    caughtBy: [CAPTURED, 'a database restored to an earlier time'],
    saying: /Not within 10000 ms: it stops/,
  },
  {
    promise: 'P12',
    name: 'does not look whether the window that it was in is behind the database',
    file: SESSION,
    find: 'source.snapshot(start.target ?? start.acknowledged)',
    put: 'source.snapshot(start.acknowledged)',
    caughtBy: [CAPTURED, 'a database restored to a time within the window that was being published'],
    saying: /Not within 10000 ms: it stops/,
  },
  {
    promise: 'P12',
    name: 'takes a position for one that no database can have',
    file: 'src/flow/log-position.ts',
    find: 'if (xid < least || xid >= xmax) return false;',
    put: 'if (xid < least) return false;',
    caughtBy: ['test/flow/log-position.test.ts', 'refuses an open transaction from xmax on'],
  },
  {
    promise: 'P13',
    name: 'resumes a window with another end than it had',
    file: SESSION,
    find: 'await publishWindow(position.target, signal)',
    put: 'await publishWindow(snapshot, signal)',
    caughtBy: [LOOP, 'resumes in the midst of a window, with the end that was chosen when it began'],
  },
  {
    promise: 'P13',
    name: 'begins the next window behind the last change of one that it resumed',
    file: SESSION,
    find: 'target: null, last: 0n };',
    put: 'target: null, last: position.last };',
    caughtBy: [LOOP, 'resumes in the midst of a window, with the end that was chosen when it began'],
  },
  {
    promise: 'P13',
    name: 'begins a window while the one ahead of it is on its way',
    file: SESSION,
    find: '// No window begins before the one ahead of it is durable.\n    await publisher.settled();',
    put: '',
    caughtBy: [LOOP, 'no window begins before the one ahead of it is durable'],
  },
  {
    promise: 'P13',
    name: 'goes on with a log that another process has opened, without asking who leads',
    file: 'src/producers/producer-life.ts',
    find: "return { name: 'fenced' };",
    put: "return { name: 'failed', error };",
    caughtBy: [LOOP, 'a zombie that still believes it leads publishes nothing'],
  },
  {
    promise: 'P13',
    name: 'begins a window again in whose midst it was killed',
    file: SESSION,
    find: 'source.read({ from, to, after: position.last }, signal)',
    put: 'source.read({ from, to, after: 0n }, signal)',
    caughtBy: [
      PROCESSES,
      'killed in the midst of a window, again and again: resumes behind what was published, nothing twice',
    ],
  },
  {
    promise: 'P13',
    name: 'asks for the lease every ten seconds only',
    file: 'src/connections/postgres/leadership.ts',
    find: 'pollMs: 500,',
    put: 'pollMs: 10_000,',
    caughtBy: [PROCESSES, 'a standby takes over within 5 s of the death of the leader'],
  },
  {
    promise: 'P14',
    name: 'publishes a time behind the year 9999',
    file: 'src/change/postgres-text.ts',
    find: 'if (exact < FIRST_MICROS || exact > LAST_MICROS)',
    put: 'if (exact < FIRST_MICROS)',
    caughtBy: [TEXTS, 'timestamptz 9999-12-31 23:59:59.999999-01 has no counterpart'],
  },
  {
    promise: 'P14',
    name: 'takes a year before 1 for one after it',
    file: 'src/change/postgres-text.ts',
    find: `day = '', bc] = match;
  const days = bc === undefined ? daysOf(Number(year), Number(month), Number(day)) : undefined;`,
    put: `day = '', bc] = match;
  const days = daysOf(Number(year), Number(month), Number(day));`,
    caughtBy: [TEXTS, 'date 0044-03-15 BC has no counterpart'],
  },
  {
    promise: 'P14',
    name: 'stops at a value that Delta cannot hold',
    file: 'src/connections/postgres/log-rows.ts',
    find: 'if (!(error instanceof PoisonError)) throw error;\n      const cause',
    put: 'throw error;\n      const cause',
    caughtBy: [
      CAPTURED,
      'a value that Delta cannot hold is rejected with its column, its neighbours are published',
    ],
    saying: /"infinity" has no counterpart in Delta/,
  },
  {
    promise: 'P14',
    name: 'rejects what ends a row that Delta cannot hold',
    file: 'src/connections/postgres/log-rows.ts',
    find: 'if (after?.error != null) throw after.error;',
    put: 'for (const image of [before, after]) if (image?.error != null) throw image.error;',
    caughtBy: [
      CAPTURED,
      'a value that Delta cannot hold is rejected with its column, its neighbours are published',
    ],
  },
  {
    promise: 'P14',
    name: 'does not say which column it was',
    file: 'src/connections/postgres/log-rows.ts',
    find: 'postgresParserFor(type, name)',
    put: 'postgresParserFor(type)',
    caughtBy: [
      CAPTURED,
      'a value that Delta cannot hold is rejected with its column, its neighbours are published',
    ],
  },
  {
    promise: 'P15',
    name: 'reads the log though nothing has happened',
    file: SESSION,
    find: 'const sent = snapshot === position.acknowledged ? 0 : await publishWindow(snapshot, signal);',
    put: 'const sent = await publishWindow(snapshot, signal);',
    caughtBy: [LOOP, 'an idle database costs no transaction, and no window'],
  },
  {
    promise: 'P15',
    name: 'writes its position again and again, though it has not moved',
    file: SESSION,
    find: 'if (!written) await send(position);',
    put: 'await send(position);',
    caughtBy: [LOOP, 'an idle database costs no transaction, and no window'],
  },
  {
    promise: 'P15',
    name: 'asks an idle database as often as a busy one',
    file: SESSION,
    find: "waitMs = found === 'nothing' ? Math.min(options.pollMaxMs, Math.max(1, waitMs) * 2) : options.pollMinMs;",
    put: 'waitMs = options.pollMinMs;',
    caughtBy: [
      LOOP,
      'milliseconds apart while there is something, up to the longest pause when nothing happens',
    ],
  },
];
