const WIDEST = 40;

/** Aligned; the last column is left as long as it is. */
export function columns(rows: readonly (readonly string[])[]): string[] {
  const shown = rows.map((row) =>
    row.map((cell, index) => {
      const text = printable(cell);
      return index < row.length - 1 && text.length > WIDEST ? `${text.slice(0, WIDEST - 1)}…` : text;
    }),
  );
  const widths = shown[0]!.map((_, index) => Math.max(...shown.map((row) => row[index]!.length)));
  return shown.map((row) =>
    row
      .map((cell, index) => cell.padEnd(widths[index]!))
      .join('  ')
      .trimEnd(),
  );
}

/** What others wrote must not steer the terminal: control and direction characters are shown as escapes. */
export function printable(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}
