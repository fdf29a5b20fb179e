/** Types that a key column may have: those with one canonical text on both engines. */
export const keyTypes: readonly string[] = [
  'bigint',
  'integer',
  'smallint',
  'text',
  'varchar',
  'uuid',
  'date',
];
