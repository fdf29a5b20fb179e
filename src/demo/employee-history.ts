import { createReadStream } from 'node:fs';
import { parse } from 'csv-parse';
import { UsageError } from '../errors.ts';

/** What is recorded of an employee from one moment to the next. */
export interface EmployeeVersion {
  readonly name: string;
  /** Exact text with two decimals. */
  readonly salary: string;
}

export interface Employee {
  readonly id: number;
  /** In order of time, at least one. */
  readonly versions: readonly EmployeeVersion[];
  /** The last version has an end: the employee is deleted after it. */
  readonly leaves: boolean;
}

const COLUMNS = ['emp_id', 'name', 'salary', 'from_date', 'to_date'] as const;
type CsvRow = Record<(typeof COLUMNS)[number], string>;

/**
 * Reads `emp_id,name,salary,from_date,to_date` (dates YYYY-MM-DD, an empty to_date is still open).
 * Throws a UsageError that names the line and the field.
 */
export async function readEmployeeHistory(file: string): Promise<Employee[]> {
  const rows = new Map<number, { from: string; to: string; version: EmployeeVersion }[]>();
  const reader = parse({ columns: checkHeader(file), info: true, bom: true });
  // A pipe passes no failure on: the process would end by an error that nobody hears.
  createReadStream(file)
    .on('error', (error) => reader.destroy(error))
    .pipe(reader);
  try {
    for await (const { record, info } of reader as AsyncIterable<{
      record: CsvRow;
      info: { lines: number };
    }>) {
      const wrong = problemOf(record);
      if (wrong !== null) throw badInput(file, `line ${info.lines}: ${wrong}`);
      const id = Number(record.emp_id);
      const versions = rows.get(id) ?? [];
      versions.push({
        from: record.from_date,
        to: record.to_date,
        version: { name: record.name, salary: withTwoDecimals(record.salary) },
      });
      rows.set(id, versions);
    }
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw badInput(file, error instanceof Error ? error.message : 'cannot be read');
  }
  if (rows.size === 0) throw badInput(file, 'it holds no employee');
  return [...rows].map(([id, versions]) => {
    const inOrder = versions.toSorted((a, b) => (a.from < b.from ? -1 : 1));
    return {
      id,
      versions: inOrder.map(({ version }) => version),
      leaves: inOrder.at(-1)?.to !== '',
    };
  });
}

function checkHeader(file: string): (header: string[]) => string[] {
  return (header) => {
    const missing = COLUMNS.filter((column) => !header.includes(column));
    if (missing.length > 0) throw badInput(file, `line 1: column ${missing.join(', ')} is missing`);
    return header;
  };
}

function problemOf(row: CsvRow): string | null {
  if (!/^\d{1,15}$/.test(row.emp_id)) return `emp_id must be a whole number, not "${row.emp_id}"`;
  if (!/^\d{1,10}(\.\d{1,2})?$/.test(row.salary)) return `salary must fit numeric(12,2), not "${row.salary}"`;
  for (const field of ['from_date', 'to_date'] as const)
    if (!/^\d{4}-\d\d-\d\d$/.test(row[field]) && !(field === 'to_date' && row[field] === ''))
      return `${field} must be YYYY-MM-DD, not "${row[field]}"`;
  return null;
}

function withTwoDecimals(text: string): string {
  const [whole = '0', decimals = ''] = text.split('.');
  return `${BigInt(whole)}.${decimals.padEnd(2, '0')}`;
}

function badInput(file: string, problem: string): UsageError {
  return new UsageError({
    code: 'DEMO_INPUT',
    message: `--input ${file}: ${problem}`,
    remedy: `Give a CSV file with the columns ${COLUMNS.join(',')}.`,
  });
}

const GIVEN = ['Ada', 'Grace', 'Edsger', 'Barbara', 'Tony', 'Frances', 'Ken', 'Radia', 'Zoë', 'Søren'];
const FAMILY = ['Okafor', 'Nguyen', "O'Brien", 'Müller', 'García', 'Tanaka', 'Silva', 'Novák', '李', 'Kaya'];

/**
 * A history of the same shape as real payrolls: up to 18 yearly versions each, a rise now and then
 * left out (a version equal to the one before it), about a fifth of the people gone. The same every time.
 */
export function generateEmployeeHistory(employees = 1000, seed = 42): Employee[] {
  const random = mulberry32(seed);
  return Array.from({ length: employees }, (_, index) => {
    const name = `${GIVEN[Math.floor(random() * GIVEN.length)]} ${FAMILY[Math.floor(random() * FAMILY.length)]}`;
    let cents = 3_800_000 + Math.floor(random() * 3_000_000);
    const versions = Array.from({ length: 1 + Math.floor(random() * 18) }, () => {
      if (random() > 0.05) cents += Math.floor(random() * 400_000) - 50_000;
      return { name, salary: `${Math.floor(cents / 100)}.${String(cents % 100).padStart(2, '0')}` };
    });
    return { id: 10_001 + index, versions, leaves: random() < 0.2 };
  });
}

function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
