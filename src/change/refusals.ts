import { BugError, PoisonError } from '../errors.ts';

/** A text that is not of the type at all. `where` names the column and its type. */
export function invalidValue(where: string, text: string, why: string): PoisonError {
  return new PoisonError({ code: 'VALUE_INVALID', message: `${where}: ${excerpt(text)} ${why}` });
}

/** A value of the right kind that the column cannot hold exactly; it is never rounded or cut. */
export function valueOutOfRange(where: string, text: string, why: string): PoisonError {
  return new PoisonError({ code: 'VALUE_OUT_OF_RANGE', message: `${where}: ${excerpt(text)} ${why}` });
}

/** A value whose JavaScript form is not the one its type prescribes (src/change/change.ts). */
export function misshapenValue(where: string, value: unknown): BugError {
  const form = value === null ? 'null' : typeof value;
  return new BugError({ code: 'VALUE_FORM', message: `${where}: a ${form} is not the form of this type` });
}

function excerpt(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}
