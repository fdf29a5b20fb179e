import { UsageError } from '../errors.ts';

/** The tables of the configuration, or the one named. Throws a UsageError that names the nearest. */
export async function tablesNamed<T extends { readonly name: string }>(
  only: string | undefined,
  tables: readonly T[],
): Promise<readonly T[]> {
  if (only === undefined) return tables;
  const chosen = tables.filter(({ name }) => name === only);
  if (chosen.length > 0) return chosen;
  const [{ nearest }, { didYouMean }] = await Promise.all([
    import('../service/config/nearest.ts'),
    import('../service/config/rules.ts'),
  ]);
  const known = tables.map(({ name }) => name);
  throw new UsageError({
    code: 'TABLE_UNKNOWN',
    message: `there is no table ${only} in the configuration${didYouMean(nearest(only, known))}`,
    remedy: `Name one of: ${known.join(', ')}.`,
  });
}
