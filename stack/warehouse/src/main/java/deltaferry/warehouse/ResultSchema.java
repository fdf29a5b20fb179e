package deltaferry.warehouse;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.channels.Channels;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.arrow.vector.ipc.WriteChannel;
import org.apache.arrow.vector.ipc.message.MessageSerializer;
import org.apache.spark.sql.types.*;
import org.apache.spark.sql.util.ArrowUtils;

/** The columns of a result twice over, as the client wants them: as Thrift types and as an Arrow schema message. */
record ResultSchema(ThriftStruct columns, byte[] arrow) {
  /** A statement without a result, like DDL. */
  static final ResultSchema NONE = new ResultSchema(new ThriftStruct().with(1, List.of()), null);

  static ResultSchema of(StructType schema, String timeZone) throws IOException {
    if (schema.length() == 0) return NONE;
    List<ThriftStruct> columns = new ArrayList<>();
    for (StructField field : schema.fields()) {
      var type = new ThriftStruct().with(1, List.of(new ThriftStruct().with(1, primitive(field.dataType()))));
      int position = columns.size() + 1;
      columns.add(new ThriftStruct().with(1, field.name()).with(2, type).with(3, position).with(4, ""));
    }
    var message = new ByteArrayOutputStream();
    var arrowSchema = ArrowUtils.toArrowSchema(schema, timeZone, false, false);
    MessageSerializer.serialize(new WriteChannel(Channels.newChannel(message)), arrowSchema);
    return new ResultSchema(new ThriftStruct().with(1, columns), message.toByteArray());
  }

  /** These have no Arrow form that the client reads; the service sends them as text too. */
  static boolean travelsAsText(DataType type) {
    return type instanceof NullType
        || type instanceof AnsiIntervalType
        || type instanceof CalendarIntervalType
        || type instanceof VariantType;
  }

  /** TPrimitiveTypeEntry. */
  private static ThriftStruct primitive(DataType type) {
    var entry = new ThriftStruct().with(1, typeId(type));
    if (type instanceof DecimalType decimal) {
      var precision = new ThriftStruct().with(1, decimal.precision());
      var scale = new ThriftStruct().with(1, decimal.scale());
      entry.with(2, new ThriftStruct().with(1, Map.of("precision", precision, "scale", scale)));
    }
    return entry;
  }

  /** TTypeId; whatever it does not name is a string. */
  private static int typeId(DataType type) {
    if (type instanceof BooleanType) return 0;
    if (type instanceof ByteType) return 1;
    if (type instanceof ShortType) return 2;
    if (type instanceof IntegerType) return 3;
    if (type instanceof LongType) return 4;
    if (type instanceof FloatType) return 5;
    if (type instanceof DoubleType) return 6;
    if (type instanceof TimestampType || type instanceof TimestampNTZType) return 8;
    if (type instanceof BinaryType) return 9;
    if (type instanceof ArrayType) return 10;
    if (type instanceof MapType) return 11;
    if (type instanceof StructType) return 12;
    if (type instanceof DecimalType) return 15;
    if (type instanceof DateType) return 17;
    return 7;
  }
}
