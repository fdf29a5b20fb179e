package deltaferry.warehouse;

import java.math.BigDecimal;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.apache.spark.sql.Column;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.catalyst.expressions.Cast;
import org.apache.spark.sql.catalyst.expressions.EvalMode;
import org.apache.spark.sql.catalyst.expressions.Literal;
import org.apache.spark.sql.catalyst.parser.CatalystSqlParser$;
import org.apache.spark.sql.classic.ExpressionUtils;
import org.apache.spark.sql.functions;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.DecimalType;
import org.apache.spark.unsafe.types.UTF8String;
import scala.Option;

/** Binds a statement's parameters (TSparkParameter: 2 name, 3 SQL type, 4 value as text) as typed literals. */
final class Parameters {
  private Parameters() {}

  static Dataset<Row> sql(SparkSession spark, String text, List<ThriftStruct> parameters) {
    if (parameters.isEmpty()) return spark.sql(text);
    String zone = spark.conf().get("spark.sql.session.timeZone");
    if (parameters.get(0).text(2) == null) {
      return spark.sql(text, parameters.stream().map(p -> literal(p, zone)).toArray());
    }
    Map<String, Object> named = new HashMap<>();
    for (ThriftStruct parameter : parameters) named.put(parameter.text(2), literal(parameter, zone));
    return spark.sql(text, named);
  }

  /** Spark's own cast reads the text: each type's forms, limits and error texts are then those of SQL. */
  private static Column literal(ThriftStruct parameter, String zone) {
    String text = parameter.struct(4).text(1), typeName = parameter.text(3);
    if (text == null || typeName == null || typeName.equals("VOID")) return functions.lit(null);
    DataType type = type(typeName, text);
    var string = new Literal(UTF8String.fromString(text), DataTypes.StringType);
    Object value = new Cast(string, type, Option.apply(zone), EvalMode.ANSI()).eval(null);
    return ExpressionUtils.column(new Literal(value, type));
  }

  /** A bare DECIMAL, as the client sends it, has the precision and scale of its value: nothing is rounded. */
  private static DataType type(String name, String text) {
    if (!name.toUpperCase(Locale.ROOT).equals("DECIMAL")) return CatalystSqlParser$.MODULE$.parseDataType(name);
    BigDecimal value = new BigDecimal(text.trim());
    int scale = Math.max(value.scale(), 0);
    int digits = Math.max(value.precision() - value.scale(), 0);
    return new DecimalType(Math.max(digits + scale, 1), scale);
  }
}
