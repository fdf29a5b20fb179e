package deltaferry.warehouse;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * A Thrift struct as field numbers and values. The service has some forty structs of which a field or two
 * matter here, so they are read by number where they are used instead of through generated classes.
 */
final class ThriftStruct {
  private final SortedMap<Integer, Object> fields = new TreeMap<>();

  /** Sets a field and returns this; null leaves the optional field out, as Thrift has no null. */
  ThriftStruct with(int id, Object value) {
    if (value != null) fields.put(id, value);
    return this;
  }

  SortedMap<Integer, Object> fields() {
    return fields;
  }

  boolean has(int id) {
    return fields.containsKey(id);
  }

  /** The nested struct, or an empty one where the field is absent: paths can be followed without checks. */
  ThriftStruct struct(int id) {
    return fields.get(id) instanceof ThriftStruct struct ? struct : new ThriftStruct();
  }

  byte[] bytes(int id) {
    return fields.get(id) instanceof byte[] bytes ? bytes : null;
  }

  String text(int id) {
    return text(fields.get(id));
  }

  long number(int id, long fallback) {
    return fields.get(id) instanceof Number number ? number.longValue() : fallback;
  }

  List<ThriftStruct> structs(int id) {
    return fields.get(id) instanceof List<?> list
        ? list.stream().map(ThriftStruct.class::cast).toList()
        : List.of();
  }

  /** A map of strings, in the order of the wire. */
  Map<String, String> texts(int id) {
    Map<String, String> out = new java.util.LinkedHashMap<>();
    if (fields.get(id) instanceof Map<?, ?> map) map.forEach((k, v) -> out.put(text(k), text(v)));
    return out;
  }

  private static String text(Object value) {
    if (value instanceof byte[] bytes) return new String(bytes, StandardCharsets.UTF_8);
    return value instanceof String string ? string : null;
  }
}
