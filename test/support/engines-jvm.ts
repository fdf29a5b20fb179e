/**
 * The tests' statements are small and many. Making classes of each of them, as Spark does, costs more than it wins back
 * (the tests take two thirds of the time without), and nor does planning one anew after each of its stages pay.
 */
const SPARK = [
  '-Dspark.sql.adaptive.enabled=false',
  '-Dspark.sql.codegen.wholeStage=false',
  '-Dspark.sql.codegen.factoryMode=NO_CODEGEN',
];

/**
 * In a minute or two Java's optimising compiler does not win back what it costs. Without it the code cache would have
 * 48 MB, of which the first few tests fill more, and a quarter of the warehouse's time would go into throwing code away.
 */
const SHORT_LIVED = ['-XX:TieredStopAtLevel=1'];
const CODE_CACHE = '-XX:ReservedCodeCacheSize=240m';

/** For every warehouse and broker that this process and its children start from now on. */
export function enginesForTests(): void {
  process.env['DELTAFERRY_WAREHOUSE_JVM'] ??= [...SHORT_LIVED, CODE_CACHE, ...SPARK].join(' ');
  process.env['DELTAFERRY_BROKER_JVM'] ??= SHORT_LIVED.join(' ');
}

/** As `enginesForTests`, for those that live as long as the whole run: `start` starts them. */
export async function longLivedEngines(start: () => Promise<unknown>): Promise<void> {
  const given = process.env['DELTAFERRY_WAREHOUSE_JVM'];
  process.env['DELTAFERRY_WAREHOUSE_JVM'] ??= [CODE_CACHE, ...SPARK].join(' ');
  await start();
  if (given === undefined) delete process.env['DELTAFERRY_WAREHOUSE_JVM'];
}
