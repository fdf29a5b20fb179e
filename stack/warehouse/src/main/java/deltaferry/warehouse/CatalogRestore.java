package deltaferry.warehouse;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.catalyst.TableIdentifier;
import org.apache.spark.sql.catalyst.catalog.CatalogStorageFormat;
import org.apache.spark.sql.catalyst.catalog.CatalogTable;
import org.apache.spark.sql.catalyst.catalog.CatalogTableType;
import org.apache.spark.sql.types.StructType;
import scala.Option;

/**
 * The catalogue lives in memory; the tables are on disk. At a start every folder of the warehouse directory
 * that has a Delta log becomes a table again: {@code <table>} in schema default, {@code <schema>.db/<table>} in
 * others. Views and tables with a location of their own are not found again.
 *
 * <p>Tables are entered as MANAGED, so that DROP TABLE deletes their files, and straight into the catalogue: the
 * SQL way would make them external and read every log, which takes a tenth of a second per table.
 */
final class CatalogRestore {
  private static final String SCHEMA_SUFFIX = ".db";

  private CatalogRestore() {}

  static void run(SparkSession spark, Path warehouse) throws IOException {
    if (!Files.isDirectory(warehouse)) return;
    for (Path folder : folders(warehouse)) {
      String name = folder.getFileName().toString();
      if (isTable(folder)) {
        addTable(spark, "default", name);
      } else if (name.endsWith(SCHEMA_SUFFIX)) {
        String schema = name.substring(0, name.length() - SCHEMA_SUFFIX.length());
        spark.sql("CREATE SCHEMA IF NOT EXISTS `" + schema.replace("`", "``") + "`");
        for (Path table : folders(folder)) {
          if (isTable(table)) addTable(spark, schema, table.getFileName().toString());
        }
      }
    }
  }

  private static List<Path> folders(Path parent) throws IOException {
    try (Stream<Path> entries = Files.list(parent)) {
      return entries.filter(Files::isDirectory).sorted().toList();
    }
  }

  private static boolean isTable(Path folder) {
    return Files.isDirectory(folder.resolve("_delta_log"));
  }

  /** No columns: Delta takes them from its log. No location: a managed table's is made of its name. */
  private static void addTable(SparkSession spark, String schema, String table) {
    var catalog = ((org.apache.spark.sql.classic.SparkSession) spark).sessionState().catalog().externalCatalog();
    CatalogTable entry =
        new CatalogTable(
            new TableIdentifier(table, Option.apply(schema)),
            CatalogTableType.MANAGED(),
            CatalogStorageFormat.empty(),
            new StructType(),
            Option.apply("delta"),
            CatalogTable.apply$default$6(),
            CatalogTable.apply$default$7(),
            CatalogTable.apply$default$8(),
            CatalogTable.apply$default$9(),
            CatalogTable.apply$default$10(),
            CatalogTable.apply$default$11(),
            CatalogTable.apply$default$12(),
            CatalogTable.apply$default$13(),
            CatalogTable.apply$default$14(),
            CatalogTable.apply$default$15(),
            CatalogTable.apply$default$16(),
            CatalogTable.apply$default$17(),
            CatalogTable.apply$default$18(),
            CatalogTable.apply$default$19(),
            CatalogTable.apply$default$20(),
            CatalogTable.apply$default$21());
    catalog.createTable(entry, true);
  }
}
