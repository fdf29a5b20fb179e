package deltaferry.warehouse;

import java.nio.ByteBuffer;
import java.util.UUID;

/** The name of a session or an operation on the wire: sixteen bytes that nobody can guess. */
record Handle(UUID id) {
  static Handle create() {
    return new Handle(UUID.randomUUID());
  }

  /** From a THandleIdentifier; null where the client sent none or a broken one. */
  static Handle read(ThriftStruct identifier) {
    byte[] guid = identifier.bytes(1);
    if (guid == null || guid.length != 16) return null;
    ByteBuffer buffer = ByteBuffer.wrap(guid);
    return new Handle(new UUID(buffer.getLong(), buffer.getLong()));
  }

  ThriftStruct write() {
    byte[] guid =
        ByteBuffer.allocate(16)
            .putLong(id.getMostSignificantBits())
            .putLong(id.getLeastSignificantBits())
            .array();
    return new ThriftStruct().with(1, guid).with(2, guid);
  }

  @Override
  public String toString() {
    return id.toString();
  }
}
