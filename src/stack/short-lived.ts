/**
 * Statements that are small and many are planned and run as they are: making classes of each of them, as Spark does, costs
 * more than it wins back, and nor does planning one anew after each of its stages pay. It takes a third off the demo's time.
 */
const SPARK = [
  '-Dspark.sql.adaptive.enabled=false',
  '-Dspark.sql.codegen.wholeStage=false',
  '-Dspark.sql.codegen.factoryMode=NO_CODEGEN',
];

/** In a minute or two Java's optimising compiler does not win back what it costs. */
const NO_OPTIMIZING = '-XX:TieredStopAtLevel=1';

/** Without that compiler the code cache would have 48 MB, and a quarter of the warehouse's time would go into throwing code away. */
const CODE_CACHE = '-XX:ReservedCodeCacheSize=240m';

/** Flags (`DELTAFERRY_WAREHOUSE_JVM`) of a warehouse that runs small statements, for a long time. */
export const smallStatements = [CODE_CACHE, ...SPARK].join(' ');

/** Those of one that does so for a minute or two. */
export const shortLivedWarehouse = `${NO_OPTIMIZING} ${smallStatements}`;

/** Flags (`DELTAFERRY_BROKER_JVM`) of a broker that lives as long, with little to do. */
export const shortLivedBroker = NO_OPTIMIZING;
