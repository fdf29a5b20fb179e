package deltaferry.warehouse;

import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;

/** The catalogue as the Thrift calls GetCatalogs, GetSchemas, GetTables and GetColumns show it. */
final class Metadata {
  private static final String CATALOG = "spark_catalog";

  private Metadata() {}

  static Dataset<Row> catalogs(SparkSession spark) {
    return spark.createDataFrame(
        List.of(RowFactory.create(CATALOG)), new StructType().add("TABLE_CAT", "string"));
  }

  static Dataset<Row> tableTypes(SparkSession spark) {
    return spark.createDataFrame(
        List.of(RowFactory.create("TABLE"), RowFactory.create("VIEW")),
        new StructType().add("TABLE_TYPE", "string"));
  }

  static Dataset<Row> schemas(SparkSession spark, String schemaPattern) {
    List<Row> rows = schemaNames(spark, schemaPattern).stream().map(s -> RowFactory.create(s, CATALOG)).toList();
    return spark.createDataFrame(rows, new StructType().add("TABLE_SCHEM", "string").add("TABLE_CATALOG", "string"));
  }

  static Dataset<Row> tables(SparkSession spark, String schemaPattern, String tablePattern) {
    List<Row> rows = new ArrayList<>();
    for (String schema : schemaNames(spark, schemaPattern)) {
      for (String table : tableNames(spark, schema, tablePattern)) {
        rows.add(RowFactory.create(CATALOG, schema, table, "TABLE", ""));
      }
    }
    StructType type =
        new StructType()
            .add("TABLE_CAT", "string")
            .add("TABLE_SCHEM", "string")
            .add("TABLE_NAME", "string")
            .add("TABLE_TYPE", "string")
            .add("REMARKS", "string");
    return spark.createDataFrame(rows, type);
  }

  static Dataset<Row> columns(
      SparkSession spark, String schemaPattern, String tablePattern, String columnPattern) {
    List<Row> rows = new ArrayList<>();
    for (String schema : schemaNames(spark, schemaPattern)) {
      for (String table : tableNames(spark, schema, tablePattern)) {
        int position = 0;
        for (StructField field : spark.table(quote(schema) + "." + quote(table)).schema().fields()) {
          position++;
          if (!like(columnPattern, field.name())) continue;
          String nullable = field.nullable() ? "YES" : "NO";
          rows.add(
              RowFactory.create(
                  CATALOG, schema, table, field.name(), field.dataType().sql(), position, nullable));
        }
      }
    }
    StructType type =
        new StructType()
            .add("TABLE_CAT", "string")
            .add("TABLE_SCHEM", "string")
            .add("TABLE_NAME", "string")
            .add("COLUMN_NAME", "string")
            .add("TYPE_NAME", "string")
            .add("ORDINAL_POSITION", "int")
            .add("IS_NULLABLE", "string");
    return spark.createDataFrame(rows, type);
  }

  private static List<String> schemaNames(SparkSession spark, String pattern) {
    List<Row> rows = spark.sql("SHOW SCHEMAS").collectAsList();
    return rows.stream().map(row -> row.getString(0)).filter(name -> like(pattern, name)).toList();
  }

  private static List<String> tableNames(SparkSession spark, String schema, String pattern) {
    List<Row> rows = spark.sql("SHOW TABLES IN " + quote(schema)).collectAsList();
    return rows.stream()
        .filter(row -> !row.getBoolean(2)) // temporary views belong to no schema
        .map(row -> row.getString(1))
        .filter(name -> like(pattern, name))
        .toList();
  }

  private static String quote(String name) {
    return "`" + name.replace("`", "``") + "`";
  }

  /** JDBC's search patterns: % and _; nothing given matches all. */
  private static boolean like(String pattern, String name) {
    if (pattern == null || pattern.isEmpty() || pattern.equals("*")) return true;
    String regex = Pattern.quote(pattern).replace("%", "\\E.*\\Q").replace("_", "\\E.\\Q");
    return Pattern.compile(regex, Pattern.CASE_INSENSITIVE | Pattern.DOTALL).matcher(name).matches();
  }
}
