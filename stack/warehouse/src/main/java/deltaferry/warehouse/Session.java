package deltaferry.warehouse;

import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.spark.sql.SparkSession;

/** A client's session: its own settings, temporary views and current schema; tables are shared by all. */
final class Session {
  final Handle handle = Handle.create();
  final SparkSession spark;
  private final Map<Handle, Operation> operations = new ConcurrentHashMap<>();
  private volatile long lastUsedMillis = System.currentTimeMillis();
  private boolean closed;

  Session(SparkSession spark) {
    this.spark = spark;
  }

  /** Adds a statement; false once the session is closed, so that none can slip in behind its back. */
  synchronized boolean add(Operation operation) {
    if (closed) return false;
    operations.put(operation.handle, operation);
    return true;
  }

  void forget(Operation operation) {
    operations.remove(operation.handle);
  }

  Operation operation(Handle id) {
    return operations.get(id);
  }

  void touch() {
    lastUsedMillis = System.currentTimeMillis();
  }

  /** Nothing runs and nobody asked for anything since the given time. */
  boolean idleSince(long millis) {
    boolean running = operations.values().stream().anyMatch(o -> o.state() == Operation.State.RUNNING);
    return !running && lastUsedMillis < millis;
  }

  /** Stops what still runs and frees all results. */
  void close() {
    synchronized (this) {
      closed = true;
    }
    List.copyOf(operations.values()).forEach(Operation::close);
  }
}
