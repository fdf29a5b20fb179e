package deltaferry.warehouse;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.Serializable;
import java.nio.channels.Channels;
import java.util.Iterator;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.vector.VectorSchemaRoot;
import org.apache.arrow.vector.VectorUnloader;
import org.apache.arrow.vector.ipc.WriteChannel;
import org.apache.arrow.vector.ipc.message.MessageSerializer;
import org.apache.spark.TaskContext;
import org.apache.spark.api.java.function.VoidFunction;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.execution.arrow.ArrowWriter;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.util.ArrowUtils;

/**
 * Turns rows into Arrow record batches inside the task that computes them and hands each batch to the result
 * at once. Spark's own converter bounds a batch by rows only and collects whole partitions on the driver: a
 * table of 20 million rows would have to fit into the heap.
 */
record ArrowBatches(String resultId, StructType schema, String timeZone)
    implements VoidFunction<Iterator<InternalRow>>, Serializable {
  private static final int MAX_ROWS = 20_000, MAX_BYTES = 4 << 20, ROWS_BETWEEN_LOOKS = 64;

  /** The task of one partition. */
  @Override
  public void call(Iterator<InternalRow> rows) throws IOException {
    write(rows, TaskContext.getPartitionId());
  }

  void write(Iterator<InternalRow> rows, int partition) throws IOException {
    ResultStore store = ResultStore.of(resultId);
    store.begin(partition);
    if (!rows.hasNext()) return;
    var arrowSchema = ArrowUtils.toArrowSchema(schema, timeZone, false, false);
    try (BufferAllocator allocator = ArrowUtils.rootAllocator().newChildAllocator(resultId, 0, Long.MAX_VALUE);
        VectorSchemaRoot root = VectorSchemaRoot.create(arrowSchema, allocator)) {
      ArrowWriter writer = ArrowWriter.create(root);
      while (rows.hasNext()) {
        int count = 0;
        do {
          writer.write(rows.next());
          count++;
        } while (count < MAX_ROWS && rows.hasNext() && !full(writer, count));
        writer.finish();
        store.append(partition, serialize(root), count);
        writer.reset();
      }
    }
  }

  private static boolean full(ArrowWriter writer, int count) {
    // Also after 1, 2, 4, … rows: they may be of a megabyte each.
    boolean look = count % ROWS_BETWEEN_LOOKS == 0 || Integer.bitCount(count) == 1;
    return look && writer.sizeInBytes() >= MAX_BYTES;
  }

  private static byte[] serialize(VectorSchemaRoot root) throws IOException {
    var bytes = new ByteArrayOutputStream();
    try (var batch = new VectorUnloader(root).getRecordBatch()) {
      MessageSerializer.serialize(new WriteChannel(Channels.newChannel(bytes)), batch);
    }
    return bytes.toByteArray();
  }
}
