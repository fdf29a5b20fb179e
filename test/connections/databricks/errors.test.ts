import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { translateDatabricks } from '../../../src/connections/databricks/errors.ts';
import { describeError, FencedError } from '../../../src/errors.ts';
import { SchemaChangedError } from '../../../src/ports/delta-source.ts';

const where = { doing: 'reading changes', table: 'hr.employees', mapping: 'employees' };

/** As the driver throws them: seen with version 2.1.0 (statement errors, refused calls, HTTP, sockets). */
const cases: readonly { name: string; thrown: unknown; code: string; kind: string; remedy?: RegExp }[] = [
  {
    name: 'a refused connection',
    thrown: Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED', type: 'system' }),
    code: 'DATABRICKS_UNAVAILABLE',
    kind: 'transient',
  },
  {
    name: 'a host that is not found',
    thrown: Object.assign(new Error('getaddrinfo ENOTFOUND'), { code: 'ENOTFOUND' }),
    code: 'DATABRICKS_UNAVAILABLE',
    kind: 'transient',
  },
  {
    name: 'a request without answer',
    thrown: Object.assign(new Error('Request timed out'), { type: 7 }),
    code: 'DATABRICKS_UNAVAILABLE',
    kind: 'transient',
  },
  ...[429, 500, 502, 503, 504].map((statusCode) => ({
    name: `HTTP ${statusCode}`,
    thrown: { message: `bad HTTP status code: ${statusCode}`, statusCode },
    code: 'DATABRICKS_UNAVAILABLE',
    kind: 'transient',
  })),
  {
    name: 'HTTP 503 after the driver’s own attempts',
    thrown: {
      message: 'Max retry count exceeded',
      errorCode: 'ATTEMPTS_EXCEEDED',
      payload: { response: { status: 503 } },
    },
    code: 'DATABRICKS_UNAVAILABLE',
    kind: 'transient',
  },
  ...[401, 403].map((statusCode) => ({
    name: `HTTP ${statusCode}`,
    thrown: { message: 'bad HTTP status code', statusCode },
    code: 'DATABRICKS_LOGIN',
    kind: 'operator',
    remedy: /databricks.token/,
  })),
  {
    name: 'HTTP 404',
    thrown: { message: 'bad HTTP status code', statusCode: 404 },
    code: 'DATABRICKS_WAREHOUSE_MISSING',
    kind: 'operator',
    remedy: /databricks.path/,
  },
  {
    name: 'an unknown certificate',
    thrown: Object.assign(new Error('self-signed certificate'), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }),
    code: 'DATABRICKS_TLS',
    kind: 'operator',
    remedy: /caFile/,
  },
  {
    name: 'a wrong OAuth secret',
    thrown: new Error('invalid_client (Client authentication failed)'),
    code: 'DATABRICKS_LOGIN',
    kind: 'operator',
    remedy: /oauth/,
  },
  {
    name: 'a session that is gone',
    thrown: { name: 'Status Error', message: 'Invalid SessionHandle', code: -1 },
    code: 'DATABRICKS_SESSION_LOST',
    kind: 'transient',
  },
  {
    name: 'a MERGE that names a column which the table lacks',
    thrown: new Error('[DELTA_MERGE_UNRESOLVED_EXPRESSION] Cannot resolve t.name in UPDATE clause'),
    code: 'DELTA_COLUMN_MISSING',
    kind: 'operator',
  },
  ...[
    'DELTA_METADATA_CHANGED',
    'DELTA_CONCURRENT_APPEND.WITHOUT_HINT',
    'DELTA_SCHEMA_CHANGE_SINCE_ANALYSIS',
  ].map((name) => ({
    name: `another writer’s commit (${name})`,
    thrown: new Error(`[${name}] The table was changed.`),
    code: 'DELTA_CONFLICT',
    kind: 'transient',
  })),
  {
    // Nobody wrote a row here: what is read is the table's affair.
    name: 'a value that cannot be read',
    thrown: new Error('[CAST_INVALID_INPUT] The value cannot be cast.'),
    code: 'DELTA_VALUE_REFUSED',
    kind: 'operator',
  },
  {
    name: 'a cancelled statement',
    thrown: Object.assign(new Error('The operation was canceled'), { errorCode: 'CANCELED' }),
    code: 'DATABRICKS_STATEMENT_FAILED',
    kind: 'transient',
  },
  statement('TABLE_OR_VIEW_NOT_FOUND', '42P01', 'DELTA_TABLE_MISSING', 'operator', /deltaferry setup/),
  statement('INSUFFICIENT_PERMISSIONS', '42501', 'DATABRICKS_DENIED', 'operator', /Grant/),
  statement('DELTA_MISSING_CHANGE_DATA', 'KD002', 'DELTA_VERSIONS_GONE', 'operator', /backfill employees/),
  statement(
    'DELTA_CHANGE_DATA_FILE_NOT_FOUND',
    '42K03',
    'DELTA_VERSIONS_GONE',
    'operator',
    /backfill employees/,
  ),
  statement(
    'FAILED_READ_FILE.FILE_NOT_EXIST',
    'KD001',
    'DELTA_VERSIONS_GONE',
    'operator',
    /backfill employees/,
  ),
  statement(
    'FAILED_READ_FILE.DBR_FILE_NOT_EXIST',
    'KD001',
    'DELTA_VERSIONS_GONE',
    'operator',
    /backfill employees/,
  ),
  statement(
    'DELTA_MISSING_TRANSACTION_LOG',
    'KD00E',
    'DELTA_VERSIONS_GONE',
    'operator',
    /backfill employees/,
  ),
  statement(
    'DELTA_VERSIONS_NOT_CONTIGUOUS',
    'KD00C',
    'DELTA_VERSIONS_GONE',
    'operator',
    /backfill employees/,
  ),
  statement(
    'UNRESOLVED_COLUMN.WITH_SUGGESTION',
    '42703',
    'DELTA_COLUMN_MISSING',
    'operator',
    /columns of employees/,
  ),
  statement('DELTA_CONCURRENT_APPEND', '2D521', 'DELTA_CONFLICT', 'transient'),
  statement('PARSE_SYNTAX_ERROR', '42601', 'DATABRICKS_REFUSED', 'operator'),
  statement('SOMETHING_NEW', 'XX000', 'DATABRICKS_STATEMENT_FAILED', 'transient'),
];

function statement(errorClass: string, sqlState: string, code: string, kind: string, remedy?: RegExp) {
  const thrown = Object.assign(
    new Error(`\n[${errorClass}] What the engine says.\n'Project [salary = 12345.67]`),
    {
      errorCode: 'ERROR',
      response: { sqlState },
    },
  );
  return { name: errorClass, thrown, code, kind, ...(remedy === undefined ? {} : { remedy }) };
}

describe('Databricks errors', () => {
  for (const { name, thrown, code, kind, remedy } of cases)
    it(`${name} → ${kind} ${code}`, () => {
      const error = translateDatabricks(thrown, where);
      assert.deepEqual([error.code, error.kind], [code, kind]);
      assert.match(error.message, /while reading changes \(hr\.employees\)/);
      if (remedy !== undefined) assert.match(error.remedy ?? '', remedy);
    });

  it('an incompatible schema carries the version to split at', () => {
    const text =
      '[DELTA_CHANGE_DATA_FEED_INCOMPATIBLE_SCHEMA_CHANGE] Retrieving table changes between version 0 and 9 failed.\nYour read schema is {} at version 9, but we found an incompatible schema change at version 4.\nIf possible…';
    const error = translateDatabricks(new Error(text), where);
    assert.ok(error instanceof SchemaChangedError);
    assert.equal(error.version, 4);
    const other = translateDatabricks(
      new Error(text.replaceAll('version 4', 'some version').replace('SCHEMA_CHANGE', 'DATA_SCHEMA')),
      where,
    );
    assert.ok(other instanceof SchemaChangedError);
    assert.equal(other.version, null);
  });

  it('our own errors pass unchanged', () => {
    const fenced = new FencedError({ code: 'X', message: 'x' });
    assert.equal(translateDatabricks(fenced, where), fenced);
  });

  it('no plan, no value and no statement gets into a log line, the stack included', () => {
    const { thrown } = statement('TABLE_OR_VIEW_NOT_FOUND', '42P01', '', '');
    const error = translateDatabricks(thrown, where);
    const cause = error.cause as Error;
    for (const text of [describeError(error), error.stack ?? '', cause.message, cause.stack ?? ''])
      assert.doesNotMatch(text, /12345\.67/);
  });
});

describe('a row that is refused', () => {
  const writing = { ...where, columns: ['id', 'name'] };
  const refusals: readonly { text: string; sqlState?: string; kind: string; code: string }[] = [
    {
      text: '[DELTA_NOT_NULL_CONSTRAINT_VIOLATED] NOT NULL constraint violated for column: name.',
      kind: 'poison',
      code: 'DELTA_VALUE_REFUSED',
    },
    {
      text: '[DELTA_NOT_NULL_CONSTRAINT_VIOLATED] NOT NULL constraint violated for column: owner.',
      kind: 'operator',
      code: 'DELTA_VALUE_REFUSED',
    },
    {
      text: '[DELTA_VIOLATE_CONSTRAINT_WITH_VALUES] CHECK constraint c (id > 0) violated by row with values:\n - id : 0',
      kind: 'poison',
      code: 'DELTA_VALUE_REFUSED',
    },
    {
      text: '[DELTA_CAST_OVERFLOW_IN_TABLE_WRITE] Failed to write a value of BIGINT type into the INT type column n.',
      kind: 'poison',
      code: 'DELTA_VALUE_REFUSED',
    },
    {
      text: '[TASK_WRITE_FAILED] Task failed while writing rows.\nCaused by: x: [CAST_OVERFLOW_IN_TABLE_INSERT] Fail',
      kind: 'poison',
      code: 'DELTA_VALUE_REFUSED',
    },
    {
      text: '[TASK_WRITE_FAILED] Task failed while writing rows.',
      sqlState: '58030',
      kind: 'transient',
      code: 'DELTA_WRITE_FAILED',
    },
    { text: '[DATETIME_OVERFLOW] overflow', sqlState: '22008', kind: 'poison', code: 'DELTA_VALUE_REFUSED' },
    // A line that we wrote wrongly must never cost a change.
    {
      text: '[MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION] Malformed',
      sqlState: '22023',
      kind: 'operator',
      code: 'DATABRICKS_REFUSED',
    },
  ];
  for (const { text, sqlState, kind, code } of refusals)
    it(`${text.split(']')[0]}]: ${kind}`, () => {
      const error = translateDatabricks(Object.assign(new Error(text), { response: { sqlState } }), writing);
      assert.deepEqual([error.kind, error.code], [kind, code]);
      assert.doesNotMatch(error.message, /id : 0/);
    });
});
