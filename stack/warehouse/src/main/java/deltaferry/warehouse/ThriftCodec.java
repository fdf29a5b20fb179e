package deltaferry.warehouse;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Thrift's binary protocol without a schema: the wire says every type, so none needs to be declared. */
final class ThriftCodec {
  /** One request: the method, the number that its answer must repeat, and the method's argument. */
  record Call(String method, int sequence, ThriftStruct request) {}

  private static final int BOOL = 2, BYTE = 3, DOUBLE = 4, I16 = 6, I32 = 8, I64 = 10, STRING = 11;
  private static final int STRUCT = 12, MAP = 13, SET = 14, LIST = 15;
  private static final int REPLY = 0x80010002;

  private ThriftCodec() {}

  static Call readCall(byte[] message) throws IOException {
    var in = new DataInputStream(new ByteArrayInputStream(message));
    int first = in.readInt();
    boolean versioned = first < 0; // the old form begins with the length of the name
    byte[] name = in.readNBytes(versioned ? in.readInt() : first);
    if (!versioned) in.readByte();
    int sequence = in.readInt();
    ThriftStruct arguments = (ThriftStruct) read(in, STRUCT);
    return new Call(new String(name, StandardCharsets.UTF_8), sequence, arguments.struct(1));
  }

  static byte[] writeReply(Call call, ThriftStruct response) throws IOException {
    var bytes = new ByteArrayOutputStream(4096);
    var out = new DataOutputStream(bytes);
    out.writeInt(REPLY);
    write(out, call.method());
    out.writeInt(call.sequence());
    write(out, new ThriftStruct().with(0, response));
    return bytes.toByteArray();
  }

  private static Object read(DataInputStream in, int type) throws IOException {
    return switch (type) {
      case BOOL -> in.readByte() != 0;
      case BYTE -> in.readByte();
      case DOUBLE -> in.readDouble();
      case I16 -> in.readShort();
      case I32 -> in.readInt();
      case I64 -> in.readLong();
      case STRING -> in.readNBytes(in.readInt());
      case STRUCT -> readStruct(in);
      case MAP -> readMap(in);
      case SET, LIST -> readList(in);
      default -> throw new IOException("Thrift type " + type + " is unknown");
    };
  }

  private static ThriftStruct readStruct(DataInputStream in) throws IOException {
    var struct = new ThriftStruct();
    for (int type = in.readByte(); type != 0; type = in.readByte()) {
      int id = in.readShort() & 0xffff;
      struct.with(id, read(in, type));
    }
    return struct;
  }

  private static Map<Object, Object> readMap(DataInputStream in) throws IOException {
    int keyType = in.readByte(), valueType = in.readByte(), size = in.readInt();
    Map<Object, Object> map = new LinkedHashMap<>();
    for (int i = 0; i < size; i++) map.put(read(in, keyType), read(in, valueType));
    return map;
  }

  private static List<Object> readList(DataInputStream in) throws IOException {
    int type = in.readByte(), size = in.readInt();
    List<Object> list = new ArrayList<>();
    for (int i = 0; i < size; i++) list.add(read(in, type));
    return list;
  }

  private static int typeOf(Object value) throws IOException {
    if (value instanceof Boolean) return BOOL;
    if (value instanceof Integer) return I32;
    if (value instanceof Long) return I64;
    if (value instanceof String || value instanceof byte[]) return STRING;
    if (value instanceof ThriftStruct) return STRUCT;
    if (value instanceof Map) return MAP;
    if (value instanceof List) return LIST;
    throw new IOException("no Thrift type for " + value.getClass());
  }

  private static void write(DataOutputStream out, Object value) throws IOException {
    if (value instanceof Boolean flag) out.writeByte(flag ? 1 : 0);
    else if (value instanceof Integer number) out.writeInt(number);
    else if (value instanceof Long number) out.writeLong(number);
    else if (value instanceof String text) writeBytes(out, text.getBytes(StandardCharsets.UTF_8));
    else if (value instanceof byte[] bytes) writeBytes(out, bytes);
    else if (value instanceof ThriftStruct struct) writeStruct(out, struct);
    else if (value instanceof List<?> list) writeList(out, list);
    else if (value instanceof Map<?, ?> map) writeMap(out, map);
    else throw new IOException("no Thrift type for " + value.getClass());
  }

  private static void writeBytes(DataOutputStream out, byte[] bytes) throws IOException {
    out.writeInt(bytes.length);
    out.write(bytes);
  }

  private static void writeStruct(DataOutputStream out, ThriftStruct struct) throws IOException {
    for (var field : struct.fields().entrySet()) {
      out.writeByte(typeOf(field.getValue()));
      out.writeShort(field.getKey());
      write(out, field.getValue());
    }
    out.writeByte(0);
  }

  private static void writeList(DataOutputStream out, List<?> list) throws IOException {
    out.writeByte(list.isEmpty() ? STRUCT : typeOf(list.get(0)));
    out.writeInt(list.size());
    for (Object item : list) write(out, item);
  }

  private static void writeMap(DataOutputStream out, Map<?, ?> map) throws IOException {
    var first = map.isEmpty() ? null : map.entrySet().iterator().next();
    out.writeByte(first == null ? STRING : typeOf(first.getKey()));
    out.writeByte(first == null ? STRING : typeOf(first.getValue()));
    out.writeInt(map.size());
    for (var entry : map.entrySet()) {
      write(out, entry.getKey());
      write(out, entry.getValue());
    }
  }
}
