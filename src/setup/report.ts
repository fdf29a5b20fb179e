import type { Plan, Step } from './plan.ts';
import type { SetupResult } from './setup.ts';

/** The result for a person: a line per step, SQL indented under it, and a closing line. */
export function setupLines(result: SetupResult): readonly string[] {
  return [...planLines(result.plan), closingLine(result)];
}

export function planLines(plan: Plan): readonly string[] {
  return plan.flatMap(stepLines);
}

function stepLines({ kind, what, detail, sql = [] }: Step): readonly string[] {
  const statements = sql.flatMap((statement) => `${statement};`.split('\n'));
  return [`${kind.padEnd(8)}  ${what}: ${detail}`, ...statements.map((line) => `            ${line}`)];
}

function closingLine({ outcome, applied, plan }: SetupResult): string {
  const count = (kind: Step['kind']) => plan.filter((step) => step.kind === kind).length;
  switch (outcome) {
    case 'mismatch':
      return applied
        ? `${things(count('mismatch'))} not fit: somebody else created it at the same moment. Mend it and run setup again.`
        : `${things(count('mismatch'))} not fit. Nothing was changed: mend what is named above and run setup again.`;
    case 'planned':
      return count('create') === 0
        ? 'Nothing to do.'
        : `${count('create')} to do. Nothing was changed: this was a dry run.`;
    case 'done':
      return count('create') === 0
        ? 'Everything was there already.'
        : `${count('create')} done, all is in place.`;
    default:
      return outcome satisfies never;
  }
}

function things(count: number): string {
  return count === 1 ? '1 thing does' : `${count} things do`;
}
