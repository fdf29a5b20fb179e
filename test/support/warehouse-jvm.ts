/**
 * How tests start a warehouse. Their statements are small and many. Neither Java's optimising compiler nor Spark's, which
 * makes classes of each statement, wins back what it costs: without the second the tests take two thirds of the time. With the first
 * compiler alone the code cache would have 48 MB, of which the first few files fill more, and a quarter of the
 * warehouse's time would go into throwing code away. Nor does planning a statement anew after each of its stages pay.
 */
const FLAGS = [
  '-XX:TieredStopAtLevel=1',
  '-XX:ReservedCodeCacheSize=240m',
  '-Dspark.sql.adaptive.enabled=false',
  '-Dspark.sql.codegen.wholeStage=false',
  '-Dspark.sql.codegen.factoryMode=NO_CODEGEN',
];

/** For every warehouse that this process starts from now on. */
export function warehouseForTests(): void {
  process.env['DELTAFERRY_WAREHOUSE_JVM'] ??= FLAGS.join(' ');
}
