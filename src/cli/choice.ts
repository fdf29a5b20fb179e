import { UsageError } from '../errors.ts';

/** The given name as one of the known ones. Throws a UsageError that suggests the nearest. */
export async function oneOf<T extends string>(flag: string, given: string, known: readonly T[]): Promise<T> {
  const found = known.find((name) => name === given);
  if (found !== undefined) return found;
  const [{ nearest }, { didYouMean }] = await Promise.all([
    import('../service/config/nearest.ts'),
    import('../service/config/rules.ts'),
  ]);
  throw new UsageError({
    code: 'USAGE',
    message: `${flag}: there is no "${given}"${didYouMean(nearest(given, known))}`,
    remedy: `Name one of: ${known.join(', ')}.`,
  });
}
