import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import pg from 'pg';
import { connectionSurvives, translatePostgres } from '../../../src/connections/postgres/errors.ts';
import { FencedError, type ErrorKind } from '../../../src/errors.ts';

const WHERE = { doing: 'applying changes', table: 'public.employees', role: 'ferry' };

function serverError(code: string, message = 'as the server says', severity = 'ERROR'): Error {
  const error = new pg.DatabaseError(message, message.length, 'error');
  return Object.assign(error, { code, severity });
}

describe('what SQLSTATE means', () => {
  const KINDS: Record<string, ErrorKind> = {
    '22001': 'poison', // too long
    '22003': 'poison', // out of range
    '22P02': 'poison', // not of the type
    '22021': 'poison', // not in the encoding
    '22P05': 'poison', // not in the database's encoding
    '23502': 'poison',
    '23503': 'poison',
    '23514': 'poison',
    '54000': 'poison', // too long for an index
    '54001': 'poison', // nested too deeply
    '23505': 'transient', // a person wrote the same key
    '23P01': 'transient',
    '40001': 'transient',
    '40P01': 'transient',
    '55P03': 'transient',
    '57014': 'transient',
    '08006': 'transient',
    '57P01': 'transient',
    '57P02': 'transient',
    '57P03': 'transient',
    '53300': 'transient',
    '42P01': 'operator',
    '42501': 'operator',
    '42703': 'operator',
    '3F000': 'operator',
    '3D000': 'operator',
    '28P01': 'operator',
    '28000': 'operator',
    '53100': 'operator', // disk full
    '25006': 'operator', // read only
    '0A000': 'operator',
    P0001: 'operator',
    XX000: 'operator',
  };
  for (const [state, kind] of Object.entries(KINDS))
    test(`${state} is ${kind}`, () => {
      const translated = translatePostgres(serverError(state), WHERE);
      assert.equal(translated.kind, kind);
      assert.equal(translated.code, `POSTGRES_${state}`);
      assert.match(translated.message, /applying changes \(table public\.employees\): as the server says/);
      if (kind === 'operator') assert.ok(translated.remedy !== undefined && translated.remedy.length > 20);
    });

  test('a plan that no longer fits its table is made again on a new connection', () => {
    const error = serverError('0A000', 'cached plan must not change result type');
    assert.equal(translatePostgres(error, WHERE).kind, 'transient');
    assert.equal(connectionSurvives(error), false);
  });

  test('a row that no partition takes is for a person to mend', () => {
    const missing = serverError('23514', 'no partition of relation "employees" found for row');
    const translated = translatePostgres(Object.assign(missing, { table: 'employees' }), WHERE);
    assert.equal(translated.kind, 'operator');
    assert.match(translated.remedy ?? '', /Create the partition of employees/);
    const check = Object.assign(serverError('23514'), { table: 'employees', constraint: 'decent' });
    assert.equal(translatePostgres(check, WHERE).kind, 'poison');
  });

  test('a trigger that calls itself without end is for a person to mend', () => {
    const error = Object.assign(serverError('54001'), { where: 'PL/pgSQL function audit() line 1' });
    assert.equal(translatePostgres(error, WHERE).kind, 'operator');
    assert.match(translatePostgres(error, WHERE).remedy ?? '', /trigger/);
  });

  test('a server that is too old for the settings of our sessions is told from a type that is missing', () => {
    const unknown = (name: string) =>
      translatePostgres(serverError('42704', `paramètre de configuration « ${name} » non reconnu`), WHERE);
    assert.equal(unknown('idle_session_timeout').kind, 'operator');
    assert.equal(unknown('idle_session_timeout').remedy, 'Use Postgres 14 or later.');
    assert.match(unknown('app.user').remedy ?? '', /public\.employees/);
  });

  test('remedies name table and role', () => {
    assert.match(
      translatePostgres(serverError('42501'), WHERE).remedy ?? '',
      /role ferry.*public\.employees/,
    );
    assert.match(translatePostgres(serverError('42P01'), WHERE).remedy ?? '', /public\.employees/);
  });
});

describe('what the driver and the network say', () => {
  const network = (code: string): Error =>
    Object.assign(new Error(`connect ${code} 127.0.0.1:5432`), { code });
  const CASES: readonly [Error, ErrorKind][] = [
    [network('ECONNREFUSED'), 'transient'],
    [network('ECONNRESET'), 'transient'],
    [network('EPIPE'), 'transient'],
    [network('ETIMEDOUT'), 'transient'],
    [network('ENOTFOUND'), 'transient'],
    [Object.assign(new AggregateError([network('ECONNREFUSED')]), { code: 'ECONNREFUSED' }), 'transient'],
    [new Error('Connection terminated unexpectedly'), 'transient'],
    [new Error('Connection terminated due to connection timeout'), 'transient'],
    [new Error('timeout exceeded when trying to connect'), 'transient'],
    [new Error('timeout expired'), 'transient'],
    [new Error('Query read timeout'), 'transient'],
    [new Error('The server does not support SSL connections'), 'operator'],
    [new Error('SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string'), 'operator'],
    [
      Object.assign(new Error('self-signed certificate'), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }),
      'operator',
    ],
    [new TypeError('x is not a function'), 'bug'],
  ];
  for (const [error, kind] of CASES)
    test(`${error.message || error.name} is ${kind}`, () => {
      assert.equal(translatePostgres(error, WHERE).kind, kind);
      assert.equal(connectionSurvives(error), false);
    });
});

test('errors of our own pass unchanged', () => {
  const fenced = new FencedError({ code: 'OFFSET_MOVED', message: 'x' });
  assert.equal(translatePostgres(fenced, WHERE), fenced);
});

test('a connection goes on after an ordinary error, and not after one that ended it', () => {
  assert.equal(connectionSurvives(serverError('23505')), true);
  assert.equal(connectionSurvives(serverError('55P03')), true);
  assert.equal(connectionSurvives(serverError('57P01', 'terminating', 'FATAL')), false);
});
